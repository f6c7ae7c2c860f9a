"""The command line: a file for each mode; what is no flag of a mode is refused; help concerns the mode alone."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from acfnet_tf.cli import _entry
from acfnet_tf.export.formats import ALL_FORMATS
from acfnet_tf.inference.predictor import Runtime
from acfnet_tf.visualization.visualize import IMAGES

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "acfnet_tf" / "cli"
MODES = (
    *("train", "evaluate", "predict", "visualize", "export", "serve"),
    *("check_data", "prepare_data", "benchmark", "explore"),
)
every_mode = pytest.mark.parametrize("mode", _entry.mode_names())


def program(*arguments: str, code: str = "") -> subprocess.CompletedProcess:
    command = [sys.executable, *(("-c", code) if code else ("main.py",)), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def flags_of(mode: str) -> set[str]:
    return set(_entry.load_mode(mode)[1])


def functions(*files: Path) -> dict[str, ast.FunctionDef]:
    nodes = [node for file in files for node in ast.parse(file.read_text(encoding="utf-8")).body]
    return {node.name: node for node in nodes if isinstance(node, ast.FunctionDef)}


def reads(function: ast.FunctionDef) -> set[str]:
    """The flags that a function reads itself."""
    nodes = [node for node in ast.walk(function) if isinstance(node, ast.Attribute)]
    return {node.attr for node in nodes if isinstance(node.value, ast.Name) and node.value.id == "flags"}


def calls(function: ast.FunctionDef) -> set[str]:
    return {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}


def test_the_modes_are_the_files():
    assert set(_entry.mode_names()) == set(MODES)


@every_mode
def test_every_flag_of_a_mode_is_read_and_every_flag_that_it_reads_is_its_own(mode):
    """Nothing is accepted and ignored."""
    run, helpers = functions(FOLDER / f"{mode}.py")["run"], functions(FOLDER / "_runs.py", FOLDER / "_data.py")
    own, waiting, read = flags_of(mode), [run], set()
    assert reads(run) <= own
    while waiting:
        function = waiting.pop()
        read |= reads(function) | ({"data_dir", "model"} if function.name == "next_command" else set())
        waiting += [helpers.pop(name) for name in calls(function) & set(helpers)]
    assert own - {"set", "experiment"} <= read


@every_mode
def test_help_of_a_mode_shows_its_flags_and_no_others(mode, capsys):
    _entry.run(["main.py", f"--mode={mode}", "--help"])
    shown = capsys.readouterr().out
    titles = [line.split()[0] for line in shown.splitlines() if line.startswith("  --")]
    listed = {title.removeprefix("--").removeprefix("[no]") for title in titles}
    assert listed == flags_of(mode)
    assert f"python main.py --mode={mode} " in shown
    for other in set(MODES) - {mode}:
        assert f"--mode={other}" not in shown


@pytest.mark.parametrize("arguments", [["--help"], ["--mode=predict", "--help"], ["--mode=predict", "--inpt=a.png"]])
def test_help_and_mistakes_load_neither_tensorflow_nor_the_package(arguments):
    code = f"""
    import sys
    sys.argv = ["main.py", *{arguments!r}]
    from acfnet_tf_command import main
    try:
        main()
    finally:
        assert not {{"tensorflow", "keras", "acfnet_tf"}} & set(sys.modules)
    """
    done = program(code=textwrap.dedent(code))
    assert "AssertionError" not in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--mode=train", "--runtime=openvino"], "--mode=train has no flag --runtime; it is for evaluate, explore,"),
        (["--mode=serve", "--noreport"], "--mode=serve has no flag --noreport; it is for evaluate"),
        (["--mode=predict", "--inpt=a.png"], "--mode=predict has no flag --inpt. Did you mean: --input?"),
        (["--mode=benchmark", "--zzz"], "--mode=benchmark has no flag --zzz. It has: --experiment, --set, --what"),
        (["--mode=prepare_data", "--to=tfrecord"], "--mode=prepare_data has no flag --to."),
        (["--mode=visualize", "--what=complexity"], "value should be one of <results|similarity|centers"),
        (["--mode=visualize", "--images=0"], "--images=0"),
        (["--mode=train", "--run_dir="], "flag --run_dir=: names no file or folder"),
        (["--mode=train", "--run_dir"], "Missing value for flag --run_dir"),
        (["--mode=evalute"], "flag --mode=evalute: value should be one of <benchmark|check_data|evaluate|"),
        (["--mode=explore", "--compare=a", "--compare=b"], "give --compare once"),
        (["--mode=train", "--cluster=a:1,b:1"], "--worker=INDEX, which of them this process is, from 0, want each"),
        ([], "say what to do: --mode=benchmark|check_data|"),
        (["--mode=train"], "--mode=train wants --experiment=NAME; see --help"),
        (["--mode=export"], "--mode=export wants --experiment=NAME or --model=PATH; see --help"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_mode(arguments, said):
    with pytest.raises(SystemExit) as ended:
        _entry.run(["main.py", *arguments])
    assert str(ended.value).startswith("Error: ") and "\n" not in str(ended.value)
    assert said in str(ended.value)


def test_settings_may_follow_set_without_being_repeated():
    with pytest.raises(SystemExit, match=r"Error: --set 'c' is not of the form"):
        _entry.run(["main.py", "--mode=train", "--experiment=aspp", "--set", "train.steps=1", "train.seed=2", "c"])


def test_home_is_home():
    _, flags = _entry.load_mode("evaluate")
    flags(["main.py", "--run_dir=~/run", "--compare=~/other"])
    assert [flags.run_dir, *flags.compare] == [str(Path.home() / name) for name in ("run", "other")]


def test_every_command_that_is_written_somewhere_has_flags_of_its_mode():
    files = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "experiments").glob("*.py")]
    flags = {mode: flags_of(mode) | {"mode", "help"} for mode in MODES}
    written = 0
    for file in [*files, *(ROOT / "acfnet_tf").rglob("*.py")]:
        text = file.read_text(encoding="utf-8").replace("\\\n", " ")
        for command, mode in re.findall(r"main\.py (--mode=([a-z_]+)[^`\n#|]*)", text):
            used = set(re.findall(r"--(\w+)", command))
            assert used <= flags[mode], f"{file}: {command}"
            written += 1
    assert written > 100


def test_a_new_mode_is_a_new_file(tmp_path, monkeypatch, capsys):
    for file in FOLDER.glob("*.py"):
        (tmp_path / file.name).write_text(file.read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "greet.py").write_text(
        '"""Greets.\n\npython main.py --mode=greet --experiment=acf_aspp\n"""\n\n'
        "def define_flags(define):\n    define.experiment()\n    define.text('to', help='Whom.')\n\n\n"
        "def run(flags):\n    print('hello', flags.to)\n"
    )
    monkeypatch.setattr(_entry, "FOLDER", tmp_path)
    _entry.run(["main.py", "--mode=greet", "--experiment=acf_aspp", "--to=you"])
    _entry.run(["main.py", "--help"])
    shown = capsys.readouterr().out
    assert shown.startswith("hello you\n") and "Greets." in shown


def test_choices_are_those_of_the_rooms_that_know_them():
    known = {("evaluate", "runtime"): Runtime.__args__, ("export", "format"): ALL_FORMATS}
    for (mode, flag), choices in (known | {("visualize", "what"): tuple(IMAGES)}).items():
        assert tuple(_entry.load_mode(mode)[1][flag].parser.enum_values) == choices

"""The command line: help, the chain of modes, one clear line for a mistake."""

from __future__ import annotations

import html
import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from acfnet_tf.cli import _entry
from acfnet_tf.cli._data import images_named
from acfnet_tf.config import Experiment
from acfnet_tf.data.cityscapes import CITYSCAPES
from acfnet_tf.errors import UserError
from acfnet_tf.recipes import experiment_names, load_experiment
from acfnet_tf.serving import Client
from tests.running import run
from tests.tiny import TINY_SETTINGS

ROOT = Path(__file__).parents[1]


OF_RUN = ("--experiment=acf_aspp_small", "--run_dir={run}", "--data_dir={scenes}")


def tiny_settings(*more: str) -> list[str]:
    return [f"--set={setting}" for setting in (*TINY_SETTINGS, *more)]


@pytest.fixture(scope="module")
def trained(tiny_scenes, tmp_path_factory):
    """A run folder with a model trained for one step."""
    run_dir = tmp_path_factory.mktemp("runs") / "acf_aspp_small"
    data = [f"--run_dir={run_dir}", f"--data_dir={tiny_scenes}"]
    run("--mode=train", "--experiment=acf_aspp_small", *data, *tiny_settings("train.steps=1"))
    return run_dir


def test_help_shows_every_mode_and_experiment():
    process = subprocess.run([sys.executable, "main.py", "--help"], capture_output=True, text=True, cwd=ROOT)
    for mode in ("train", "evaluate", "predict", "visualize", "explore", "check_data", "export", "serve"):
        assert f"--mode={mode} --experiment=" in process.stdout
    rows = {name for name in experiment_names() if not name.endswith("_small")}
    assert rows <= set(process.stdout.split())


def test_evaluate_writes_the_report(trained, tiny_scenes, capfd):
    arguments = ("--mode=evaluate", "--experiment=acf_aspp_small", f"--run_dir={trained}", f"--data_dir={tiny_scenes}")
    run(*arguments)
    printed = capfd.readouterr().out
    assert "mIoU" in printed
    assert "whole image" in (trained / "evaluation.md").read_text()
    run(*arguments, "--set", "evaluation.mode=sliding", "evaluation.flip=true", "evaluation.multi_scale=true",
        "evaluation.precision=mixed_bfloat16")  # fmt: skip
    text = (trained / "evaluation.md").read_text()
    assert "sliding window" in text
    assert "0.75" in text
    assert "with left-right flip" in text
    precision = "bfloat16, with float32 variables, class centers and losses"
    assert f"Precision: {precision}." in text
    assert json.loads((trained / "evaluation.json").read_text())["measured"]["precision"] == precision


def test_results_go_where_the_user_says_and_home_is_home(trained, tiny_scenes, tmp_path, monkeypatch, capfd):
    """ "~" stays for the program to read where the shell leaves it, as in --output=~/ev."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "run").symlink_to(trained)
    (tmp_path / "scenes").symlink_to(tiny_scenes)
    before = {file: file.stat().st_mtime_ns for file in trained.iterdir()}
    run("--mode=evaluate", "--experiment=acf_aspp_small", "--run_dir=~/run", "--data_dir=~/scenes", "--output=~/ev")
    assert {file.name for file in (tmp_path / "ev").iterdir()} == {"evaluation.json", "evaluation.md"}
    assert (tmp_path / "ev" / "evaluation.md").read_text(encoding="utf-8") in capfd.readouterr().out
    assert before == {file: file.stat().st_mtime_ns for file in trained.iterdir()}


def test_a_run_that_cannot_be_written_is_evaluated_and_printed(trained, tiny_scenes, tmp_path, monkeypatch, capfd):
    def denied(source, target):
        raise PermissionError(13, "Permission denied", str(source), None, str(target))

    monkeypatch.setattr("os.replace", denied)
    with pytest.raises(SystemExit, match=r"Error: cannot write .*evaluation.json: Permission denied"):
        run("--mode=evaluate", "--experiment=acf_aspp_small", f"--run_dir={trained}", f"--data_dir={tiny_scenes}")
    assert "**mIoU**" in capfd.readouterr().out


def test_a_path_that_is_empty_is_refused():
    with pytest.raises(SystemExit, match="Error: flag --run_dir=: names no file or folder"):
        run("--mode=train", "--experiment=acf_aspp_small", "--run_dir=")


def test_a_report_that_compares_with_another_run(trained, tiny_scenes, tmp_path, capfd):
    """A run compared with a copy of its own model: every difference is 0."""
    other = shutil.copy(trained / "model.keras", tmp_path / "other.keras")
    data = ("--experiment=acf_aspp_small", f"--run_dir={trained}", f"--data_dir={tiny_scenes}")
    run("--mode=evaluate", *data, "--report", f"--compare={other}")
    assert str(trained / "report.html") in capfd.readouterr().out
    content = json.loads((trained / "evaluation.json").read_text())
    assert content["comparison"]["heads"]["fine"]["mean_iou"]["difference"] == 0
    assert content["heads"]["fine"]["boundary"].keys() == {"1", "3", "5", "9"}
    report = html.unescape((trained / "report.html").read_text())
    assert "http-equiv" in report
    # It says how to train such a run: the same settings come out.
    (command,) = re.findall(r"python main.py (--mode=train [^<\n]*)", report)
    settings = [flag.removeprefix("--set=") for flag in shlex.split(command) if flag.startswith("--set=")]
    assert "train.steps=1" in settings
    again = load_experiment("acf_aspp_small", settings)
    config = json.loads((trained / "config.json").read_text())
    assert json.loads(again.to_json())["train"] == config["train"]
    assert json.loads(again.to_json())["data"] == config["data"]


def test_visualize_draws_a_split_an_image_and_an_image_of_the_split(trained, tiny_scenes, tmp_path):
    flags_of_run = ("--experiment=acf_aspp_small", f"--run_dir={trained}", f"--data_dir={tiny_scenes}")
    run("--mode=visualize", *flags_of_run)
    assert (trained / "figures" / "results.png").stat().st_size > 1000
    image = next((tiny_scenes / "leftImg8bit" / "val").rglob("*.png"))
    name = image.stem.removesuffix("_leftImg8bit")
    pixel = ("--what=similarity", "--pixel=10,60", "--pixel=100,5", f"--output={tmp_path}")
    run("--mode=visualize", *flags_of_run, *pixel, f"--input={image}")
    run("--mode=visualize", *flags_of_run, *pixel, f"--input={name}")
    pictures = [f"{name}_leftImg8bit_similarity", f"{name}_similarity"]
    files = {f"{picture}.{form}" for picture in pictures for form in ("png", "pdf")}
    assert {file.name for file in tmp_path.iterdir()} == files


@pytest.mark.parametrize(
    ("output", "names"), [(".", ["a", "b", "sub/c"]), ("sub", ["a", "b"]), ("..", ["a", "b", "sub/c"])]
)
def test_figures_may_lie_beside_photos_but_not_replace_them(output, names, tmp_path):
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.jpg", "b.png", "sub/c.png"):
        (folder / name).touch()
    _, flags = _entry.load_mode("visualize")
    flags(["main.py", f"--input={folder}"])
    samples, _ = images_named(flags, Experiment("mine"), CITYSCAPES, folder / output, "results")
    assert [sample.name for sample in samples] == names
    (folder / "a_results.png").touch()
    if output == ".":
        with pytest.raises(UserError, match=r"a_results\.png would be overwritten by a figure"):
            images_named(flags, Experiment("mine"), CITYSCAPES, folder / output, "results")


def test_a_loaded_model_equals_predict_at_three_sizes(trained, tmp_path):
    """In a new process, `load_model` on its own gives exactly what `--mode=predict` writes."""
    rng = np.random.default_rng(0)
    images = tmp_path / "images"
    images.mkdir()
    for i, size in enumerate([(40, 60), (64, 128), (33, 17)]):
        Image.fromarray(rng.integers(0, 255, (*size, 3), dtype=np.uint8)).save(images / f"{i}.png")
    output = tmp_path / "labels"
    flags_of_run = ("--experiment=acf_aspp_small", f"--run_dir={trained}")
    run("--mode=predict", *flags_of_run, f"--input={images}", f"--output={output}")
    script = f"""
import keras, acfnet_tf, numpy as np
from PIL import Image
model = keras.models.load_model({str(trained / "model.keras")!r})
for i in range(3):
    image = np.array(Image.open(f"{images}/{{i}}.png"))
    labels = model.predict(image[None], verbose=0)["fine"].argmax(-1)[0]
    assert np.array_equal(labels, np.array(Image.open(f"{output}/{{i}}.png"))), i
    assert np.array_equal(labels, acfnet_tf.Predictor(model)(image)), i
"""
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert process.returncode == 0, process.stderr[-2000:]


def test_submission_has_the_official_names_and_label_ids(trained, tiny_scenes, tmp_path):
    output = tmp_path / "submission"
    run(
        "--mode=predict",
        "--experiment=acf_aspp_small",
        f"--run_dir={trained}",
        f"--data_dir={tiny_scenes}",
        "--split=test",
        "--submission",
        f"--output={output}",
    )
    (file,) = output.glob("*.png")
    assert re.match(r"[a-z]+_\d{6}_\d{6}", file.name)
    assert set(np.unique(np.array(Image.open(file)))) <= set(range(7, 34))
    assert (tmp_path / "submission.zip").exists()


@pytest.fixture(scope="module")
def exported(trained, tiny_scenes):
    """The folder of an exported SavedModel's versions."""
    run("--mode=export", "--experiment=acf_aspp_small", f"--run_dir={trained}", f"--data_dir={tiny_scenes}")
    return trained / "export" / "acf_aspp_small"


def test_a_model_file_alone_is_evaluated_predicted_and_exported(trained, tiny_scenes, tmp_path, capfd):
    """Without its run: classes have numbers only, and scenes come from a folder of images."""
    model = f"--model={shutil.copy(trained / 'model.keras', tmp_path / 'mine.keras')}"
    run("--mode=evaluate", model, f"--data_dir={tiny_scenes}")
    assert (tmp_path / "evaluation.md").exists()
    images = tiny_scenes / "leftImg8bit" / "val"
    run("--mode=predict", model, f"--input={images}", "--runtime=openvino")
    assert len(list((tmp_path / "predictions").rglob("*_overlay.png"))) == 2
    run("--mode=export", model, f"--input={images}", "--format=onnx")
    assert (tmp_path / "export" / "mine.onnx").exists()
    assert "100.000 %" in capfd.readouterr().out


def test_serve_answers_what_predict_writes_until_it_is_told_to_stop(exported, trained, tiny_scenes, tmp_path):
    images = tiny_scenes / "leftImg8bit" / "val"
    run("--mode=predict", f"--model={trained / 'model.keras'}", f"--input={images}", f"--output={tmp_path}")
    command = [sys.executable, "main.py", "--mode=serve", f"--model={exported}"]
    ports = ["--set", "serve.rest_port=0", "serve.grpc_port=0"]
    with subprocess.Popen([*command, *ports], stdout=subprocess.PIPE, text=True, cwd=ROOT) as server:
        addresses = next(found for line in server.stdout if (found := re.findall(r"(?:http://)?127[.\d]+:\d+", line)))
        for address in addresses[:2]:  # REST and gRPC
            with Client(address, "acf_aspp_small") as client:
                for image in images.rglob("*.png"):
                    expected = np.array(Image.open(tmp_path / image.relative_to(images)))
                    np.testing.assert_array_equal(client(image), expected)
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=60) == 0


def test_a_mistake_is_one_line_without_stack_trace_and_status_1():
    command = [sys.executable, "main.py", "--mode=train", "--experiment=acf_asp"]
    process = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert process.returncode == 1
    assert "Traceback" not in process.stderr
    assert process.stderr.splitlines()[-1].startswith("Error: no experiment 'acf_asp'. Did you mean: acf_aspp")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--mode=train", "--experiment=acf_aspp", "--data_dir=/no/such/folder"], "/no/such/folder"),
        (["--mode=train", "--experiment=acf_aspp", "--set", "train.step=5"], "no setting 'train.step'.*train.steps"),
        (["--mode=train", "--experiment=acf_aspp", "--set", "train.steps=many"], "train.steps.*a whole number"),
        (["--mode=train", "--experiment=acf_aspp", "surplus"], "'surplus' is not of the form key.path=value"),
        (["--mode=train", "--experiment=acf_aspp", "--data_dir={scenes}/leftImg8bit"], "leftImg8bit"),
        (["--mode=train", "--experiment=acf_aspp", "--data_dir={scenes}/.."], "scenes"),
        (["--mode=evaluate", "--experiment=acf_sum_small"], "holds no run; train it first"),
        (["--mode=predict", "--experiment=acf_aspp_small", "--run_dir={run}"], "--input"),
        (["--mode=predict", "--experiment=acf_aspp_small", "--run_dir={run}", "--input=/no/such.png"], "/no/such.png"),
        (["--mode=evaluate", "--experiment=acf_sum_small", "--run_dir={run}"], "run of 'acf_aspp_small'"),
        (["--mode=train", "--experiment=acf_sum_small", "--run_dir={run}"], "run of experiment 'acf_aspp_small'"),
        (["--mode=visualize", "--what=complexity", "--experiment=acf_aspp_small"], "one of <results.similarity"),
        (["--mode=benchmark", "--what=errors", "--experiment=acf_aspp_small"], "one of <complexity>"),
        (["--mode=visualize", *OF_RUN, "--input=lindau_1"], "no image of that name in val of"),
        (["--mode=visualize", *OF_RUN, "--compare=/no/such/run"], "/no/such/run"),
        (["--mode=visualize", *OF_RUN, "--what=similarity", "--pixel=five"], "--pixel=five: expected x,y"),
        (["--mode=evaluate", *OF_RUN, "--compare=a", "--compare=b"], "give --compare once"),
        (["--mode=explore", *OF_RUN, "--compare=a", "--compare=b"], "give --compare once"),
        (["--mode=explore", "--experiment=acf_sum_small"], "holds no run; train it first"),
        (["--mode=train"], "--mode=train wants --experiment=NAME; see --help"),
        (["--mode=train", "--model=a.keras"], "--mode=train has no flag --model; it is for evaluate, explore"),
        (["--mode=export"], "--experiment=NAME or --model=PATH"),
        (["--mode=export", "--model=/no/such.keras"], "/no/such.keras"),
        (["--mode=export", "--model={run}/model.keras", "--data_dir={scenes}", "--quantize=int8"], "--format=litert"),
        (["--mode=export", "--experiment=acf_aspp_small", "--run_dir={run}", "--input=/no/such.png"], "/no/such.png"),
        (["--mode=serve", "--experiment=acf_sum_small"], "export the run first: python main.py --mode=export"),
        (["--mode=serve", "--model=/no/such/folder"], "/no/such/folder"),
        (["--mode=serve", "--model={run}"], "no version"),
        *(
            (["--mode=" + mode, *OF_RUN, "--output={run}/config.json"], "config.json: a file stands where")
            for mode in ("evaluate", "visualize", "check_data", "export")
        ),
        (["--mode=predict", *OF_RUN, "--input={scenes}", "--output={run}/config.json/a"], "config.json: a file stands"),
        (["--mode=train", *OF_RUN[:1], "--data_dir={scenes}", "--run_dir={run}/config.json"], "a file stands where"),
        (["--mode=predict", *OF_RUN, "--input=~nosuchuser/a.png"], "no such file or folder: ~nosuchuser/a.png"),
        (["--mode=train", *OF_RUN[:1], "--data_dir={scenes}", "--set=data.classes=~nosuchuser/a"], "~nosuchuser/a"),
    ],
)
def test_every_mistake_names_what_is_wrong(arguments, message, trained, tiny_scenes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = [argument.format(run=trained, scenes=tiny_scenes) for argument in arguments]
    with pytest.raises(SystemExit) as error:
        run(*arguments)
    assert str(error.value).startswith("Error: ")
    assert "\n" not in str(error.value)
    assert re.search(message, str(error.value)), error.value
    assert not list(tmp_path.iterdir())

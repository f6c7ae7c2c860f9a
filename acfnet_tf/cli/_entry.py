"""From a command to the mode that it names.

Every file of this folder is a mode, but for those whose names begin with an underscore. It has

- a docstring: a line that says what the mode does, examples, and what else there is to know; that is its help;
- `define_flags(define)`, which gives the mode its flags by the methods of `_flags.Flags`;
- `run(flags)`, which does it, given the flags' values as attributes, and imports what it needs;
- if it wants one, `ENVIRONMENT`, a dict of variables that TensorFlow reads when it loads.

This file and those of the modes are run by their paths, without the package around them, whose import loads TensorFlow:
help and mistakes come at once, and the environment is set in time.
"""

from __future__ import annotations

import ast
import contextlib
import difflib
import faulthandler
import os
import runpy
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from absl import flags, logging

FOLDER = Path(__file__).parent
PACKAGE = FOLDER.parent

ABOUT = """\
ACFNet for semantic segmentation: train, evaluate, predict, draw, export, serve, measure.

Modes; python main.py --mode=MODE --help explains one and its flags:
{modes}

Experiments (append _small for a light twin that trains in minutes on two CPU cores):
{experiments}

Weights to begin with: --set model.weights=auto (of the experiments above: ImageNet's, if they are to be had), imagenet,
none, keras_hub:PRESET, a .pth, .safetensors, .h5 or .keras file, or a run folder. docs/pretrained.md explains them.

Settings: --set key.path=value, as often as wanted; for example --set train.steps=2000 --set train.batch_size=4. A run
folder's config.json lists them all.

Data: --data_dir=DIR is a Cityscapes folder, the one that holds leftImg8bit and gtFine; without it the environment
variable CITYSCAPES_DATASET counts, and without that street scenes are generated. For your own images and masks say
--set data.format=folder; other formats are ade20k, voc, tfds and tfrecord. docs/data.md explains them."""


def main() -> None:
    """The program."""
    with runpy.run_path(str(PACKAGE / "console.py"))["console"]():
        faulthandler.enable()
        flags.FLAGS.mark_as_parsed()  # Those of absl's logging keep their defaults.
        logging.use_absl_handler()
        logging.set_verbosity(logging.WARNING)
        run(sys.argv)


def run(command: Sequence[str]) -> None:
    """Does what a command says; ends the program where it cannot be done.

    Args:
        command: its words, that of the program first.
    """
    first = flags.FlagValues()
    flags.DEFINE_enum("mode", None, mode_names(), "What to do.", flag_values=first)
    flags.DEFINE_bool("help", False, "What there is to say.", short_name="h", flag_values=first)
    arguments = _parse(first, command)
    if first.help:
        print(mode_help(first.mode) if first.mode else general_help())
        return
    if not first.mode:
        sys.exit(f"Error: say what to do: --mode={'|'.join(mode_names())}; see --help")
    mode, values = load_mode(first.mode)
    _, *settings = _parse(values, arguments, first.mode)
    values.set = [*values.set, *settings]  # "--set a=1 b=2" works like "--set a=1 --set b=2"
    if not (values.experiment or ("model" in values and values.model)):
        other = " or --model=PATH" if "model" in values else ""
        sys.exit(f"Error: --mode={first.mode} wants --experiment=NAME{other}; see --help")

    if "tensorflow" not in sys.modules:  # It reads them once, for the whole process.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        # oneDNN keeps the weights in its own layout: faster, but right only where nobody changes them.
        os.environ.update({"TF_ONEDNN_ASSUME_FROZEN_WEIGHTS": "0"} | mode.get("ENVIRONMENT", {}))
    try:
        with _silent_stderr():
            from acfnet_tf.errors import Stopped, UserError
            from acfnet_tf.out_of_memory import saying_what_helps
    except ImportError as error:  # Keras is set to something else, or a package is missing
        sys.exit(f"Error: {error}")
    try:
        with saying_what_helps():
            mode["run"](values)
    except (UserError, ImportError) as error:  # A mode imports what it needs, and a package may be missing or broken.
        sys.exit(f"Error: {error}")
    except Stopped as stopped:
        print(stopped, file=sys.stderr, flush=True)
        sys.exit(stopped.status)
    except KeyboardInterrupt:
        sys.exit(130)


def mode_names() -> list[str]:
    """Every mode: the files of this folder."""
    return sorted(file.stem for file in FOLDER.glob("*.py") if not file.stem.startswith("_"))


def load_mode(name: str) -> tuple[dict[str, Any], flags.FlagValues]:
    """What a mode's file defines, and its flags, with their defaults."""
    mode, values = runpy.run_path(str(FOLDER / f"{name}.py")), flags.FlagValues()
    mode["define_flags"](runpy.run_path(str(FOLDER / "_flags.py"))["Flags"](values))
    return mode, values


def program() -> list[str]:
    """The words by which this program was started."""
    return ["acfnet_tf"] if Path(sys.argv[0]).stem == "acfnet_tf" else ["python", "main.py"]


def general_help() -> str:
    """What there is: all modes, each with its examples, and all experiments."""
    modes = []
    for name in mode_names():
        summary, *lines = _docstring(FOLDER / f"{name}.py").splitlines()
        examples = [line for line in lines if line.startswith("python main.py")]
        modes += [f"  {name:<14}{summary}", *(f"  {'':<14}{line}" for line in examples)]
    recipes = runpy.run_path(str(PACKAGE / "recipes.py"))["recipe_files"]()
    experiments = [f"  {name:<22}{_docstring(file).splitlines()[0]}" for name, file in recipes.items()]
    return _as_started(ABOUT.format(modes="\n".join(modes), experiments="\n".join(experiments)))


def mode_help(name: str) -> str:
    """What concerns one mode: its docstring and its flags."""
    lines = [_docstring(FOLDER / f"{name}.py"), "", "Flags:", ""]
    _, values = load_mode(name)
    for flag in map(values.__getitem__, values):
        title = f"  --{'[no]' if flag.boolean else ''}{flag.name} ".ljust(18)
        text, _, _ = flag.help.partition(";\n")  # Absl's own way to say that it may be repeated is left out.
        default = f" {flag.default} by default." if isinstance(flag.default, str) else ""
        lines.append(textwrap.fill(text + default, 110, initial_indent=title, subsequent_indent=" " * 18))
    return _as_started("\n".join(lines))


def _parse(values: flags.FlagValues, words: Sequence[str], mode: str | None = None) -> list[str]:
    """Reads the flags among the words; returns the others. Of a mode, those that it does not have are mistakes."""
    try:
        return values(words, known_only=mode is None)
    except flags.UnrecognizedFlagError as error:
        sys.exit(f"Error: {_unknown(mode, error.flagname, values)}")
    except (flags.Error, ValueError) as error:
        sys.exit(f"Error: {' '.join(str(error).split())}")


def _unknown(mode: str, flag: str, values: flags.FlagValues) -> str:
    """What to say of a flag that the mode does not have."""
    names = {flag, flag.removeprefix("no")}  # The flag may be --noreport.
    if having := [name for name in mode_names() if names & set(load_mode(name)[1])]:
        return f"--mode={mode} has no flag --{flag}; it is for {', '.join(having)}"
    near = difflib.get_close_matches(flag, list(values), cutoff=0.5)
    known = f"Did you mean: --{', --'.join(near)}?" if near else f"It has: --{', --'.join(values)}."
    return f"--mode={mode} has no flag --{flag}. {known}"


def _docstring(file: Path) -> str:
    """That of a Python file, which is not run."""
    return ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))


def _as_started(text: str) -> str:
    """With the commands in it as the user writes them."""
    return text.replace("python main.py", " ".join(program()))


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """Hides what TensorFlow's libraries report while they load, which no environment variable turns off."""
    saved, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)

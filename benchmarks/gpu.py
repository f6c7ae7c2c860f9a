"""What the comparisons on a GPU share: each side at each precision is a process of its own, one at a time.

Two of them do not fit into the memory of a card, so that they take no turns as on the CPU. TensorFlow and PyTorch want
different CUDA libraries, so that PyTorch may have a Python of its own: nothing here needs more than the standard
library, and TensorFlow or PyTorch are imported where they are used.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import functools
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

PRECISIONS = {"tf32": "TF32", "mixed_bfloat16": "bfloat16", "mixed_float16": "float16", "float32": "float32"}
"""As the settings name them, and as tables do."""

PEAKS = {
    r"H100 .*HBM3$|H200$": {"float32": 66.9, "tf32": 494.7, "mixed_bfloat16": 989.4, "mixed_float16": 989.4},  # SXM
    r"H100 PCIe$": {"float32": 51, "tf32": 378, "mixed_bfloat16": 756, "mixed_float16": 756},
    r"A100[- ]": {"float32": 19.5, "tf32": 156, "mixed_bfloat16": 312, "mixed_float16": 312},
    r"\bL4$": {"float32": 30.3, "tf32": 60, "mixed_bfloat16": 121, "mixed_float16": 121},
    r"RTX 4090$": {"float32": 82.6, "tf32": 82.6, "mixed_bfloat16": 165.2, "mixed_float16": 165.2},
    r"\bT4$": {"float32": 8.1, "mixed_float16": 65},
    r"V100-SXM2": {"float32": 15.7, "mixed_float16": 125},
    r"V100-PCIE": {"float32": 14, "mixed_float16": 112},
}
"""TFLOP/s that NVIDIA publishes for cards by their names: of tensor cores on dense matrices, which add up in float32;
for float32, which tensor cores do not multiply, of the other cores."""

OF_OUR_PYTHON = ("PYTHONHOME", "PYTHONPATH", "LD_LIBRARY_PATH")
"""What another Python does not inherit: it would find our packages and libraries there instead of its own."""

Answer = dict[str, Any]
"""What a side measured, or {"error": why not, in one line}. `first` and `seconds`: see `timed`; `peak`: bytes, or None
where there is no GPU; `card` and `version`: see `our_facts`."""


class NoGpu(Exception):
    """There is none; no traceback tells more."""


# === Flags ===


def add_flags(parser: argparse.ArgumentParser) -> tuple[argparse._ArgumentGroup, list[argparse.Action]]:
    """Adds --device and what is for a GPU only: the group of these flags, and the flags, for `check_flags`."""
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu", help="(%(default)s)")
    group = parser.add_argument_group("with --device=gpu")
    return group, [
        group.add_argument(
            "--precisions", type=names(PRECISIONS), default=list(PRECISIONS), help=f"some of {','.join(PRECISIONS)}"
        ),
        group.add_argument("--torch_python", default=sys.executable, metavar="PATH", help="a Python that has PyTorch"),
        group.add_argument("--no_cudnn_benchmark", action="store_true", help="for PyTorch; else it tries algorithms"),
        group.add_argument("--try_on_cpu", action="store_true", help="go on without a GPU, to try this program"),
    ]


def check_flags(parser: argparse.ArgumentParser, flags: argparse.Namespace, of_gpu: Iterable[argparse.Action]) -> None:
    """Refuses flags of a GPU without one."""
    for action in of_gpu:
        if flags.device == "cpu" and getattr(flags, action.dest) != action.default:
            parser.error(f"{action.option_strings[0]} is for --device=gpu")


def names(known: Iterable[str]) -> Callable[[str], list[str]]:
    """The type of a flag that chooses from names, separated by commas."""

    def chosen(text: str) -> list[str]:
        if unknown := set(text.split(",")) - set(known):
            raise argparse.ArgumentTypeError(f"there is no {', '.join(unknown)}, but {', '.join(known)}")
        return list(dict.fromkeys(text.split(",")))

    return chosen


# === A side's process ===


def alone(script: str, side: str, flags: argparse.Namespace, **more: Any) -> Answer:
    """Runs one side to its end, and gives what it answered, whatever became of it.

    Args:
        script: calls `answer`.
        flags: of the program, which the side gets too.
        **more: in addition to them.
    """
    python, environment = sys.executable, os.environ | {"PYTHONUNBUFFERED": "1"}
    environment.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if side.startswith("torch") and flags.torch_python != sys.executable:
        python = flags.torch_python
        environment = {name: value for name, value in environment.items() if name not in OF_OUR_PYTHON}
    command = [python, script, side, json.dumps(vars(flags) | more | {"side": side})]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment)
    except OSError as error:
        return {"error": f"{python}: {error.strerror}"}
    return json.loads(done.stdout) if done.stdout else {"error": f"ended with status {done.returncode}"}


def answer(sides: Mapping[str, Callable[[argparse.Namespace], Answer]]) -> None:
    """The side's part: does what the command line asks for, and prints its answer as JSON."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever libraries print goes elsewhere
    side, flags = sys.argv[1:]
    try:
        result = sides[side](argparse.Namespace(**json.loads(flags)))
    except NoGpu as error:
        result = {"error": str(error)}
    except Exception as error:  # of any kind: no memory, no XLA, no package; the other sides go on
        traceback.print_exc()
        result = {"error": reason(error)}
    print(json.dumps(result), file=answers, flush=True)


def reason(error: Exception) -> str:
    """One line for a table. TensorFlow says it after the lines of the program, and lack of memory amid others."""
    lines = [line.strip() for line in re.sub(r"\x1b\[\d*m", "", str(error)).splitlines()]
    lines = [line.replace("|", "/") for line in lines if line]
    telling = next((line for line in lines if re.search("OOM|out of memory", line, re.IGNORECASE)), None)
    after = [number + 1 for number, line in enumerate(lines) if line.startswith('File "')]
    text = telling or " ".join(lines[after[-1] if after else 0 :][:3])
    return f"{type(error).__name__}: {text}"[:250]


def timed(step: Callable[[], Any], flags: argparse.Namespace, before: Callable[[], Any] = lambda: None) -> Answer:
    """Has steps taken one after the other.

    Args:
        flags: `warmup` steps after the first one, then `rounds`.
        before: is called before the latter.

    Returns:
        {"first": seconds of the first step, "seconds": of each of the rounds}.
    """
    began = time.perf_counter()
    step()
    first = time.perf_counter() - began
    for _ in range(flags.warmup):
        step()
    before()
    ends = [time.perf_counter()]
    for _ in range(flags.rounds):
        step()
        ends.append(time.perf_counter())
    return {"first": first, "seconds": [end - start for start, end in itertools.pairwise(ends)]}


# Ours.


def our_device(flags: argparse.Namespace) -> str:
    """Where our side runs.

    Raises:
        NoGpu: there is none.
    """
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        return "GPU:0"
    if not flags.try_on_cpu:
        raise NoGpu("TensorFlow sees no GPU")
    return "CPU:0"


def our_facts(device: str) -> Answer:
    """Of our side, after it has run: the card's name, the peak of TensorFlow's allocator, the version."""
    import tensorflow as tf

    facts: Answer = {"version": f"TensorFlow {tf.__version__}", "card": None, "peak": None}
    if device == "GPU:0":
        (gpu, *_) = tf.config.list_physical_devices("GPU")
        facts["card"] = tf.config.experimental.get_device_details(gpu).get("device_name")
        facts["peak"] = tf.config.experimental.get_memory_info(device)["peak"]
    return facts


# PyTorch's.


def torch_setting(flags: argparse.Namespace) -> tuple[str, Callable[[], contextlib.AbstractContextManager]]:
    """Makes PyTorch compute at `flags.precision`.

    Returns:
        The device, and what makes the context in which the forward pass is to run.

    Raises:
        NoGpu: there is none.
    """
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and not flags.try_on_cpu:
        raise NoGpu("PyTorch sees no GPU")
    # What autocast leaves in float32 is in TF32, as ours is.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = flags.precision != "float32"
    torch.backends.cudnn.benchmark = not flags.no_cudnn_benchmark
    dtype = {"mixed_bfloat16": torch.bfloat16, "mixed_float16": torch.float16}.get(flags.precision)
    return device, functools.partial(torch.autocast, device, dtype=dtype, enabled=dtype is not None)


def torch_facts(device: str) -> Answer:
    """As `our_facts`, with the peak of PyTorch's allocator."""
    import torch

    on_gpu = device == "cuda"
    return {
        "version": f"PyTorch {torch.__version__}",
        "card": torch.cuda.get_device_name() if on_gpu else None,
        "peak": torch.cuda.max_memory_allocated() if on_gpu else None,
    }


# === Tables ===


def card_and_versions(answers: Iterable[Answer]) -> str:
    """One line: card, driver, versions, date."""
    answers = [answer for answer in answers if "error" not in answer]
    cards = dict.fromkeys(answer["card"] or "no GPU" for answer in answers)
    versions = dict.fromkeys(answer["version"] for answer in answers)
    return ", ".join([*cards, *driver(), *versions, f"{datetime.date.today()}"])


def driver() -> list[str]:
    """The driver's version, or nothing where there is none to tell."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    with contextlib.suppress(OSError):
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        if done.returncode == 0 and done.stdout:
            return [f"driver {done.stdout.splitlines()[0]}"]
    return []


def peak_of(card: str | None, precision: str) -> float | None:
    """TFLOP/s that the card's maker promises, where they are known."""
    for pattern, peaks in PEAKS.items():
        if card and "MIG" not in card and re.search(pattern, card):
            return peaks.get(precision)
    return None


def median_ms(answer: Answer) -> str:
    return f"{1000 * statistics.median(answer['seconds']):,.1f}"


def gib(answer: Answer) -> str:
    return "–" if answer["peak"] is None else f"{answer['peak'] / 2**30:.1f} GiB"


def row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def compare(
    flags: argparse.Namespace,
    titles: Mapping[str, str],
    pairs: Iterable[tuple[str, str]],
    run: Callable[[str, str], Answer],
    more: Mapping[str, Callable[[str, Answer], str]],
) -> dict[tuple[str, str], Answer]:
    """Measures one side after the other and prints a row for each as it comes.

    Args:
        titles: of all sides, by their names.
        pairs: precision and side of each process.
        run: measures such a pair.
        more: further columns of the table: their titles, and what stands there, by precision and answer.

    Returns:
        What was answered, by precision and side.
    """
    print(row("precision", "side", "median ms", "lowest to highest", "peak memory", "first, s", *more))
    print("|---" * (6 + len(more)) + "|", flush=True)
    answers = {}
    for precision, side in pairs:
        answer = answers[precision, side] = run(precision, side)
        cells = [f"failed: {answer.get('error')}"] + [""] * (3 + len(more))
        if "error" not in answer:
            extremes = (f"{1000 * bound(answer['seconds']):,.1f}" for bound in (min, max))
            cells = [median_ms(answer), " to ".join(extremes), gib(answer), f"{answer['first']:.1f}"]
            cells += [cell(precision, answer) for cell in more.values()]
        note = f" ({answer['note']})" if answer.get("note") else ""
        print(row(PRECISIONS[precision], titles[side] + note, *cells), flush=True)
    if all("error" in answer for answer in answers.values()):
        sys.exit("nothing was measured; why is said above")
    return answers


def side_by_side(
    what: str, titles: Mapping[str, str], answers: Mapping[tuple[str, str], Answer], against: Sequence[str]
) -> str:
    """The same as a Markdown table with a column for each side, and our ratios to PyTorch.

    Args:
        what: one unit of what is timed, such as "training step".
        titles: of the sides, by their names.
        against: sides of PyTorch; ratios are to the first of them that was measured.
    """
    precisions = list(dict.fromkeys(precision for precision, _ in answers))
    sides = [side for side in titles if any((precision, side) in answers for precision in precisions)]
    reference = next((side for side in against if side in sides), None)
    ours = [side for side in sides if side not in against] if reference else []
    ratios = [f"{titles[side]} ÷ {titles[reference]}" for side in ours]
    lines = [row("", *(titles[side] for side in sides), *ratios), "|---" * (1 + len(sides) + len(ours)) + "|"]

    def line(title: str, precision: str, show: Callable[[Answer], str], divide: Callable[[Answer, Answer], str]) -> str:
        found = {side: answers.get((precision, side), {"error": ""}) for side in sides}
        good = {side: answer for side, answer in found.items() if "error" not in answer}
        cells = [show(good[side]) if side in good else "failed" if found[side]["error"] else "–" for side in sides]
        both = good if reference in good else ()
        cells += [divide(good[side], good[reference]) if side in both else "–" for side in ours]
        return row(f"{title}, {PRECISIONS[precision]}", *cells)

    def time_ratio(ours: Answer, theirs: Answer) -> str:
        text = f"**{statistics.median(ours['seconds']) / statistics.median(theirs['seconds']):.2f}**"
        return f"{text}, memory {ours['peak'] / theirs['peak']:.2f}" if ours["peak"] and theirs["peak"] else text

    lines += [
        line(what, precision, lambda answer: f"{median_ms(answer)} ms, {gib(answer)}", time_ratio)
        for precision in precisions
    ]
    lines += [
        line(f"first {what}", precision, lambda answer: f"{answer['first']:.1f} s", lambda *_: "")
        for precision in precisions
    ]
    return "\n".join(lines)

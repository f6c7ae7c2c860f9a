"""The house has two tiers, and imports never point up: not from the core to what is around it, nor within either."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "acfnet_tf"
CORE = [
    {"errors", "replicas", "progress", "heads"},
    {"settings", "files"},
    {"config"},
    {"layers", "metrics", "data"},
    {"losses", "backbones"},
    {"models"},
    {"inference"},
    {"evaluation"},
    {"training"},
]
"""From the ground up; rooms of one floor do not import each other."""
AROUND = [
    {
        "console",
        "keras_settings",
        "onednn",
        "tables",
        "recipes",
        "signals",
        "paths",
        "processors",
        "failures",
        "out_of_memory",
        "pictures",
        "scenes",
        "pretrained",
        "fingerprints",
        "_version",
    },
    {"importers", "measure", "reports", "launch", "training_data"},
    {"checks"},
    {"visualization", "export"},
    {"label_files", "cluster"},
    {"serving", "train"},
    {"cli"},
]
MOST_LINES_OF_CORE = 7_500
FLOORS = {room: floor for floor, rooms in enumerate(CORE + AROUND) for room in rooms}
GROUND_OF_AROUND = len(CORE)
DYNAMIC = {"import_module", "__import__", "run_path", "run_module", "exec_module"}
"""Functions that import what a string names."""
MAY_IMPORT_BY_NAME = {"recipes", "cli"}
"""A file of experiments/, and a mode of the command line, which is run before the package is loaded."""


def room_of(file: Path) -> str:
    return file.relative_to(PACKAGE).with_suffix("").parts[0]


def source_files() -> Iterator[Path]:
    """All of the package, but for its front door, `__init__.py`, which shows what lies behind it."""
    return (file for file in sorted(PACKAGE.rglob("*.py")) if room_of(file) != "__init__")


def imported_modules(source: str) -> set[str]:
    """Names of what is imported, anywhere in the source; of what is imported by a function, its name as it stands."""
    modules = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            # `from acfnet_tf import data` is an import of acfnet_tf.data.
            modules.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names)
        elif isinstance(node, ast.Call):
            function = node.func
            if getattr(function, "attr", getattr(function, "id", "")) in DYNAMIC:
                modules.add("dynamic")
    return modules


def faults(room: str, source: str) -> list[str]:
    """What in a source of this room points up."""
    found = []
    for module in sorted(imported_modules(source)):
        if module == "dynamic" and room not in MAY_IMPORT_BY_NAME:
            found.append("imports by name, which cannot be seen")
        if module.split(".")[0] == "experiments":
            found.append("imports the experiments")
        if module.startswith("acfnet_tf."):
            other = module.split(".")[1]
            if other != room and FLOORS[other] >= FLOORS[room]:
                found.append(f"imports {module}")
    return found


def test_every_room_has_its_floor():
    assert {room_of(file) for file in source_files()} == set(FLOORS)


def test_imports_never_point_up():
    assert not [
        f"{file}: {fault}" for file in source_files() for fault in faults(room_of(file), file.read_text("utf-8"))
    ]


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("layers", "from acfnet_tf.models import acfnet"),
        ("layers", "from acfnet_tf import models"),
        ("training", "def f():\n    import acfnet_tf.visualization.panels"),
        ("config", "import importlib\nimportlib.import_module('experiments')"),
        ("export", "import runpy\nrunpy.run_path('acfnet_tf/cli/train.py')"),
        ("cli", "from experiments import acf"),
    ],
)
def test_what_points_up_is_seen(room, source):
    assert faults(room, source)


def test_the_core_fits_in_one_head(capsys):
    rooms = Counter()
    for file in source_files():
        rooms[room_of(file)] += len(file.read_text("utf-8").splitlines())
    core = {room: lines for room, lines in rooms.items() if FLOORS[room] < GROUND_OF_AROUND}
    with capsys.disabled():
        largest = ", ".join(f"{room} {lines}" for room, lines in rooms.most_common(8))
        print(f"\nLines: core {sum(core.values())} of {MOST_LINES_OF_CORE}, all {rooms.total()}. Largest: {largest}.")
    assert sum(core.values()) <= MOST_LINES_OF_CORE, core


def test_experiments_import_the_configuration_only():
    for file in (ROOT / "experiments").glob("*.py"):
        modules = {module for module in imported_modules(file.read_text("utf-8")) if module.startswith("acfnet_tf")}
        assert {module.rpartition(".")[0] for module in modules} <= {"acfnet_tf.config"}, file

"""Imports never point up: commands → training → evaluation, export, … → inference → models → backbones → layers."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
FLOORS = {
    "commands": 8,
    "request": 7,
    "training": 6,
    "evaluation": 5,
    "visualization": 5,
    "export": 5,
    "serving": 5,
    "inference": 4,
    "models": 3,
    "backbones": 2,
    "layers": 1,
    **dict.fromkeys(("losses", "metrics", "data", "config", "conversion", "files", "replicas", "tables"), 0),
    **dict.fromkeys(("progress", "console", "keras_settings", "onednn", "_version"), 0),
}


def imported_modules(file: Path) -> set[str]:
    modules = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            modules.add(node.module)
        elif isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names)
    return modules


def test_imports_never_point_up():
    for file in sorted((ROOT / "acfnet_tf").rglob("*.py")):
        own = file.relative_to(ROOT / "acfnet_tf").with_suffix("").parts[0]
        if own == "__init__":  # the package's front door shows what lies behind it
            continue
        for module in imported_modules(file):
            assert not module.startswith("experiments"), f"{file} imports the experiments"
            if module.startswith("acfnet_tf."):
                other = module.split(".")[1]
                assert FLOORS[other] <= FLOORS[own], f"{file} imports {module}"


def test_experiments_import_the_configuration_only():
    for file in (ROOT / "experiments").glob("*.py"):
        assert imported_modules(file) <= {"acfnet_tf.config"}, file

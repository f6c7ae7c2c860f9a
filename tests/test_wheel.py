"""What a wheel installs: the package with its recipes, the command acfnet_tf, and nothing called experiments."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder that holds what the wheel puts into site-packages."""
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, files.split("\0")):
        if name.startswith(("acfnet_tf/", "experiments/")) or "/" not in name:
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, source]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


def test_nothing_else_is_installed_at_the_top(installed):
    top = {path.name for path in installed.iterdir() if not path.name.endswith(".dist-info")}
    assert top == {"acfnet_tf", "acfnet_tf_command.py"}
    recipes = {file.name for file in (ROOT / "experiments").glob("*.py")}
    assert {file.name for file in (installed / "acfnet_tf" / "_experiments").iterdir()} == recipes
    for package in (ROOT / "acfnet_tf").rglob("__init__.py"):
        assert (installed / package.relative_to(ROOT)).exists()
    (entry_points,) = installed.glob("*.dist-info/entry_points.txt")
    assert "acfnet_tf = acfnet_tf_command:main" in entry_points.read_text()


def test_the_command_and_the_recipes_work_from_there(installed, tmp_path):
    """In a folder without a checkout."""
    load = "import acfnet_tf; print(acfnet_tf.load_experiment('acf_aspp_small').name, acfnet_tf.__file__)"
    show = "import sys; sys.argv = ['/bin/acfnet_tf', '--help']; from acfnet_tf_command import main; main()"
    results = []
    for code in (load, show):
        settings = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
        environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(installed), **settings}
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        results.append(done.stdout)
    assert results[0].split() == ["acf_aspp_small", str(installed / "acfnet_tf" / "__init__.py")]
    assert "acfnet_tf --mode=predict --experiment=acf_aspp_small" in results[1]
    assert "acf_aspp_ob_trainval" in results[1].split()

"""oneDNN is turned on before TensorFlow loads, unless the user has decided; whoever comes too late is told."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from acfnet_tf.onednn import VARIABLE

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="x86 only")
SAYS = "\nfrom acfnet_tf import onednn; print(onednn.is_on(), onednn.what_runs_convolutions())"


def run(program: str, value: str | None = None) -> tuple[str, str]:
    """What a program of its own process prints, with this value of the variable, to its two streams."""
    environment = {name: content for name, content in os.environ.items() if name != VARIABLE}
    environment |= {VARIABLE: value} if value is not None else {}
    environment["CUDA_VISIBLE_DEVICES"] = "-1"
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout, done.stderr


@pytest.mark.parametrize("first", ["acfnet_tf, keras", "acfnet_tf.launch"])
def test_importing_the_package_turns_it_on(first):
    shown, told = run(f"import {first}; import os; print(os.environ['{VARIABLE}']){SAYS}")
    assert shown.splitlines() == ["1", "True Convolutions: oneDNN."]
    assert "oneDNN:" not in told


@pytest.mark.parametrize(("value", "expected"), [("0", False), ("1", True)])
def test_what_the_user_has_decided_stays(value, expected):
    shown, told = run(f"import tensorflow, acfnet_tf, os; print(os.environ['{VARIABLE}']){SAYS}", value)
    assert shown.splitlines()[0] == value and shown.splitlines()[1].startswith(f"{expected} ")
    assert "RuntimeWarning" not in told
    remedy = (
        f"Warning: they take longer than oneDNN's, which the environment variable {VARIABLE}=1 turns on (here it is 0)"
    )
    assert (remedy in shown) == (not expected)


def test_too_late_is_one_warning_that_names_the_variable():
    """As where TensorFlow itself finds no AVX-512: it is loaded without oneDNN, and the variable is not set."""
    late = f"import tensorflow, os; del os.environ['{VARIABLE}']\nimport acfnet_tf{SAYS}"
    shown, told = run(late, "0")
    assert shown.startswith("False ")
    (warning,) = (line for line in told.splitlines() if "RuntimeWarning" in line)
    assert "RuntimeWarning: TensorFlow was loaded before acfnet_tf, and without oneDNN" in warning
    assert f"set {VARIABLE}=1" in warning and warning.startswith("<string>:2")

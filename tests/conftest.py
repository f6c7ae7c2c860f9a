from __future__ import annotations

import collections
import gc
import os
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.pop("CITYSCAPES_DATASET", None)

import acfnet_tf  # noqa: F401 (before TensorFlow, as it turns oneDNN on)

pytest_plugins = ["tests.trees"]


def pytest_configure(config: pytest.Config) -> None:
    """Hides GPUs from the suite and from all processes that it starts: it tests what CPUs compute.

    TensorFlow looks for them when it is first asked for its devices, not when it loads.
    """
    if config.getoption("markexpr") != "gpu" or os.environ.get("ACFNET_TEST_GPU") == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    else:
        os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # Tests start processes that share the GPU.


def pytest_collection_finish() -> None:
    """What is loaded by now stays: the garbage collector need not look through it again and again."""
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files come first, so that several processes end together: trainings and whole commands, then by tests."""
    tests = collections.Counter(item.path for item in items)
    items.sort(key=lambda item: (item.path.parent.name not in ("training", "tests"), -tests[item.path]))


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Random networks are the same in every run of a test, whichever ran before it."""
    import keras

    keras.utils.set_random_seed(0)


@pytest.fixture(scope="session")
def tiny_scenes(tmp_path_factory) -> Path:
    """A Cityscapes tree of tiny generated scenes, read-only for tests."""
    from tests.tiny import write_tiny_scenes

    return write_tiny_scenes(tmp_path_factory.mktemp("data") / "scenes")

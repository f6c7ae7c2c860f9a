"""The smallest experiment that goes through everything: tiny network, tiny generated scenes."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from acfnet_tf.config import Experiment
from acfnet_tf.recipes import load_experiment
from acfnet_tf.scenes.street_scenes import write_street_scenes

TINY_SETTINGS = (
    "model.backbone_width=4",
    "model.channels=8",
    "model.aspp_rates=2,3",
    "data.crop_size=33,49",
    "data.scene_size=64,128",
    "data.scene_train=6",
    "data.scene_val=2",
    "data.scene_test=1",
    "train.steps=4",
    "train.batch_size=4",
    "train.micro_batch=4",  # To find out what fits takes a trace of the network. "none" does.
    "train.log_every=1",
    "train.validate_every=100",
    "train.checkpoint_every=100",
    "train.loss.ohem_min_kept=800",
    "evaluation.window=33,49",
)


def tiny_experiment(name: str = "acf_aspp_ob", *overrides: str) -> Experiment:
    """The small twin of an experiment, made smaller still."""
    return load_experiment(f"{name}_small", [*TINY_SETTINGS, *overrides])


def write_tiny_scenes(root: Path) -> Path:
    """A Cityscapes tree of 6 training, 2 validation and 1 test scene of 64×128."""
    return write_street_scenes(root, train=6, val=2, test=1, size=(64, 128), seed=0)


@contextlib.contextmanager
def shallow_resnet() -> Iterator[None]:
    """ResNet-18 has one residual block a stage instead of two, which halves what there is to trace.

    Every kind of layer and connection is still there. A run that begins within it must be continued and loaded within.
    """
    from acfnet_tf.backbones.resnet import ARCHITECTURES

    with mock.patch.dict(ARCHITECTURES, resnet18=ARCHITECTURES["resnet18"]._replace(blocks=(1, 1, 1, 1))):
        yield


@contextlib.contextmanager
def no_pictures() -> Iterator[None]:
    """Validations of a training draw nothing for TensorBoard."""
    import acfnet_tf.train

    tools = dataclasses.replace(acfnet_tf.train.TOOLS, draw_validation=lambda *_: ())
    with mock.patch.object(acfnet_tf.train, "TOOLS", tools):
        yield


@pytest.fixture(scope="module")
def shallow() -> Iterator[None]:
    """`shallow_resnet` for all tests of a file that asks for it."""
    with shallow_resnet():
        yield


@pytest.fixture(scope="module")
def light(shallow: None) -> Iterator[None]:
    """`shallow_resnet` and `no_pictures`."""
    with no_pictures():
        yield

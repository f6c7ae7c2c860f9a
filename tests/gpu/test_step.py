"""Whole training steps: against the CPU, in every precision, with and without XLA."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from acfnet_tf.layers.compilation import pays
from acfnet_tf.layers.precision import running
from acfnet_tf.training.step import TrainStep
from tests.gpu.conftest import LEARNING

pytestmark = pytest.mark.gpu

EXACT = (
    "train.precision=float32",
    "train.steps=1000",
    "train.learning_rate=0.003",
    # At the start no pixel is that hard, so that the hardest third of the pixels is what bootstrapping keeps.
    "train.loss.ohem_threshold=0.001",
    "train.loss.ohem_min_kept=10000",
)
STEPS = 3


def weights_of(step: TrainStep) -> np.ndarray:
    return np.concatenate([weight.numpy().ravel() for weight in step.model.trainable_variables])


def assert_same_training(one: tuple, other: tuple, start: np.ndarray) -> None:
    """Losses to 1e-4, and weights to 2 % of the way that they have come: rounding opens a ReLU here and there."""
    (step, losses), (expected, expected_losses) = one, other
    for found, wanted in zip(losses, expected_losses, strict=True):
        assert found["finite"]
        heads = ("total", "aux", "coarse", "fine")
        assert [found[head] for head in heads] == pytest.approx([wanted[head] for head in heads], rel=1e-4)
        assert found["gradient_norm"] == pytest.approx(wanted["gradient_norm"], rel=1e-2)
    way = np.linalg.norm(weights_of(expected) - start)
    assert way > 0
    assert np.linalg.norm(weights_of(step) - weights_of(expected)) < 0.02 * way


@pytest.fixture(scope="module")
def on_the_cpu(trained):
    """The step on the CPU, the weights before its first one, and its losses."""
    strategy = tf.distribute.OneDeviceStrategy("/CPU:0")
    step, _ = trained(*EXACT, "train.xla=false", steps=0, strategy=strategy)
    assert "CPU" in step.variables[0].device
    start, weights = weights_of(step), step.model.get_weights()
    return (trained(*EXACT, "train.xla=false", steps=STEPS, strategy=strategy), start, weights)


@pytest.mark.parametrize("xla", ["none", "false", "true"])
def test_in_float32_it_is_the_step_of_the_cpu(xla, trained, on_the_cpu):
    expected, start, weights = on_the_cpu
    settings = (*EXACT, f"train.xla={xla}")
    step, _ = trained(*settings, steps=0)
    step.model.set_weights(weights)
    assert ("GPU" in step.variables[0].device) == bool(tf.config.get_visible_devices("GPU"))
    assert step.compile_norms == step.compile_update == (xla == "none" and pays())
    assert_same_training(trained(*settings, steps=STEPS), expected, start)
    losses = [numbers["total"] for numbers in trained(*settings, steps=15)[1]]
    assert losses[-1] < 0.95 * losses[0]


@pytest.mark.parametrize("precision", ["tf32", "mixed_bfloat16", "mixed_float16"])
def test_in_every_other_precision_the_loss_falls(precision, trained):
    step, losses = trained(*LEARNING, f"train.precision={precision}", steps=15)
    good = [numbers for numbers in losses if numbers["finite"]]
    assert len(good) >= 12  # float16 may leave out a few, until it has found its scale
    assert np.isfinite([list(numbers.values()) for numbers in good]).all()
    assert good[-1]["total"] < 0.9 * good[0]["total"]
    assert all(np.isfinite(weight.numpy()).all() for weight in step.model.weights)


@pytest.mark.parametrize("precision", ["tf32", "mixed_bfloat16", "mixed_float16"])
def test_a_step_that_is_not_finite_changes_nothing_to_the_bit(precision, trained, batch):
    step, _ = trained(*LEARNING, f"train.precision={precision}", steps=1)
    variables = step.model.weights + step.optimizer.variables
    before = [variable.numpy().tobytes() for variable in variables]
    broken = batch["image"].numpy()
    broken[2, 10, 20] = np.nan
    with running(precision):
        assert not step(batch | {"image": tf.constant(broken)})["finite"]
    pairs = zip(variables, before, strict=True)
    changed = [variable.path for variable, value in pairs if variable.numpy().tobytes() != value]
    assert changed == ["sgd/iteration"]

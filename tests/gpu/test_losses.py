"""Losses and online bootstrapping against NumPy in float64."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from acfnet_tf.config import LossConfig
from acfnet_tf.losses import head_losses
from tests.losses.test_segmentation_loss import reference_head_loss

pytestmark = pytest.mark.gpu

as_xla_and_without = pytest.mark.parametrize("compiled", [False, True])


@as_xla_and_without
@pytest.mark.parametrize("ohem", [False, True])
def test_equation_4(ohem, compiled):
    rng = np.random.default_rng(0)
    logits = {head: rng.normal(0, 3, (3, 65, 70, 19)).astype(np.float32) for head in ("aux", "coarse", "fine")}
    labels = np.where(rng.random((3, 65, 70)) < 0.2, 255, rng.integers(0, 19, (3, 65, 70))).astype(np.uint8)
    weights = rng.uniform(0.5, 2, 19)
    config = LossConfig(ohem=ohem, ohem_threshold=0.01, ohem_min_kept=3000)
    losses = tf.function(head_losses(config, logits, weights), jit_compile=compiled)
    found = losses({head: tf.constant(values) for head, values in logits.items()}, tf.constant(labels))
    expected = {
        head: reference_head_loss(values, labels, weights, (0.01, 3000) if ohem and head in config.ohem_heads else None)
        for head, values in logits.items()
    }
    total = 0.4 * expected["aux"] + 0.6 * expected["coarse"] + 0.7 * expected["fine"]
    for name, value in (expected | {"total": total}).items():
        assert float(found[name]) == pytest.approx(value, rel=1e-5)


@as_xla_and_without
@pytest.mark.parametrize(("threshold", "min_kept"), [(1e-9, 777), (0.2, 10), (1e-9, 10**6)])
def test_the_pixels_that_are_kept_are_the_same_on_every_processor(threshold, min_kept, compiled):
    """Pixels in a shuffled row, each a little harder than the one before, and ignored ones between them."""
    rng = np.random.default_rng(0)
    place = rng.permutation(60 * 70).reshape(1, 60, 70)
    margin = np.linspace(-6, 6, place.size)[place]
    labels = np.where(rng.random(place.shape) < 0.3, 255, 0)
    logits = np.stack([margin, np.zeros_like(margin)], axis=-1).astype(np.float32)
    hardness = np.where(labels == 255, -1, np.log1p(np.exp(-margin)))
    valid = np.sort(hardness[labels != 255])[::-1]
    least = min(-np.log(threshold), valid[min(min_kept, len(valid)) - 1])
    loss = head_losses(LossConfig(ohem=True, ohem_threshold=threshold, ohem_min_kept=min_kept), ["fine"])

    @tf.function(jit_compile=compiled)
    def gradient(logits: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(logits)
            total = loss({"fine": logits}, tf.constant(labels))["total"]
        return tape.gradient(total, logits)

    kept = gradient(tf.constant(logits)).numpy()[..., 0] != 0
    np.testing.assert_array_equal(kept, hardness >= least - 1e-6)
    assert kept.sum() in (min_kept, len(valid)) or threshold == 0.2


@as_xla_and_without
def test_a_pixel_that_is_no_number_is_kept(compiled):
    logits = np.zeros((1, 8, 8, 3), np.float32)
    logits[0, 3, 4] = np.nan
    loss = tf.function(head_losses(LossConfig(ohem=True, ohem_min_kept=5), ["fine"]), jit_compile=compiled)
    assert np.isnan(loss({"fine": tf.constant(logits)}, tf.zeros((1, 8, 8), tf.int32))["total"])

"""Losses against plain NumPy in float64; online bootstrapping against a sort."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from acfnet_tf.config import LossConfig
from acfnet_tf.losses import CITYSCAPES_CLASS_WEIGHTS, SegmentationLoss, head_losses, inverse_log_weights
from acfnet_tf.losses.bootstrapping import _kth_largest, hardest_pixels, pixel_hardness


def reference_head_loss(logits, labels, weights, ohem=None):
    """Mean of the weighted cross entropy over valid or, with (θ, K), over hard pixels: a plain sort in float64."""
    logits = logits.astype(np.float64).reshape(-1, logits.shape[-1])
    labels = labels.reshape(-1).astype(int)
    logits, labels = logits[labels != 255], labels[labels != 255]
    if not len(labels):
        return 0.0
    log_probabilities = logits - np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1, keepdims=True))
    log_probabilities -= logits.max(1, keepdims=True)
    cross_entropy = -log_probabilities[np.arange(len(labels)), labels]
    kept = np.ones(len(labels), bool)
    if ohem:
        threshold, min_kept = ohem
        hardest_first = np.sort(cross_entropy)[::-1]
        kth = hardest_first[min(min_kept, len(hardest_first)) - 1] if min_kept else np.inf
        kept = (cross_entropy > -np.log(threshold)) | (cross_entropy >= kth)
    pixel_losses = np.asarray(weights)[labels] * cross_entropy
    return pixel_losses[kept].mean() if kept.any() else 0.0


@st.composite
def batches(draw):
    seed, classes = draw(st.integers(0, 2**20)), draw(st.integers(2, 12))
    shape = draw(st.tuples(st.integers(1, 3), st.integers(1, 12), st.integers(1, 12)))
    ignored = draw(st.sampled_from([0.0, 0.3, 0.95, 1.0]))
    rng = np.random.default_rng(seed)
    logits = {head: rng.normal(0, 3, (*shape, classes)).astype(np.float32) for head in ("aux", "coarse", "fine")}
    labels = np.where(rng.random(shape) < ignored, 255, rng.integers(0, classes, shape)).astype(np.uint8)
    return logits, labels, rng.uniform(0.5, 2, classes)


@given(batches(), st.booleans())
@settings(deadline=None, max_examples=40)
def test_equation_4_is_the_weighted_sum_of_mean_cross_entropies(batch, weighted):
    logits, labels, weights = batch
    losses = head_losses(LossConfig(), logits, weights if weighted else None)(logits, labels)
    expected = {
        head: reference_head_loss(logits[head], labels, weights if weighted else np.ones(len(weights)))
        for head in logits
    }
    for head, value in expected.items():
        assert float(losses[head]) == pytest.approx(value, rel=1e-5, abs=1e-6)
    total = 0.4 * expected["aux"] + 0.6 * expected["coarse"] + 0.7 * expected["fine"]
    assert float(losses["total"]) == pytest.approx(total, rel=1e-5, abs=1e-6)


@given(batches(), st.sampled_from([0.1, 0.7, 0.99]), st.integers(0, 500))
@settings(deadline=None, max_examples=60)
def test_online_bootstrapping_equals_a_sort_and_leaves_other_heads_alone(batch, threshold, min_kept):
    logits, labels, weights = batch
    config = LossConfig(ohem=True, ohem_threshold=threshold, ohem_min_kept=min_kept)
    losses = head_losses(config, logits, weights)(logits, labels)
    expected = reference_head_loss(logits["fine"], labels, weights, (threshold, min_kept))
    assert float(losses["fine"]) == pytest.approx(expected, rel=1e-5, abs=1e-6)
    assert float(losses["coarse"]) == pytest.approx(
        reference_head_loss(logits["coarse"], labels, weights), rel=1e-5, abs=1e-6
    )


@pytest.mark.parametrize("compiled", [False, True])
def test_a_pixel_that_is_not_a_number_is_the_hardest_and_is_kept(compiled):
    """Under XLA too, which has no kernel for every operation."""
    logits = np.random.default_rng(2).normal(size=(1, 8, 8, 3)).astype(np.float32)
    labels = np.zeros((1, 8, 8), np.int64)
    labels[0, 0, 0] = 255
    config = LossConfig(ohem=True, ohem_threshold=0.001, ohem_min_kept=5)
    loss = tf.function(head_losses(config, ["fine"]), jit_compile=compiled)
    plain = float(loss({"fine": tf.constant(logits)}, labels)["fine"])
    assert plain == pytest.approx(reference_head_loss(logits, labels, np.ones(3), (0.001, 5)), rel=1e-5)
    for value in (np.nan, -np.nan, np.inf):  # two NaNs that differ by their sign bit
        broken = logits.copy()
        broken[0, 3, 4] = value
        assert np.isnan(loss({"fine": tf.constant(broken)}, labels)["fine"])
        hardness = pixel_hardness(tf.constant([value, 2.0, 1.0], tf.float32), tf.constant([True, True, False]))
        kept = hardest_pixels(hardness, 0.001, 1)
        assert float(kept.pixels) == 1


@pytest.mark.parametrize(("min_kept", "pixels"), [(0, 0), (1, 1), (3, 3), (100, 4)])
def test_no_more_pixels_are_kept_than_there_are(min_kept, pixels):
    hardness = tf.constant([0.5, 0.0, -1.0, 0.25, 0.75])
    assert float(hardest_pixels(hardness, 0.1, min_kept).pixels) == pixels
    assert float(hardest_pixels(hardness, 1.0, 0).pixels) == 3  # a pixel of probability 1 is not below it


def test_the_gradient_is_that_of_the_kept_pixels_only():
    rng = np.random.default_rng(0)
    logits = tf.constant(rng.normal(0, 3, (1, 6, 6, 4)), tf.float32)
    labels = rng.integers(0, 4, (1, 6, 6))
    config = LossConfig(ohem=True, ohem_threshold=0.2, ohem_min_kept=5, fine_weight=1.0)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = head_losses(config, ["fine"])({"fine": logits}, labels)["total"]
    gradient = tape.gradient(loss, logits).numpy()
    probabilities = tf.nn.softmax(logits).numpy()
    true = np.take_along_axis(probabilities, labels[..., None], -1)[..., 0]
    kept = (true < 0.2) | (true <= np.sort(true.ravel())[4])
    expected = (probabilities - np.eye(4)[labels]) * kept[..., None] / kept.sum()
    np.testing.assert_allclose(gradient, expected, atol=1e-6)


@pytest.mark.parametrize("ohem", [False, True])
def test_a_batch_without_valid_pixels_has_loss_zero_and_finite_gradients(ohem):
    logits = tf.random.stateless_normal((2, 4, 4, 3), (0, 0))
    with tf.GradientTape() as tape:
        tape.watch(logits)
        losses = head_losses(LossConfig(ohem=ohem), ["fine"])({"fine": logits}, np.full((2, 4, 4), 255))
    assert float(losses["total"]) == 0
    assert not np.any(tape.gradient(losses["total"], logits))


@pytest.mark.parametrize("ohem", [False, True])
def test_micro_batches_add_up_to_the_loss_of_the_whole_batch(ohem):
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(4, 5, 5, 3)).astype(np.float32)
    labels = np.where(rng.random((4, 5, 5)) < 0.4, 255, rng.integers(0, 3, (4, 5, 5)))
    loss = head_losses(LossConfig(ohem=ohem, ohem_threshold=0.1, ohem_min_kept=20), ["fine"], [1.0, 2.0, 0.5])
    whole = float(loss({"fine": logits}, labels)["total"])
    kept = loss.kept(labels, loss.hardness({"fine": logits}, labels))
    parts = [float(loss({"fine": logits[i : i + 1]}, labels[i : i + 1], kept)["total"]) for i in range(4)]
    assert sum(parts) == pytest.approx(whole, rel=1e-6)


@given(
    st.lists(st.floats(0, 2.0**60, width=32), min_size=1, max_size=60),
    st.data(),
)
@settings(deadline=None, max_examples=60)
def test_selection_by_histograms_is_exact(values, data):
    k = data.draw(st.integers(1, len(values)))
    values = np.array(values, np.float32)
    assert float(_kth_largest(tf.constant(values), tf.constant(k, tf.float64))) == np.sort(values)[::-1][k - 1]


def test_no_sort_runs():
    @tf.function
    def step(logits, labels):
        return head_losses(LossConfig(ohem=True), ["fine"])({"fine": logits}, labels)["total"]

    graph = step.get_concrete_function(tf.TensorSpec((1, 8, 8, 19)), tf.TensorSpec((1, 8, 8), tf.uint8)).graph
    assert not {op.type for op in graph.get_operations()} & {"TopKV2", "Sort", "TopK"}


def test_inverse_log_weights_have_mean_one_and_favour_rare_classes():
    weights = inverse_log_weights(np.array([10**9, 10**6, 0, 10**4]))
    assert weights[[0, 1, 3]].mean() == pytest.approx(1)
    assert weights[0] < weights[1] < weights[3]
    assert weights[2] == 1


def test_cityscapes_weights_are_the_published_ones():
    assert len(CITYSCAPES_CLASS_WEIGHTS) == 19
    assert np.mean(CITYSCAPES_CLASS_WEIGHTS) == pytest.approx(1, abs=1e-3)


@given(batches(), st.booleans())
@settings(deadline=None, max_examples=30)
def test_a_head_s_loss_is_one_of_keras(batch, bootstrapped):
    """Labels with a last axis of 1, weights of images, and the config, with which files are saved."""
    logits, labels, weights = batch
    loss = SegmentationLoss(weights, 0.5 if bootstrapped else None, min_kept=10)
    assert isinstance(loss, keras.losses.Loss)
    expected = reference_head_loss(logits["fine"], labels, weights, (0.5, 10) if bootstrapped else None)
    twin = keras.losses.deserialize(keras.losses.serialize(loss))
    for value in (loss(labels, logits["fine"]), twin(labels[..., None], logits["fine"], np.ones(len(labels)))):
        assert float(value) == pytest.approx(expected, rel=1e-5, abs=1e-6)
    halves = [twin(labels, logits["fine"], np.arange(len(labels)) == i) for i in range(len(labels))]
    assert float(sum(halves)) == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_weights_of_another_number_of_classes_are_refused():
    with pytest.raises(ValueError, match="19 class weights for 5 classes"):
        SegmentationLoss(CITYSCAPES_CLASS_WEIGHTS)(np.zeros((1, 2, 2), np.int32), tf.zeros((1, 2, 2, 5)))

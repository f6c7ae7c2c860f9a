"""AttentionalClassFeature is the paper's module in one layer, for any Keras model."""

from __future__ import annotations

import re
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from acfnet_tf.layers import AttentionalClassFeature
from tests import oracle
from tests.oracle import assert_close
from tests.saving import assert_survives_saving, randomize

COMBINE = ["sum", "concat", None]
every_form = pytest.mark.parametrize("combine", COMBINE)


def inputs(*shape: int, classes: int = 4, channels: int = 5, seed: int = 0) -> list[np.ndarray]:
    """Features and coarse logits."""
    generator = np.random.default_rng(seed)
    return [generator.normal(0, 2, (*shape, depth)).astype(np.float32) for depth in (channels, classes)]


def built(layer: AttentionalClassFeature, features: np.ndarray, logits: np.ndarray) -> AttentionalClassFeature:
    layer.build(features.shape, logits.shape)
    randomize(layer)
    return layer


def norm_relu(inputs: np.ndarray, norm: keras.layers.BatchNormalization) -> np.ndarray:
    values = norm.gamma, norm.beta, norm.moving_mean, norm.moving_variance
    return np.maximum(oracle.batch_norm(inputs, *[value.numpy() for value in values], norm.epsilon), 0)


def expected(layer: AttentionalClassFeature, features: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Section 3.1 in float64, in the paper's order."""
    probabilities = oracle.softmax(logits)
    block = layer.class_centers
    centers = oracle.class_centers(features, probabilities, block.kernel.numpy(), block.bias.numpy())
    kernel = layer.fusion.kernel.numpy()
    if layer.combine is None:
        return norm_relu(oracle.class_center_fusion(features, centers, kernel), layer.fusion_norm)
    attend = {"sum": oracle.class_attention_sum, "concat": oracle.class_attention_concat}[layer.combine]
    block = layer.class_attention
    attended = norm_relu(attend(centers, probabilities, block.kernel.numpy(), block.bias.numpy()), layer.attention_norm)
    fused = oracle.conv1x1(np.concatenate([attended, features], axis=-1), kernel[0, 0])
    return norm_relu(fused, layer.fusion_norm)


@every_form
@settings(max_examples=15, deadline=None)
@given(
    batch=st.integers(1, 3),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    classes=st.integers(1, 20),
    depth=st.integers(1, 12),
    channels=st.integers(1, 12),
    seed=st.integers(0, 2**31),
)
def test_equals_the_equations_of_the_paper(combine, batch, height, width, classes, depth, channels, seed):
    sample = inputs(batch, height, width, classes=classes, channels=depth, seed=seed)
    layer = built(AttentionalClassFeature(channels, combine, epsilon=1e-3), *sample)
    assert_close(layer(*sample), expected(layer, *sample), 2e-5)


@every_form
def test_gradients_reach_every_weight_and_both_inputs(combine):
    sample = [tf.constant(array) for array in inputs(2, 5, 4)]
    layer = built(AttentionalClassFeature(6, combine), *sample)
    with tf.GradientTape() as tape:
        tape.watch(sample)
        loss = tf.reduce_sum(layer(*sample, training=True) ** 2 * inputs(2, 5, 4, channels=6)[0])
    kernels = [variable for variable in layer.trainable_variables if len(variable.shape) > 1]
    watched = [*sample, *(variable.value for variable in layer.trainable_variables)]
    gradients = dict(zip(map(id, [*sample, *layer.trainable_variables]), tape.gradient(loss, watched), strict=True))
    assert all(np.isfinite(gradient.numpy()).all() for gradient in gradients.values())
    for variable in [*sample, *kernels]:  # BatchNorm takes away what a bias before it adds
        assert np.abs(gradients[id(variable)].numpy()).max() > 0


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "float16"])
@every_form
def test_a_mixed_policy_reaches_every_part_and_does_not_round_the_logits(combine, policy):
    """Logits that differ by less than bfloat16 and float16 can tell around 1000."""
    features, _ = inputs(1, 4, 4, channels=3)
    logits = np.zeros((1, 4, 4, 2), np.float32) + 1000
    logits[..., 0] += 0.2
    exact = built(AttentionalClassFeature(8, combine), features, logits)
    layer = built(AttentionalClassFeature(8, combine, dtype=policy), features, logits)
    outputs = layer(features, logits)
    assert outputs.dtype == layer.compute_dtype == policy.removeprefix("mixed_")
    assert {part.dtype_policy.name for part in layer._flatten_layers()} == {policy}
    seen = []
    layer.class_centers.call = lambda features, probabilities: seen.append(probabilities) or tf.zeros((1, 2, 8))
    layer(features, logits)
    np.testing.assert_allclose(seen[0][..., 0], 1 / (1 + np.exp(-0.2)), rtol=1e-4)
    np.testing.assert_allclose(tf.cast(outputs, tf.float32), exact(features, logits), rtol=0.05, atol=0.05)


def test_in_training_batch_norm_takes_the_statistics_of_the_batch():
    sample = inputs(2, 9, 9)
    layer = AttentionalClassFeature(6)
    assert np.abs(layer(*sample, training=True) - layer(*sample, training=False)).max() > 0.1
    assert layer.attention_norm.moving_mean.numpy().any()
    assert layer.fusion_norm.moving_mean.numpy().any()


@every_form
def test_saving_and_changing_sizes(tmp_path, combine):
    samples = [inputs(2, *size) for size in [(1, 1), (4, 7), (9, 2)]]
    layer = AttentionalClassFeature(6, combine, epsilon=1e-3, name="acf")
    assert_survives_saving(layer, [(None, None, 5), (None, None, 4)], samples, tmp_path)


def test_symbolic_shape_and_dtype_are_those_of_the_result():
    layer = AttentionalClassFeature(6, dtype="mixed_bfloat16")
    spec = layer(keras.Input((None, 7, 5)), keras.Input((None, None, 4)))
    assert spec.shape == (None, None, 7, 6)
    assert spec.dtype == "bfloat16"


def test_an_unknown_combination_is_refused_with_the_choices():
    with pytest.raises(ValueError, match=r'"sum", "concat" or None.*product'):
        AttentionalClassFeature(combine="product")


def test_logits_of_another_size_are_refused_with_the_way_out():
    with pytest.raises(ValueError, match="ResizeLike"):
        AttentionalClassFeature(6)(keras.Input((8, 8, 5)), keras.Input((64, 64, 4)))


def test_channels_first_is_refused(monkeypatch):
    monkeypatch.setattr(keras.config, "image_data_format", lambda: "channels_first")
    with pytest.raises(ValueError, match="channels_last"):
        AttentionalClassFeature(6, combine=None)


def test_the_example_of_the_documentation_trains_saves_and_loads(tmp_path, monkeypatch):
    document = Path(__file__).parents[2].joinpath("docs/base_networks.md").read_text()
    section = document.split("\n## ACF in your own Keras model\n")[1]
    code = re.search(r"```python\n(.*?)```", section, re.DOTALL)[1]
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(code, names)
    saved = keras.models.load_model("unet_acf.keras")
    outputs = saved.predict(names["photos"], verbose=0)
    assert {name: array.shape for name, array in outputs.items()} == dict.fromkeys(("coarse", "fine"), (4, 64, 64, 5))
    assert any(isinstance(layer, AttentionalClassFeature) for layer in saved.layers)

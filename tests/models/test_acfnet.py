"""ACFNet: every row of the paper's Tables 1 and 2, from image to logits, saved and loaded."""

from __future__ import annotations

import functools
import inspect
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import acfnet_tf
from acfnet_tf import ACFNet
from acfnet_tf.layers import ASPP
from tests import oracle
from tests.oracle import assert_close
from tests.saving import randomize

ROOT = Path(__file__).parents[2]
CLASSES = 5
ROWS = [
    (None, None),
    (None, "class_center"),
    (None, "acf_concat"),
    (None, "acf_sum"),
    ("aspp", None),
    ("aspp", "acf_sum"),
    ("psp", "acf_sum"),
]
every_row = pytest.mark.parametrize(("context", "class_feature"), ROWS)
rows_with_centers = pytest.mark.parametrize(("context", "class_feature"), [row for row in ROWS if row[1]])


def tiny(context: str | None, class_feature: str | None, **arguments) -> ACFNet:
    """The row's wiring on the smallest network, with random weights and statistics."""
    arguments = {"backbone": "resnet18", "backbone_width": 4, "channels": 8, "aspp_rates": (1, 2, 3)} | arguments
    model = ACFNet(CLASSES, context=context, class_feature=class_feature, **arguments)
    randomize(model)
    return model


shared = functools.cache(tiny)
"""For tests that only look."""


def images(*size: int, batch: int = 2, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (batch, *size, 3), np.uint8)


@pytest.fixture(params=["mixed_bfloat16", "mixed_float16", "float16"])
def mixed_policy(request):
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy("float32")


def test_default_arguments_are_the_paper_s_best_network():
    parameters = inspect.signature(ACFNet).parameters
    first = {name: parameters[name].default for name in list(parameters)[:4]}
    assert first == {"num_classes": 19, "backbone": "resnet101", "context": "aspp", "class_feature": "acf_sum"}
    assert parameters["channels"].default == 512
    assert parameters["aspp_rates"].default == (12, 24, 36)
    assert parameters["output_stride"].default == 8
    assert acfnet_tf.ACFNet is ACFNet


@every_row
def test_one_model_predicts_every_size_after_another(context, class_feature):
    model = shared(context, class_feature)
    heads = {"fine", "aux"} | ({"coarse"} if class_feature else set())
    for size in [(1, 1), (7, 5), (33, 65)]:
        logits = model.predict(images(*size).astype(np.float32), verbose=0)
        assert set(logits) == heads
        for head in heads:
            assert logits[head].shape == (2, *size, CLASSES)
            assert logits[head].dtype == np.float32
            assert np.isfinite(logits[head]).all()


@every_row
def test_aspp_stands_where_the_row_says(context, class_feature):
    model = shared(context, class_feature)
    assert sum(isinstance(layer, ASPP) for layer in model.layers) == (context == "aspp")


def test_uint8_images_are_taken_as_they_are():
    model = shared("aspp", "acf_sum")
    expected = model(images(9, 17).astype(np.float32))
    for logits in (model(images(9, 17)), model.predict(images(9, 17), verbose=0)):
        for head in expected:
            assert_close(logits[head], expected[head].numpy())


def test_each_image_of_a_batch_is_judged_by_its_own_class_centers():
    model = shared("aspp", "acf_sum")
    together = model(images(17, 17))["fine"]
    for i in range(2):
        assert_close(model(images(17, 17)[i : i + 1])["fine"], together[i : i + 1].numpy())


def test_an_image_of_the_mean_color_is_zero_once_normalised():
    model = shared(None, None)
    normalized = keras.Model(model.input, model.get_layer("normalization").output)
    mean, deviation = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
    constant = np.broadcast_to(mean, (1, 3, 3, 3)).astype(np.float32)
    np.testing.assert_allclose(normalized(constant), 0, atol=1e-5)
    np.testing.assert_allclose(normalized((constant + deviation).astype(np.float32)), 1, atol=1e-5)


def expected_heads(model: ACFNet, features: np.ndarray, next_to_last: np.ndarray, size: tuple[int, int]) -> dict:
    """Section 3.2 in float64 from the feature maps on: Eq. 2, Eq. 3 or 5, fusion, classifiers, upsampling."""

    def weights(layer: keras.layers.Layer) -> list[np.ndarray]:
        return [weight.numpy() for weight in layer.weights]

    def norm_relu(inputs: np.ndarray, norm: keras.layers.BatchNormalization) -> np.ndarray:
        statistics = norm.gamma.numpy(), norm.beta.numpy(), norm.moving_mean.numpy(), norm.moving_variance.numpy()
        return np.maximum(oracle.batch_norm(inputs, *statistics, norm.epsilon), 0)

    def classify(inputs: np.ndarray, head: str) -> np.ndarray:
        kernel, bias = weights(model.get_layer(f"{head}_logits"))
        return oracle.conv1x1(inputs, kernel[0, 0], bias)

    aux_conv = model.get_layer("aux_conv")
    auxiliary = norm_relu(oracle.conv2d(next_to_last, aux_conv.conv.kernel.numpy()), aux_conv.norm)
    logits = {"aux": classify(auxiliary, "aux")}
    if model.class_feature is None:
        logits["fine"] = classify(features, "fine")
    else:
        logits["coarse"] = classify(features, "coarse")
        acf = model.get_layer("acf")
        probabilities = oracle.softmax(logits["coarse"])
        centers = oracle.class_centers(features, probabilities, *weights(acf.class_centers))
        if model.class_feature == "class_center":
            fused = oracle.class_center_fusion(features, centers, *weights(acf.fusion))
        else:
            attention = {"acf_sum": oracle.class_attention_sum, "acf_concat": oracle.class_attention_concat}
            attended = attention[model.class_feature](centers, probabilities, *weights(acf.class_attention))
            attended = norm_relu(attended, acf.attention_norm)
            fused = oracle.conv1x1(np.concatenate([attended, features], axis=-1), weights(acf.fusion)[0][0, 0])
        logits["fine"] = classify(norm_relu(fused, acf.fusion_norm), "fine")
    return {head: oracle.resize_bilinear(value, *size, stride=8) for head, value in logits.items()}


@every_row
def test_logits_equal_the_paper_s_equations(context, class_feature):
    model = shared(context, class_feature)
    features = model.get_layer("coarse_logits" if class_feature else "fine_logits").input
    next_to_last = model.get_layer("aux_conv").input
    exposed = keras.Model(model.input, [features, next_to_last, model.output])
    *maps, actual = exposed(images(64, 51), training=False)
    expected = expected_heads(model, *(tensor.numpy() for tensor in maps), size=(64, 51))
    assert set(actual) == set(expected)
    for head, logits in expected.items():
        assert logits.std() > 1e-2, "the comparison would be of nothing"
        assert_close(actual[head], logits, 1e-4)


@rows_with_centers
def test_the_auxiliary_head_sees_the_next_to_last_stage(context, class_feature):
    model = shared(context, class_feature)
    assert model.get_layer("aux_conv").input is model.get_layer("stage3_block2_out").output


@every_row
def test_gradients_reach_every_trainable_variable(context, class_feature):
    model = tiny(context, class_feature)
    generator = np.random.default_rng(0)
    with tf.GradientTape() as tape:
        logits = model(images(33, 41, batch=3), training=True)
        loss = tf.add_n([tf.reduce_sum(value * generator.normal(size=value.shape)) for value in logits.values()])
    variables = model.trainable_variables
    for variable, gradient in zip(variables, tape.gradient(loss, [v.value for v in variables]), strict=True):
        assert gradient is not None, variable.path
        assert np.isfinite(gradient.numpy()).all(), variable.path
        # A bias in front of BatchNorm has no influence in training.
        assert variable.name == "bias" or np.abs(gradient.numpy()).max() > 0, variable.path


@every_row
def test_all_batch_norms_are_synchronised(context, class_feature):
    model = shared(context, class_feature)
    norms = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
    backbone_and_aux = 20 + 1
    heads = {None: 0, "class_center": 1, "acf_concat": 2, "acf_sum": 2}[class_feature]
    assert len(norms) == backbone_and_aux + 5 * (context is not None) + heads
    assert all(norm.synchronized for norm in norms)


@every_row
def test_a_saved_model_gives_the_same_logits(tmp_path, context, class_feature):
    model = shared(context, class_feature)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(loaded, ACFNet)
    assert loaded.get_config() == model.get_config()
    expected, actual = model(images(33, 17)), loaded(images(33, 17))
    assert set(actual) == set(expected)
    for head in expected:
        np.testing.assert_array_equal(actual[head], expected[head])


def test_a_saved_model_loads_in_a_process_that_only_imports_the_package(tmp_path):
    model = tiny("aspp", "acf_concat", stem="deep_64", conv_bias=True, output_stride=16, batch_norm_epsilon=1e-3)
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "images.npy", images(33, 17))
    program = (
        "import sys, numpy, keras, acfnet_tf\n"
        "folder = sys.argv[1]\n"
        "model = keras.models.load_model(f'{folder}/model.keras')\n"
        "numpy.savez(f'{folder}/logits.npz', **model.predict(numpy.load(f'{folder}/images.npy'), verbose=0))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    actual, expected = np.load(tmp_path / "logits.npz"), model.predict(images(33, 17), verbose=0)
    assert set(actual.files) == set(expected)
    for head in expected:
        assert_close(actual[head], expected[head], 1e-6)


@rows_with_centers
def test_under_a_mixed_policy_logits_are_float32_and_not_rounded(mixed_policy, context, class_feature):
    model = tiny(context, class_feature)
    assert {weight.dtype for weight in model.trainable_weights} == {"float32", model.variable_dtype}
    assert model.get_layer("acf").output.dtype == model.compute_dtype == mixed_policy.removeprefix("mixed_")
    for logits in model(images(17, 17)).values():
        assert logits.dtype == tf.float32
        assert np.isfinite(logits).all()
        half = tf.cast(tf.cast(logits, model.compute_dtype), tf.float32)
        assert np.mean(half.numpy() == logits.numpy()) < 0.5


def test_under_a_mixed_policy_logits_stay_near_those_of_float32(mixed_policy):
    model = tiny("aspp", "acf_sum")
    exact = shared("aspp", "acf_sum")
    model.set_weights(exact.get_weights())
    for head, logits in model(images(33, 33)).items():
        assert_close(logits, exact(images(33, 33))[head].numpy(), 0.1)


def test_a_model_of_a_mixed_policy_survives_saving(mixed_policy, tmp_path):
    model = tiny("aspp", "acf_sum")
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for head, logits in model(images(17, 17)).items():
        assert_close(loaded(images(17, 17))[head], logits.numpy(), 1e-6)


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16", keras.DTypePolicy("mixed_bfloat16")])
def test_dtype_is_the_policy_of_all_layers_also_once_saved(tmp_path, dtype):
    model = tiny("aspp", "acf_sum", dtype=dtype)
    model.save(tmp_path / "model.keras")
    exact = {"normalization", "aux_logits", "coarse_logits", "fine_logits"}
    for candidate in (model, keras.models.load_model(tmp_path / "model.keras")):
        assert candidate.dtype_policy == keras.dtype_policies.get(dtype)
        for layer in candidate._flatten_layers(include_self=False):
            assert layer.dtype_policy.name == ("float32" if layer.name in exact else candidate.dtype_policy.name)
        assert {variable.dtype for variable in candidate.variables} == {"float32"}
        assert {logits.dtype for logits in candidate(images(9, 9)).values()} == {tf.float32}
    assert keras.config.dtype_policy().name == "float32"


def test_dtype_stands_above_the_global_policy(mixed_policy, tmp_path):
    tiny("aspp", "acf_sum", dtype="float32").save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert {layer.dtype_policy.name for layer in loaded._flatten_layers()} == {"float32"}
    assert keras.config.dtype_policy().name == mixed_policy


def test_a_model_that_cannot_be_built_leaves_the_global_policy():
    with pytest.raises(ValueError, match="vgg16"):
        ACFNet(backbone="vgg16", dtype="mixed_float16")
    assert keras.config.dtype_policy().name == "float32"


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_under_a_mixed_policy_images_are_normalised_in_float32(dtype):
    exact, model = shared("aspp", "acf_sum"), tiny("aspp", "acf_sum", dtype=dtype)
    fractions = np.linspace(0, 255, 17 * 17 * 3, dtype=np.float32).reshape(1, 17, 17, 3)
    normalized = [keras.Model(m.input, m.get_layer("normalization").output)(fractions) for m in (exact, model)]
    np.testing.assert_array_equal(*normalized)
    white = np.full((1, 33, 33, 3), 255, np.uint8)
    for head, logits in model(white).items():
        assert_close(logits, exact(white)[head].numpy(), 0.1)


def test_a_training_step_changes_every_kernel():
    model = tiny("aspp", "acf_sum")
    before = [variable.numpy() for variable in model.trainable_variables]
    model.compile(
        optimizer=keras.optimizers.SGD(0.01),
        loss={head: keras.losses.SparseCategoricalCrossentropy(from_logits=True) for head in model.output},
    )
    labels = np.random.default_rng(0).integers(0, CLASSES, (2, 33, 33))
    model.fit(images(33, 33), dict.fromkeys(model.output, labels), epochs=1, verbose=0)
    for variable, old in zip(model.trainable_variables, before, strict=True):
        assert np.isfinite(variable.numpy()).all(), variable.path
        assert variable.name != "kernel" or (variable.numpy() != old).any(), variable.path


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"context": "crf"}, ["context", "'aspp'", "'psp'", "None", "'crf'"]),
        ({"class_feature": "acf"}, ["class_feature", "'acf_sum'", "'acf_concat'", "'class_center'", "None", "'acf'"]),
        ({"backbone": "vgg16"}, ["backbone", "resnet18", "resnet101", "'vgg16'"]),
        ({"backbone": "segformer_b0"}, ["segformer_b0 has its own context: set context to None"]),
        ({"backbone": "segformer_b0", "context": None}, ["segformer_b0 has fixed strides", "output_stride to 32"]),
        ({"backbone": "resnet18", "output_stride": 4}, ["output_stride", "8, 16 or 32", "4"]),
        ({"backbone": "resnet50", "stride_in": "7x7"}, ["stride_in", "3x3", "1x1", "7x7"]),
        ({"backbone": "resnet18", "stem": "deep"}, ["stem", "7x7", "deep_64", "deep_128", "'deep'"]),
    ],
)
def test_an_unknown_choice_is_refused_with_the_choices(arguments, said):
    with pytest.raises(ValueError, match=said[0]) as refused:
        ACFNet(**arguments)
    for words in said:
        assert words in str(refused.value)

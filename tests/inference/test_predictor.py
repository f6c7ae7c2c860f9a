"""The forward path, on a network whose answers are known: its logits are a fixed linear map of each pixel."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import acfnet_tf
from acfnet_tf.config import EvaluationConfig
from acfnet_tf.errors import UserError
from acfnet_tf.inference.predictor import Predictor

pytestmark = pytest.mark.usefixtures("shallow")

N = 5
FINE = np.random.default_rng(1).normal(size=(3, N)).astype(np.float32) / 50
COARSE = np.random.default_rng(2).normal(size=(3, N)).astype(np.float32) / 50


def pointwise_model(heads=("fine", "coarse", "aux")) -> keras.Model:
    images = keras.Input((None, None, 3))
    kernels = {"fine": FINE, "coarse": COARSE, "aux": FINE}
    outputs = {}
    for head in heads:
        layer = keras.layers.Conv2D(N, 1, use_bias=False, name=head)
        outputs[head] = layer(images)
        layer.set_weights([kernels[head][None, None]])
    return keras.Model(images, outputs)


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def resize(x: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear with half-pixel centers, in float64, axis by axis."""
    for axis, new in enumerate(size):
        old = x.shape[axis]
        place = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        low = np.floor(place).astype(int)
        high = np.minimum(low + 1, old - 1)
        share = (place - low).reshape([-1 if a == axis else 1 for a in range(x.ndim)])
        x = np.take(x, low, axis) * (1 - share) + np.take(x, high, axis) * share
    return x


@pytest.fixture(scope="module")
def model():
    return pointwise_model()


@pytest.fixture(scope="module")
def small_acfnet():
    keras.utils.set_random_seed(1)
    return acfnet_tf.ACFNet(N, "resnet18", channels=8, backbone_width=4, aspp_rates=(1, 2, 3))


def test_sizes_one_after_the_other_on_one_graph(model):
    predictor = Predictor(model)
    for height, width in [(5, 7), (8, 3), (1, 1), (16, 16)]:
        image = picture(height, width)
        labels = predictor(image)
        assert labels.dtype == np.uint8
        assert labels.shape == (height, width)
        np.testing.assert_array_equal(labels, (image.astype(np.float32) @ FINE).argmax(-1))
    (function,) = predictor._functions.values()
    assert function.experimental_get_tracing_count() == 1


def test_labels_gives_both_heads(model):
    predictor = Predictor(model)
    image = picture(6, 9)
    labels = predictor.labels(image)
    assert list(labels) == ["coarse", "fine"]
    assert (predictor.heads, predictor.num_classes) == (("coarse", "fine"), N)
    np.testing.assert_array_equal(labels["coarse"], (image.astype(np.float32) @ COARSE).argmax(-1))
    np.testing.assert_array_equal(Predictor(model, head="coarse")(image), labels["coarse"])


def test_baseline_has_the_fine_head_only():
    predictor = Predictor(pointwise_model(("fine", "aux")))
    assert list(predictor.labels(picture(3, 3))) == ["fine"]
    with pytest.raises(UserError, match="no 'coarse' head"):
        Predictor(pointwise_model(("fine", "aux")), head="coarse")


@pytest.mark.parametrize("size", [(65, 97), (64, 96), (33, 40)])
def test_plain_labels_are_exactly_keras_predict(small_acfnet, size):
    image = picture(*size)
    expected = small_acfnet.predict(image[None].astype(np.float32), verbose=0)["fine"].argmax(-1)[0]
    np.testing.assert_array_equal(Predictor(small_acfnet)(image), expected)


def test_probabilities_are_the_softmax(model):
    image = picture(6, 9)
    found = Predictor(model).probabilities(image)
    for head, kernel in (("fine", FINE), ("coarse", COARSE)):
        assert found[head].dtype == np.float32
        np.testing.assert_allclose(found[head], softmax(image.astype(np.float64) @ kernel), atol=1e-5)


@pytest.mark.parametrize("size", [(20, 33), (7, 33), (33, 7), (7, 7), (1, 1), (8, 8)])
def test_sliding_windows_of_a_pointwise_model_are_the_whole_image(model, size):
    image = picture(*size)
    sliding = Predictor(model, EvaluationConfig(mode="sliding", window=(8, 10)))
    np.testing.assert_allclose(
        sliding.probabilities(image)["fine"], Predictor(model).probabilities(image)["fine"], atol=1e-6
    )


def test_sliding_windows_average_what_each_window_says(small_acfnet):
    image = picture(40, 30)
    whole = Predictor(small_acfnet)
    total, count = np.zeros((40, 30, N)), np.zeros((40, 30, 1))
    for top in (0, 12, 16):  # stride ceil(24 · 1/2) = 12, the last one flush with the border
        total[top : top + 24] += whole.probabilities(image[top : top + 24])["fine"]
        count[top : top + 24] += 1
    sliding = Predictor(small_acfnet, EvaluationConfig(mode="sliding", window=(24, 32), window_overlap=0.5))
    np.testing.assert_allclose(sliding.probabilities(image)["fine"], total / count, atol=1e-5)


def test_multi_scale_and_flip_against_numpy(model):
    """A pointwise network commutes with the flip, so that flips change nothing here."""
    image = picture(10, 14)
    scales = (0.5, 1.0, 1.75)
    total = np.zeros((10, 14, N))
    for scale in scales:
        scaled = resize(image.astype(np.float64), (round(scale * 10), round(scale * 14)))
        total += resize(softmax(scaled @ FINE), (10, 14))
    for flip in (False, True):
        predictor = Predictor(model, EvaluationConfig(multi_scale=True, scales=scales, flip=flip))
        probabilities = predictor.probabilities(image)["fine"]
        np.testing.assert_allclose(probabilities, total / 3, atol=1e-5)
        np.testing.assert_array_equal(predictor(image), probabilities.argmax(-1))


def test_flip_makes_any_network_flip_equivariant(small_acfnet):
    image = picture(48, 40)
    plain = Predictor(small_acfnet).probabilities
    flipped = Predictor(small_acfnet, EvaluationConfig(flip=True)).probabilities
    assert np.abs(plain(image[:, ::-1])["fine"][:, ::-1] - plain(image)["fine"]).max() > 1e-3
    np.testing.assert_allclose(flipped(image[:, ::-1])["fine"][:, ::-1], flipped(image)["fine"], atol=1e-5)


def test_all_modes_together_on_one_pixel(model):
    predictor = Predictor(model, EvaluationConfig(mode="sliding", window=(4, 4), multi_scale=True, flip=True))
    image = picture(1, 1)
    np.testing.assert_array_equal(predictor(image), Predictor(model)(image))


def test_maps_of_a_batch_in_a_graph_are_the_images_one_by_one(small_acfnet):
    evaluation = EvaluationConfig(mode="sliding", window=(24, 32), multi_scale=True, scales=(0.5, 1.0), flip=True)
    predictor = Predictor(small_acfnet, evaluation)
    images = np.stack([picture(40, 50), picture(40, 50, seed=1)])

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8)])
    def maps(images):
        return predictor.label_maps(images, ("fine",)) | {"values": predictor.probability_maps(images, ("fine",))}

    found = maps(images)
    for index, image in enumerate(images):
        np.testing.assert_allclose(found["values"]["fine"][index], predictor.probabilities(image)["fine"], atol=1e-5)
        assert np.mean(found["fine"][index] == predictor(image)) > 0.999


@pytest.mark.parametrize(("precision", "least", "most"), [
    ("tf32", 0, 1e-6), ("mixed_bfloat16", 1e-4, 1e-2), ("mixed_float16", 1e-5, 1e-3),
])  # fmt: skip
def test_every_precision_labels_a_model_of_a_file_and_one_at_hand(precision, least, most, small_acfnet, tmp_path):
    small_acfnet.save(tmp_path / "model.keras")
    image, evaluation = picture(64, 96), EvaluationConfig(precision=precision)
    exact = Predictor(small_acfnet, EvaluationConfig(precision="float32")).probabilities(image)["fine"]
    for model in (small_acfnet, tmp_path):
        predictor = Predictor(model, evaluation)
        assert predictor.model.dtype_policy.name == ("float32" if precision == "tf32" else precision)
        found = predictor.probabilities(image)["fine"]
        assert found.dtype == np.float32
        assert least <= np.abs(found - exact).mean() <= most
        assert predictor(image).shape == image.shape[:2]
    assert small_acfnet.dtype_policy.name == "float32"


def test_16_bits_are_tensorflow_s_and_an_acfnet_s(model, small_acfnet):
    rounded = EvaluationConfig(precision="mixed_bfloat16")
    with pytest.raises(UserError, match=r"^evaluation\.precision=mixed_bfloat16 is TensorFlow's; --runtime=openvino "):
        Predictor(small_acfnet, rounded, runtime="openvino")
    with pytest.raises(UserError, match=r"^evaluation\.precision=mixed_bfloat16 wants an ACFNet, not .* Functional$"):
        Predictor(model, rounded)


def test_follows_the_weights_of_a_training():
    model = pointwise_model(("fine",))
    predictor, image = Predictor(model), picture(4, 4)
    predictor(image)
    model.get_layer("fine").set_weights([COARSE[None, None]])
    np.testing.assert_array_equal(predictor(image), (image.astype(np.float32) @ COARSE).argmax(-1))


def test_reads_a_run_folder_and_a_file(small_acfnet, tmp_path):
    file = tmp_path / "model.keras"
    small_acfnet.save(file)
    image = picture(33, 40)
    expected = Predictor(small_acfnet)(image)
    for path in (tmp_path, str(file)):
        np.testing.assert_array_equal(Predictor(path)(image), expected)


def test_more_than_256_classes():
    images = keras.Input((None, None, 3))
    bias = np.zeros(300, np.float32)
    bias[299] = 1.0
    layer = keras.layers.Conv2D(300, 1, kernel_initializer="zeros")
    model = keras.Model(images, {"fine": layer(images)})
    layer.set_weights([np.zeros((1, 1, 3, 300), np.float32), bias])
    for evaluation in (EvaluationConfig(), EvaluationConfig(flip=True)):
        labels = Predictor(model, evaluation)(picture(2, 3))
        assert labels.dtype == np.uint16
        assert (labels == 299).all()


def test_a_subclassed_model_serves_too():
    class Subclassed(keras.Model):
        def call(self, images, training=False):
            return {"fine": tf.einsum("bhwc,cn->bhwn", images, FINE)}

    image = picture(5, 6)
    np.testing.assert_array_equal(Predictor(Subclassed())(image), (image.astype(np.float32) @ FINE).argmax(-1))


def test_errors_name_what_is_wrong(model, tmp_path):
    with pytest.raises(UserError, match=r"has no model\.keras"):
        Predictor(tmp_path)
    with pytest.raises(UserError, match="no such file"):
        Predictor(tmp_path / "missing.keras")
    (tmp_path / "broken.keras").write_bytes(b"not a zip file")
    with pytest.raises(UserError, match=r"broken\.keras is no \.keras file, or cut off"):
        Predictor(tmp_path / "broken.keras")
    inputs = keras.Input((None, None, 3))
    with pytest.raises(UserError, match="no ACFNet"):
        Predictor(keras.Model(inputs, keras.layers.Conv2D(2, 1)(inputs)))
    for image in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(ValueError, match="RGB image"):
            Predictor(model)(image)

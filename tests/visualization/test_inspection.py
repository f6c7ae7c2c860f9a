"""What an Inspector shows of a network is what the network computes: against the paper's equations in NumPy."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import acfnet_tf
from acfnet_tf.errors import UserError
from acfnet_tf.inference.predictor import Predictor
from acfnet_tf.layers import ResizeLike
from acfnet_tf.layers.resize import Grid
from acfnet_tf.visualization.inspection import Inspection, Inspector
from tests import oracle
from tests.oracle import assert_close

N = 5
ROWS = ("acf_sum", "acf_concat", "class_center", None)
sizes = st.tuples(st.integers(1, 40), st.integers(1, 40))


def tiny(class_feature: str | None, dtype: str = "float32") -> acfnet_tf.ACFNet:
    """Random, with BatchNorms and biases that are not those of the beginning."""
    keras.utils.set_random_seed(1)
    model = acfnet_tf.ACFNet(
        N,
        "resnet18",
        class_feature=class_feature,
        channels=8,
        backbone_width=4,
        aspp_rates=(2, 3),
        dtype=dtype,
    )
    generator = np.random.default_rng(2)
    for variable in model.variables:
        if variable.path.rsplit("/", 1)[-1] in ("bias", "beta", "gamma", "moving_mean", "moving_variance"):
            variable.assign_add(generator.uniform(0, 0.3, variable.shape))
    return model


def picture(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


@pytest.fixture(scope="module")
def networks() -> dict[str | None, tuple[acfnet_tf.ACFNet, Inspector, keras.Model]]:
    """Each with a model of its activations: base features, what each classifier is given and gives."""
    found = {}
    for row in ROWS:
        model = tiny(row)
        heads = ("fine",) if row is None else ("fine", "coarse")
        classifiers = {head: model.get_layer(f"{head}_logits") for head in heads}
        activations = {
            head: [classifiers[head].input, classifiers[head].output, model.get_layer("aspp").output] for head in heads
        }
        found[row] = model, Inspector(model), keras.Model(model.input, activations)
    return found


@pytest.mark.parametrize("row", ROWS)
@settings(max_examples=5, deadline=None)
@given(size=sizes, seed=st.integers(0, 99))
def test_features_and_probabilities_are_those_of_the_heads(networks, row, size, seed):
    _, inspector, activations = networks[row]
    inspection, image = inspector(picture(size, seed)), picture(size, seed)
    expected = activations(image[None].astype(np.float32), training=False)
    assert inspection.size == size
    assert inspection.features.keys() == inspection.probabilities.keys() == expected.keys()
    for head, (features, logits, _) in expected.items():
        assert_close(inspection.features[head], features[0])
        assert_close(inspection.probabilities[head], oracle.softmax(logits[0]))


@pytest.mark.parametrize("row", ROWS[:3])
@settings(max_examples=5, deadline=None)
@given(size=sizes, seed=st.integers(0, 99))
def test_class_centers_are_eq_2(networks, row, size, seed):
    model, inspector, activations = networks[row]
    inspection = inspector(picture(size, seed))
    _, logits, features = activations(picture(size, seed)[None].astype(np.float32), training=False)["coarse"]
    block = model.get_layer("acf").class_centers
    kernel, bias = block.kernel.numpy(), block.bias.numpy()
    assert_close(inspection.class_features, oracle.conv1x1(features, kernel, bias)[0])
    assert_close(inspection.centers, oracle.class_centers(features, oracle.softmax(logits), kernel, bias)[0], 1e-4)
    assert inspection.attends == (row != "class_center")


@pytest.mark.parametrize(
    ("row", "equation"), [("acf_sum", oracle.class_attention_sum), ("acf_concat", oracle.class_attention_concat)]
)
def test_the_fine_head_is_given_the_centers_in_the_shares_shown(networks, row, equation):
    """From the centers and the attention shown, Eq. 3 or 5 and the fusion lead to the features of the fine head."""
    model, inspector, _ = networks[row]
    inspection, acf = inspector(picture((33, 41))), model.get_layer("acf")
    attention, base = inspection.probabilities["coarse"][None], inspection.features["coarse"][None]
    block = acf.class_attention
    attended = equation(inspection.centers[None], attention, block.kernel.numpy(), block.bias.numpy())
    attended = np.maximum(normalized(attended, acf.attention_norm), 0)
    fused = oracle.conv1x1(np.concatenate([attended, base], axis=-1), acf.fusion.kernel.numpy()[0, 0])
    assert_close(inspection.features["fine"][None], np.maximum(normalized(fused, acf.fusion_norm), 0), 1e-4)


def normalized(features: np.ndarray, norm: keras.layers.BatchNormalization) -> np.ndarray:
    statistics = (norm.gamma, norm.beta, norm.moving_mean, norm.moving_variance)
    return oracle.batch_norm(features, *(value.numpy() for value in statistics), norm.epsilon)


def test_a_baseline_has_one_head_and_no_centers(networks):
    _, inspector, _ = networks[None]
    inspection = inspector(picture((9, 17)))
    assert inspector.heads == ("fine",)
    assert (inspection.class_features, inspection.centers, inspection.attends) == (None, None, False)


def test_similarity_is_the_cosine_of_the_features(networks):
    _, inspector, _ = networks["acf_sum"]
    inspection = inspector(picture((33, 49)))
    for head in ("coarse", "fine"):
        features = inspection.features[head].astype(np.float64)
        for pixel, (row, column) in {(0, 0): (0, 0), (48, 32): (4, 6), (17, 7): (1, 2)}.items():
            chosen = features[row, column]
            lengths = np.linalg.norm(features, axis=-1) * np.linalg.norm(chosen)
            expected = np.where(lengths > 0, features @ chosen / np.maximum(lengths, 1e-30), 0)
            assert_close(inspection.similarity(head, pixel), expected)


def test_similarity_of_features_that_are_all_zero_is_zero():
    features = np.zeros((2, 2, 3), np.float32)
    features[0, 1] = 1
    inspection = Inspection((16, 16), *[{"fine": features}] * 3, None, None, False, Grid(8))
    for x in (8, 15):
        np.testing.assert_allclose(inspection.similarity("fine", (x, 0)), [[0, 1], [0, 0]], atol=1e-6)
    np.testing.assert_array_equal(inspection.similarity("fine", (0, 0)), np.zeros((2, 2)))


@settings(max_examples=40, deadline=None)
@given(
    size=sizes,
    grid=st.sampled_from([Grid(4), Grid(8), Grid(32, 14)]),
    place=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_the_cell_of_a_pixel_weighs_most_where_the_network_enlarges(size, grid, place):
    pixel = tuple(round(share * (length - 1)) for share, length in zip(place, size[::-1], strict=True))
    cells = tuple(-(-length // grid.stride) for length in size)
    maps = np.zeros((1, *cells, 1), np.float32)
    inspection = Inspection(size, *[{"fine": maps[0]}] * 3, None, None, False, grid)
    one_hot = np.eye(cells[0] * cells[1], dtype=np.float32).reshape(1, *cells, -1)
    enlarged = ResizeLike(*grid)(one_hot, np.zeros((1, *size, 1), np.float32)).numpy()[0]
    weights = enlarged[pixel[1], pixel[0]].reshape(cells)
    assert weights[inspection.cell(pixel)] >= weights.max() - 1e-5


def test_a_folded_model_shows_the_same(networks, tmp_path):
    model, inspector, _ = networks["acf_sum"]
    model.save(tmp_path / "model.keras")
    folded = Inspector(Predictor(tmp_path / "model.keras").model)(picture((25, 33)))
    expected = inspector(picture((25, 33)))
    assert_close(folded.centers, expected.centers, 1e-4)
    for head in ("coarse", "fine"):
        assert_close(folded.features[head], expected.features[head], 1e-4)
        assert_close(folded.probabilities[head], expected.probabilities[head], 1e-4)


def test_mixed_precision_is_shown_in_float32():
    inspection = Inspector(tiny("acf_sum", "mixed_bfloat16"))(picture((17, 25)))
    arrays = [*inspection.features.values(), *inspection.probabilities.values()]
    arrays += [inspection.class_features, inspection.centers]
    assert {array.dtype for array in arrays} == {np.dtype(np.float32)}


def test_follows_the_weights_of_a_training():
    model = tiny("acf_sum")
    inspector, image = Inspector(model), picture((17, 25))
    before = inspector(image).centers
    model.get_layer("acf").class_centers.bias.assign_add(np.ones(8))
    np.testing.assert_allclose(inspector(image).centers, before + 1, atol=1e-5)


def test_another_network_is_refused():
    images = keras.Input((None, None, 3))
    with pytest.raises(UserError, match="ACFNet only"):
        Inspector(keras.Model(images, {"fine": keras.layers.Conv2D(N, 1)(images)}))

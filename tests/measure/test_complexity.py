"""The table of what each part of the network costs, against formulas."""

from __future__ import annotations

import math

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from acfnet_tf.measure.complexity import (
    AUXILIARY,
    BACKBONE,
    CONTEXT,
    FUSION,
    HEADS,
    REDUCTION,
    RESIZING,
    REST_OF_ACF,
    Part,
    complexity,
    complexity_table,
    multiply_adds_of,
)
from acfnet_tf.models import ACFNet

N, C, WIDTH = 5, 8, 4
STAGE3, STAGE4 = 4 * WIDTH, 8 * WIDTH  # channels
SIZE, PIXELS = (33, 49), 5 * 7  # of the image, and of features at stride 8


def tiny_model(**arguments) -> ACFNet:
    common = {"backbone": "resnet18", "backbone_width": WIDTH, "channels": C, "aspp_rates": (2, 3)}
    return ACFNet(N, **(common | arguments))


def parts_of(model: ACFNet, size: tuple[int, int] = SIZE) -> dict[str, Part]:
    return {part.name: part for part in complexity(model, size)}


@pytest.fixture(scope="module", params=["acf_sum", "acf_concat", "class_center"])
def class_feature(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(class_feature) -> ACFNet:
    return tiny_model(class_feature=class_feature)


@pytest.fixture(scope="module")
def parts(model) -> dict[str, Part]:
    return parts_of(model)


def test_parameters_are_those_of_the_model(model, parts, class_feature):
    assert sum(part.parameters for part in parts.values()) == model.count_params()
    blocks = {"acf_sum": 1, "acf_concat": N, "class_center": 0}[class_feature]
    assert parts[REDUCTION].parameters == C * C + C + (blocks * C * C + C if blocks else 0)
    assert parts[FUSION].parameters == ((1 + N) if class_feature == "class_center" else 2) * C * C
    assert parts[REST_OF_ACF].parameters == 4 * C * (1 if class_feature == "class_center" else 2)


def test_multiply_adds_of_the_base_network(parts):
    assert parts[CONTEXT].multiply_adds == PIXELS * ((1 + 2 * 9) * STAGE4 * C + 3 * C * C)
    assert parts[AUXILIARY].multiply_adds == PIXELS * (9 * STAGE3 * C // 2 + C // 2 * N)
    assert parts[HEADS].multiply_adds == 2 * PIXELS * C * N
    (height, width), (rows, columns) = SIZE, (5, 7)  # first along the height, then along the width
    assert parts[RESIZING].multiply_adds == 3 * N * height * (rows * columns + columns * width)
    expected = 17 * 25 * 49 * 3 * WIDTH + 9 * 13 * 4 * 9 * WIDTH**2  # stem and first stage
    for channels in (2 * WIDTH, 4 * WIDTH, 8 * WIDTH):
        half = channels // 2
        expected += PIXELS * (9 * half * channels + 3 * 9 * channels**2 + half * channels)  # … and the shortcut
    assert parts[BACKBONE].multiply_adds == expected


def test_multiply_adds_of_acf_are_those_of_its_algebra(parts, class_feature):
    if class_feature == "class_center":
        assert parts[REDUCTION].multiply_adds == N * C * C
        assert parts[FUSION].multiply_adds == PIXELS * C * C + N * C * C
        assert parts[REST_OF_ACF].multiply_adds == PIXELS * N * C
    else:  # "concat" multiplies no more than "sum" does
        assert parts[REDUCTION].multiply_adds == 2 * N * C * C
        assert parts[FUSION].multiply_adds == PIXELS * 2 * C * C
        assert parts[REST_OF_ACF].multiply_adds == 2 * PIXELS * N * C


def test_activations_are_what_the_backward_pass_reads(parts, class_feature):
    """Of conv, BatchNorm, ReLU: the outputs of conv and ReLU, and the batch's mean and variance.

    Resizing is linear: its backward pass reads none of the logits before it, and the loss reads those after it.
    """
    assert parts[AUXILIARY].activation_bytes == 4 * (PIXELS * 2 * C // 2 + 2 * C // 2)
    assert parts[CONTEXT].activation_bytes == 4 * (PIXELS * (2 * 3 * C + 3 * C + 2 * C) + 4 * 2 * C)
    assert parts[HEADS].activation_bytes == 0
    assert parts[RESIZING].activation_bytes == 4 * 3 * math.prod(SIZE) * N
    if class_feature != "class_center":
        assert parts[FUSION].activation_bytes == 4 * PIXELS * C
        maps = 2 * N + C + C + 2 * C + C  # probabilities, weights; attention, its ReLU, concatenation; ReLU of fusion
        vectors = 3 * N * C + 2 * N + 4 * C  # means, centers, centers · W; sums of probabilities; statistics
        assert parts[REST_OF_ACF].activation_bytes == 4 * (PIXELS * maps + vectors)


def test_mixed_precision_halves_activations_but_those_of_logits():
    parts, mixed = parts_of(tiny_model()), parts_of(tiny_model(dtype="mixed_bfloat16"))
    assert mixed[RESIZING].activation_bytes == parts[RESIZING].activation_bytes
    assert mixed[FUSION].activation_bytes == parts[FUSION].activation_bytes / 2
    assert mixed[FUSION].multiply_adds == parts[FUSION].multiply_adds


def test_base_network_alone_has_no_acf():
    parts = parts_of(tiny_model(class_feature=None, context=None))
    assert list(parts) == [BACKBONE, AUXILIARY, HEADS, RESIZING]
    assert "ACF" not in complexity_table(list(parts.values()), SIZE)


def test_decoder_of_a_ready_made_base_is_its_context():
    model = ACFNet(N, "segformer_b0", context=None, channels=C, output_stride=32, backbone_width=8)
    parts = parts_of(model)
    encoder = sum(model.get_layer(name).count_params() for name in model.backbone_layers)
    assert parts[BACKBONE].parameters == encoder
    assert parts[CONTEXT].multiply_adds > 0


@settings(max_examples=4, deadline=None)
@given(height=st.integers(1, 40), width=st.integers(1, 40))
def test_any_size_of_image(height, width):
    parts = parts_of(tiny_model(context=None, class_feature=None), (height, width))
    pixels = -(-height // 8) * -(-width // 8)
    assert parts[AUXILIARY].multiply_adds == pixels * (9 * STAGE3 * C // 2 + C // 2 * N)


def test_shares_sum_to_100(parts):
    lines = complexity_table(list(parts.values()), SIZE).splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")][2:]
    assert [row[0] for row in rows] == [*parts, "total"]
    for column in (2, 4, 6):
        *shares, total = (float(row[column]) for row in rows)
        assert total == 100 and sum(shares) == pytest.approx(100, abs=0.05)
    share = next(row[4] for row in rows if row[0] == REST_OF_ACF)
    assert lines[-1].endswith(f"ACF adds {share} % of the multiply-adds.")


@pytest.mark.parametrize(
    ("product", "shapes", "expected"),
    [
        (lambda x, k: tf.nn.conv2d(x, k, 2, "SAME"), [(2, 9, 7, 6), (3, 3, 3, 8)], 2 * 5 * 4 * 8 * 9 * 3),  # 2 groups
        (lambda x, k: tf.nn.depthwise_conv2d(x, k, [1] * 4, "SAME"), [(1, 5, 5, 3), (3, 3, 3, 2)], 25 * 6 * 9),
        (lambda a, b: tf.matmul(a, b, transpose_a=True), [(4, 2), (4, 3)], 2 * 3 * 4),
        (lambda a, b: tf.matmul(a, b, transpose_b=True), [(7, 2, 4), (7, 3, 4)], 7 * 2 * 3 * 4),
        (lambda a, b: tf.einsum("bhwn,bhwc->bnc", a, b), [(2, 3, 4, 5), (2, 3, 4, 6)], 2 * 3 * 4 * 5 * 6),
        (lambda a, b: tf.nn.relu(a + b), [(4, 4), (4, 4)], 0),
    ],
    ids=["grouped_conv", "depthwise_conv", "matmul", "batch_matmul", "einsum", "elementwise"],
)
def test_multiply_adds_of_operations(product, shapes, expected):
    function = tf.function(product).get_concrete_function(*(tf.TensorSpec(shape) for shape in shapes))
    assert sum(multiply_adds_of(operation) for operation in function.graph.get_operations()) == expected


def test_a_card_changes_no_count(parts, model, monkeypatch):
    """On a pretended one, for whose TF32 products are split."""
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind=None: ["a card"])
    monkeypatch.setattr(tf.config.optimizer, "set_experimental_options", lambda options: None)
    assert parts_of(model) == parts

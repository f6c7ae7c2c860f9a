"""ACFNet in the hands of Keras: compiled, cloned, taken apart, and on a backbone of the user's."""

from __future__ import annotations

import inspect
from pathlib import Path

import keras
import numpy as np
import pytest

import acfnet_tf
from acfnet_tf import ACFNet
from acfnet_tf.config import LossConfig
from acfnet_tf.losses import head_losses
from acfnet_tf.metrics.confusion import ConfusionMatrix
from tests.oracle import assert_close
from tests.saving import randomize

pytestmark = pytest.mark.usefixtures("shallow")

layers = keras.layers
CLASSES = 5
IMAGES = np.random.default_rng(0).uniform(0, 255, (2, 33, 40, 3)).astype(np.float32)
LABELS = np.random.default_rng(1).integers(0, CLASSES, (2, 33, 40)).astype(np.int32)


def tiny(**arguments) -> ACFNet:
    arguments = {"backbone": small(), "channels": 8, "aspp_rates": (2,)} | arguments
    return ACFNet(CLASSES, **arguments)


def small(outputs: str = "one", name: str = "small") -> keras.Model:
    """A network of stride 8 with one output, or with the maps of all of its strides."""
    maps, x = [], keras.Input((None, None, 3))
    images = x
    for number, filters in enumerate((4, 6, 8), 1):
        x = layers.Conv2D(filters, 3, 2, "same", use_bias=False, name=f"conv{number}")(x)
        x = layers.ReLU()(layers.BatchNormalization(scale=False, name=f"norm{number}")(x))
        maps.append(x)
    several = {"list": maps, "dict": {f"P{number}": x for number, x in enumerate(maps, 1)}}
    model = keras.Model(images, several.get(outputs, x), name=name)
    randomize(model)
    return model


def reloaded(model: keras.Model, folder: Path) -> keras.Model:
    model.save(folder / "model.keras")
    return keras.models.load_model(folder / "model.keras")


def assert_same_outputs(one: keras.Model, other: keras.Model) -> None:
    for head, logits in one(IMAGES, training=False).items():
        assert_close(other(IMAGES, training=False)[head], logits.numpy(), 1e-6)


@pytest.mark.parametrize("class_feature", ["acf_sum", None])
def test_the_loss_is_the_paper_s_where_no_other_is_given(class_feature):
    model = tiny(class_feature=class_feature)
    model.compile("sgd")
    labels = np.where(LABELS == 1, 255, LABELS)
    result = model.evaluate(IMAGES, labels, batch_size=2, verbose=0, return_dict=True)
    config = LossConfig() if class_feature else LossConfig(fine_weight=1.0)
    expected = head_losses(config, model.output)(model(IMAGES, training=False), labels)
    assert result.pop("loss") == pytest.approx(float(expected["total"]), rel=1e-5)
    for head in model.output:
        assert result.pop(f"{head}_loss") == pytest.approx(float(expected[head]), rel=1e-5)
    assert set(result) == ({"fine_mean_iou", "coarse_mean_iou"} if class_feature else {"fine_mean_iou"})
    matrix = ConfusionMatrix(CLASSES)
    matrix.update(labels.reshape(66, 40), model(IMAGES)["fine"].numpy().argmax(-1).reshape(66, 40))
    assert result["fine_mean_iou"] == pytest.approx(matrix.mean_iou(), rel=1e-5)


def test_a_compiled_model_loads_with_its_loss_and_optimizer(tmp_path):
    model = tiny()
    loss = head_losses(LossConfig(ohem=True, ohem_min_kept=50), model.output, np.linspace(0.5, 1.5, CLASSES))
    model.compile(acfnet_tf.AdamW(0.01, average_momentum=0.9), loss)
    model.fit(IMAGES, LABELS, batch_size=1, verbose=0)
    loaded = reloaded(model, tmp_path)
    assert type(loaded.optimizer) is acfnet_tf.AdamW
    for ours, theirs in zip(model.optimizer.variables, loaded.optimizer.variables, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    evaluations = [each.evaluate(IMAGES, LABELS, verbose=0, return_dict=True) for each in (model, loaded)]
    assert evaluations[0] == pytest.approx(evaluations[1], rel=1e-5)


def test_weights_of_heads_and_of_samples_are_taken():
    model = tiny()
    model.compile("sgd", loss_weights={"aux": 0.0, "coarse": 0.0, "fine": 2.0}, metrics=None)
    loss = model.evaluate(IMAGES, LABELS, sample_weight=np.array([1.0, 0.0]), batch_size=2, verbose=0)[0]
    fine = {"fine": model(IMAGES[:1], training=False)["fine"]}
    half = float(head_losses(LossConfig(), ["fine"])(fine, LABELS[:1])["fine"]) / 2  # The mean is over both images.
    assert loss == pytest.approx(2 * half, rel=1e-5)


def test_losses_of_keras_and_labels_of_each_head_are_taken_too():
    model = tiny()
    cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", dict.fromkeys(model.output, cross_entropy))
    plain, by_head = (
        model.evaluate(IMAGES, labels, verbose=0, return_dict=True)
        for labels in (LABELS, dict.fromkeys(model.output, LABELS))
    )
    assert plain == pytest.approx(by_head)
    assert set(plain) == {"loss", "aux_loss", "coarse_loss", "fine_loss"}


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_a_clone_is_an_acfnet(tmp_path, dtype):
    model = tiny(dtype=dtype, class_feature="acf_concat")
    clone = keras.models.clone_model(keras.models.clone_model(model))
    assert type(clone) is ACFNet
    assert clone.get_config() == model.get_config()
    assert clone.dtype_policy == model.dtype_policy
    assert len(clone.head_variables) == len(model.head_variables)
    clone.set_weights(model.get_weights())
    assert_same_outputs(model, clone)
    assert_same_outputs(model, reloaded(clone, tmp_path))


def test_help_shows_the_arguments():
    assert [*inspect.signature(ACFNet).parameters][:3] == ["num_classes", "backbone", "context"]
    with pytest.raises(TypeError, match="color"):
        ACFNet(CLASSES, color="red")


@pytest.mark.parametrize(("backbone", "layer"), [("small", "acf"), ("segformer_b0", "encoder_norm_3")])
def test_a_part_of_it_survives_saving(tmp_path, backbone, layer):
    segformer = {"backbone": backbone, "backbone_width": 8, "context": None, "output_stride": 32}
    model = tiny(**(segformer if backbone != "small" else {}))
    part = keras.Model(model.input, model.get_layer(layer).output)
    assert_close(reloaded(part, tmp_path)(IMAGES), part(IMAGES).numpy(), 1e-6)


def test_a_network_of_keras_is_the_same_as_an_object_and_by_its_name():
    named = ACFNet(CLASSES, "mobilenet_v2", channels=8, backbone_width=8, output_stride=8)
    network = keras.applications.MobileNetV2((None, None, 3), 0.125, include_top=False, weights=None)
    randomize(network)
    given = ACFNet(CLASSES, network, channels=8, output_stride=8)
    named.set_weights(given.get_weights())
    for name in given.backbone_layers:
        for ours, theirs in zip(given.get_layer(name).weights, network.get_layer(name).weights, strict=True):
            np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    assert given.backbone_layers == named.backbone_layers
    assert_same_outputs(given, named)


@pytest.mark.parametrize("outputs", ["one", "list", "dict"])
def test_a_backbone_object_is_kept_with_the_model(tmp_path, outputs):
    model = tiny(backbone=small(outputs), output_stride=8)
    assert model.backbone == "small"
    assert model.get_layer("aux_conv").input.shape[-1] == 6
    assert_same_outputs(model, reloaded(model, tmp_path))
    twin = ACFNet.from_config(model.get_config())
    twin.set_weights(model.get_weights())
    assert_same_outputs(model, twin)


class Subclassed(keras.Model):
    def call(self, inputs):
        return inputs


def two_inputs() -> keras.Model:
    images = [keras.Input((None, None, 3)) for _ in range(2)]
    return keras.Model(images, layers.Conv2D(4, 3, 2)(layers.Add()(images)), name="two")


@pytest.mark.parametrize(
    ("backbone", "arguments", "said"),
    [
        (Subclassed(name="mine"), {}, "mine cannot be traced: a backbone is a functional model with one input"),
        (two_inputs(), {}, "two cannot be traced"),
        (keras.applications.MobileNetV2((32, 32, 3), weights=None), {}, "gives no map, but"),
        (small(), {"backbone_width": 32}, "small has the width that it has"),
    ],
)
def test_what_is_no_backbone_is_refused(backbone, arguments, said):
    with pytest.raises(ValueError, match=said):
        tiny(backbone=backbone, **arguments)

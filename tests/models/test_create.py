"""From the configuration to the model, with the precision and the memory that a training run wants."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections import Counter
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from acfnet_tf.config import ModelConfig
from acfnet_tf.errors import ConfigError
from acfnet_tf.layers import SyncBatchNorm
from acfnet_tf.models.create import create_model
from tests.saving import randomize

ROOT = Path(__file__).parents[2]
TINY = ModelConfig(5, "resnet18", backbone_width=4, channels=8, aspp_rates=(1, 2, 3))
IMAGES = np.random.default_rng(0).integers(0, 256, (2, 33, 41, 3)).astype(np.float32)


def tiny(*arguments) -> keras.Model:
    model = create_model(TINY, *arguments)
    randomize(model)
    return model


def loss_and_gradients(model: keras.Model, images: tf.Tensor, at_gradient=lambda: None) -> list[tf.Tensor]:
    with tf.GradientTape() as tape:
        loss = tf.add_n([tf.reduce_mean(logits**2) for logits in model(images, training=True).values()])
    at_gradient()
    return [loss, *tape.gradient(loss, [variable.value for variable in model.trainable_variables])]


def test_the_configuration_becomes_the_arguments():
    config = create_model(TINY).get_config()
    assert (config["num_classes"], config["backbone"], config["aspp_rates"]) == (5, "resnet18", (1, 2, 3))


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_precision_is_the_dtype_policy(precision):
    assert create_model(TINY, precision).get_layer("aspp").projection.conv.dtype_policy.name == precision


@pytest.mark.parametrize(
    "arguments", [(ModelConfig(backbone="vgg16"),), (ModelConfig(backbone="segformer_b0"),), (TINY, "float12")]
)
def test_an_unknown_choice_is_a_mistake_of_the_user(arguments):
    with pytest.raises(ConfigError, match=r"^model: "):
        create_model(*arguments)


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_rematerialisation_changes_neither_loss_nor_gradients(precision):
    plain, recomputed = (tf.function(loss_and_gradients)(tiny(precision, again), IMAGES) for again in (False, True))
    for expected, actual in zip(plain, recomputed, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_each_layer_is_recomputed_once_in_the_backward_pass(monkeypatch):
    model = tiny("float32", True)
    phase, calls = "forward", {"forward": Counter(), "gradient": Counter()}
    call = SyncBatchNorm.call

    @functools.wraps(call)
    def counted(self, *args, **kwargs):
        calls[phase][self.path] += 1
        return call(self, *args, **kwargs)

    def at_gradient():
        nonlocal phase
        phase = "gradient"

    monkeypatch.setattr(SyncBatchNorm, "call", counted)
    tf.function(loss_and_gradients)(model, IMAGES, at_gradient)
    assert set(calls["forward"].values()) == set(calls["gradient"].values()) == {1}
    assert calls["forward"].keys() - calls["gradient"].keys() == {"acf/attention_norm", "acf/fusion_norm"}


def test_a_rematerialised_model_is_saved_like_any_other(tmp_path):
    model = tiny("float32", True)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.get_config() == model.get_config()
    for head, logits in model(IMAGES).items():
        np.testing.assert_array_equal(loaded(IMAGES)[head], logits)


def test_rematerialisation_repeats_the_sums_over_replicas():
    program = (
        "import tensorflow as tf\n"
        "cpu = tf.config.list_physical_devices('CPU')[0]\n"
        "tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)\n"
        "from tests.models.test_create import *\n"
        "strategy = tf.distribute.MirroredStrategy(['CPU:0', 'CPU:1'])\n"
        "images, results = tf.constant(IMAGES), []\n"
        "for again in (False, True):\n"
        "    with strategy.scope():\n"
        "        model = tiny('float32', again)\n"
        "    def replica_step():\n"
        "        context = tf.distribute.get_replica_context()\n"
        "        image = context.replica_id_in_sync_group\n"
        "        return context.all_reduce('sum', loss_and_gradients(model, images[image:image + 1]))\n"
        "    values = tf.function(lambda: strategy.run(replica_step))()\n"
        "    results.append([strategy.experimental_local_results(value)[0] for value in values])\n"
        "for expected, actual in zip(*results, strict=True):\n"
        "    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-4 * np.abs(expected).max())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]

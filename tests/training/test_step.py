"""One step: micro-batches, loss scaling, XLA."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from acfnet_tf.config import LossConfig, TrainConfig
from acfnet_tf.layers.norm import SyncBatchNorm
from acfnet_tf.losses import head_losses
from acfnet_tf.training.loss_scale import LossScale
from acfnet_tf.training.optimizer import create_optimizer
from acfnet_tf.training.step import TrainStep

TRIVIAL = {"Const", "Identity", "IdentityN", "NoOp", "Placeholder", "ReadVariableOp"}
"""Operations that launch nothing on a GPU."""


def model_without_batch_norm() -> keras.Model:
    """BatchNorm would see the micro-batch; everything else must not notice it."""
    keras.utils.set_random_seed(1)
    images = keras.Input((None, None, 3))
    features = keras.layers.Conv2D(6, 3, padding="same", activation="relu")(images)
    heads = {head: keras.layers.Conv2D(4, 1, name=head)(features) for head in ("aux", "coarse", "fine")}
    return keras.Model(images, heads)


@pytest.mark.parametrize("ohem", [False, True])
@pytest.mark.parametrize("micro_batch", [1, 2])
def test_accumulated_micro_batches_equal_the_whole_batch(micro_batch, ohem):
    rng = np.random.default_rng(0)
    batches = []
    for _ in range(3):
        labels = rng.integers(0, 4, (4, 6, 7))
        # Very different shares of ignored pixels: a mean of the micro-batches' means would be another number.
        labels[rng.random(labels.shape) < np.array([0.0, 0.5, 0.9, 1.0])[:, None, None]] = 255
        batches.append({"image": tf.constant(rng.random((4, 6, 7, 3)), tf.float32), "label": tf.constant(labels)})
    results = []
    for size in (4, micro_batch):
        model = model_without_batch_norm()
        optimizer = create_optimizer(TrainConfig(steps=10, learning_rate=0.1))
        optimizer.build(model.trainable_variables)
        config = LossConfig(ohem=ohem, ohem_threshold=0.05, ohem_min_kept=30)
        loss = head_losses(config, model.output, [1.0, 0.5, 2.0, 1.0])
        step = TrainStep(tf.distribute.get_strategy(), model, optimizer, loss, replica_batch=4, micro_batch=size)
        losses = [float(step(batch)["total"]) for batch in batches]
        assert int(optimizer.iterations) == 3
        results.append((losses, [weight.numpy() for weight in model.weights]))
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-5)
    for whole, accumulated in zip(results[0][1], results[1][1], strict=True):
        np.testing.assert_allclose(whole, accumulated, atol=1e-6)


def small_step(config: LossConfig | None = None, **arguments) -> tuple[TrainStep, dict[str, tf.Tensor]]:
    """A step on a batch of 2, and the batch."""
    rng = np.random.default_rng(0)
    batch = {
        "image": tf.constant(rng.random((2, 6, 7, 3)), tf.float32),
        "label": tf.constant(rng.integers(0, 4, (2, 6, 7))),
    }
    model = model_without_batch_norm()
    optimizer = create_optimizer(TrainConfig(steps=10, learning_rate=0.1))
    optimizer.build(model.trainable_variables)
    loss = head_losses(config or LossConfig(), model.output)
    return TrainStep(tf.distribute.get_strategy(), model, optimizer, loss, 2, 2, **arguments), batch


def weights(step: TrainStep) -> list[np.ndarray]:
    return [weight.numpy() for weight in step.model.weights]


def test_a_scaled_loss_gives_the_same_step():
    (plain, batch), (scaled, _) = small_step(), small_step(loss_scale=LossScale(2.0**10))
    numbers = [{name: float(value) for name, value in step(batch).items()} for step in (plain, scaled)]
    assert numbers[0] == pytest.approx(numbers[1], rel=1e-5)
    for a, b in zip(weights(plain), weights(scaled), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_a_loss_scale_of_1_that_never_grows_is_as_good_as_none():
    (plain, batch), (scaled, _) = small_step(), small_step(loss_scale=LossScale(1.0, growth_steps=0))
    for step in (plain, scaled):
        step(batch)
    for a, b in zip(weights(plain), weights(scaled), strict=True):
        np.testing.assert_array_equal(a, b)


def test_gradients_that_overflow_by_the_scale_change_nothing_but_the_scale():
    step, batch = small_step(LossConfig(aux_weight=1e4), loss_scale=LossScale(3e38))
    before = weights(step)
    numbers = step(batch)
    assert np.isfinite(float(numbers["aux"]))
    assert not bool(numbers["finite"])
    assert float(step.loss_scale.scale.numpy()) == pytest.approx(1.5e38)
    assert int(step.optimizer.iterations) == 1
    for a, b in zip(before, weights(step), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture
def on_a_gpu(monkeypatch):
    """What XLA compiles on GPUs, it compiles here."""
    monkeypatch.setattr("acfnet_tf.training.step.pays", lambda: True)


def step_with_norms(micro_batch: int, ohem: bool, layers: int = 1, **settings: object) -> TrainStep:
    """A step on batches of 2, with all that an optimizer keeps."""
    keras.utils.set_random_seed(2)
    images = features = keras.Input((None, None, 3))
    for _ in range(layers):
        features = SyncBatchNorm(activation="silu")(keras.layers.Conv2D(6, 3, padding="same", use_bias=False)(features))
    model = keras.Model(images, {"fine": keras.layers.Conv2D(4, 1)(features)})
    config = TrainConfig(**{"steps": 10, "learning_rate": 0.1, "ema_momentum": 0.9, "clip_norm": 1.0} | settings)
    optimizer = create_optimizer(config)
    optimizer.build(model.trainable_variables)
    # The threshold lies between pixels: a micro-batch rounds the hardness of one that lies on it anew.
    loss = head_losses(LossConfig(ohem=ohem, ohem_threshold=0.3, ohem_min_kept=1), model.output)
    return TrainStep(tf.distribute.get_strategy(), model, optimizer, loss, replica_batch=2, micro_batch=micro_batch)


@pytest.mark.parametrize(
    ("micro_batch", "ohem", "optimizer"), [(2, False, "adamw"), (2, True, "sgd"), (1, True, "sgd")]
)
def test_compiled_parts_change_no_number(micro_batch, ohem, optimizer, monkeypatch):
    rng = np.random.default_rng(0)
    batches = [
        {
            "image": tf.constant(rng.random((2, 6, 7, 3)), tf.float32),
            "label": tf.constant(rng.integers(0, 4, (2, 6, 7))),
        }
        for _ in range(3)
    ]
    results = []
    for compiled in (False, True):
        monkeypatch.setattr("acfnet_tf.training.step.pays", lambda compiled=compiled: compiled)
        rate = 0.1 if optimizer == "sgd" else 0.001
        step = step_with_norms(micro_batch, ohem, optimizer=optimizer, learning_rate=rate, weight_decay=0.01)
        numbers = [{name: float(value) for name, value in step(batch).items()} for batch in batches]
        assert int(step.optimizer.iterations) == 3
        results.append((numbers, step.model.weights + step.optimizer.variables))
    for plain, compiled in zip(results[0][0], results[1][0], strict=True):
        assert plain["finite"] and plain == pytest.approx(compiled, rel=1e-5)
    for plain, compiled in zip(results[0][1], results[1][1], strict=True):
        np.testing.assert_allclose(plain.numpy(), compiled.numpy(), atol=2e-5, err_msg=plain.path)


def launched(graph: tf.Graph) -> int:
    return sum(each.type not in TRIVIAL for each in graph.get_operations())


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_an_update_is_one_launch_whatever_the_number_of_variables(optimizer, on_a_gpu):
    batch = {"image": tf.zeros((2, 6, 7, 3)), "label": tf.zeros((2, 6, 7), tf.int32)}
    updates = []
    for layers in (1, 5):
        step = step_with_norms(2, False, layers, optimizer=optimizer)
        backward = tf.function(step._forward_backward).get_concrete_function(batch["image"], batch["label"])
        updates.append(launched(step._step.get_concrete_function(batch).graph) - launched(backward.graph))
    assert updates[0] == updates[1] <= 3
    step.compile_update = False
    plain = launched(tf.function(step._step.python_function).get_concrete_function(batch).graph)
    assert plain - launched(backward.graph) > 5 * len(step.variables)


@pytest.mark.parametrize(
    ("micro_batch", "ohem", "compiled", "optimizer"),
    [
        *((micro_batch, ohem, False, "sgd") for micro_batch in (1, 2) for ohem in (False, True)),
        (1, True, True, "sgd"),
        (2, False, True, "adamw"),
        (2, False, False, "adamw"),
    ],
)
def test_a_step_that_is_left_out_changes_nothing_but_its_count(micro_batch, ohem, compiled, optimizer, monkeypatch):
    monkeypatch.setattr("acfnet_tf.training.step.pays", lambda: compiled)
    step = step_with_norms(micro_batch, ohem, optimizer=optimizer, weight_decay=0.01)
    model, optimizer = step.model, step.optimizer
    rng = np.random.default_rng(0)
    pixels, labels = rng.random((2, 6, 7, 3), np.float32), tf.constant(rng.integers(0, 4, (2, 6, 7)))
    variables = model.weights + optimizer.variables

    def changed_by(pixels: np.ndarray) -> set[str]:
        before = [variable.numpy() for variable in variables]
        step({"image": tf.constant(pixels), "label": labels})
        pairs = zip(variables, before, strict=True)
        return {variable.path for variable, value in pairs if not np.array_equal(variable.numpy(), value)}

    everything = changed_by(pixels)
    assert {path.rpartition("/")[2] for path in everything} >= {"kernel", "moving_mean", "moving_variance"}
    pixels[1, 2, 3] = np.nan  # in the second micro-batch
    assert changed_by(pixels) == {f"{optimizer.name}/iteration"}
    # So large that a variance is not finite, while loss and gradient are.
    assert changed_by(np.where(np.isnan(pixels), 0, pixels) * 1e25) == {f"{optimizer.name}/iteration"}


@pytest.mark.parametrize("ohem", [False, True])
@pytest.mark.parametrize("xla", [False, True])
def test_xla_compiles_where_it_is_asked_for(xla, ohem):
    step, batch = small_step(LossConfig(ohem=ohem, ohem_min_kept=20), xla=xla)
    assert np.isfinite(float(step(batch)["total"]))
    operations = step._step.get_concrete_function(batch).graph.get_operations()
    assert any(operation.node_def.attr["_XlaMustCompile"].b for operation in operations) == xla

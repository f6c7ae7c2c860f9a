"""Trains a tiny ACFNet by `TrainStep` and by `fit`, in a process of its own, on one or several virtual CPU devices.

Usage: fit_worker.py REPLICAS OUTPUT

OUTPUT.npz gets the arrays "step/…" and "fit/…" of the same names: weights, optimizer variables and losses of both,
with several replicas also "local/…" of a fit whose replicas bootstrap on their own; besides "norm/…" of BatchNorm with
a mask and of another rank, and "optimizer/…" of gradients that are clipped.
"""

from __future__ import annotations

import contextlib
import sys
from unittest import mock

import keras
import numpy as np
import tensorflow as tf

BATCHES, BATCH, SIZE, CLASSES = 4, 4, 33, 5


def main(replicas: str, output: str) -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * int(replicas))
    devices = [f"CPU:{i}" for i in range(int(replicas))]
    strategy = tf.distribute.MirroredStrategy(devices) if len(devices) > 1 else tf.distribute.get_strategy()
    arrays = by_step_and_by_fit(strategy) | masked_norm(strategy) | unequal_gradients(strategy)
    np.savez(output, **arrays)


def backbone() -> keras.Model:
    """Three strided convolutions: little to trace, of which most of the time here consists."""
    x = images = keras.Input((None, None, 3))
    for filters in (8, 8, 12):
        x = keras.layers.Conv2D(filters, 3, 2, "same", use_bias=False)(x)
        x = keras.layers.ReLU()(keras.layers.BatchNormalization(epsilon=1e-5)(x))
    return keras.Model(images, x, name="small")


def by_step_and_by_fit(strategy: tf.distribute.Strategy) -> dict[str, np.ndarray]:
    import acfnet_tf
    from acfnet_tf.config import LossConfig, TrainConfig
    from acfnet_tf.losses import head_losses
    from acfnet_tf.training.optimizer import create_optimizer
    from acfnet_tf.training.step import TrainStep

    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, (BATCHES * BATCH, SIZE, SIZE, 3)).astype(np.float32)
    labels = rng.integers(0, CLASSES, (BATCHES * BATCH, SIZE, SIZE)).astype(np.int32)
    labels[rng.random(labels.shape) < np.linspace(0, 0.9, len(labels))[:, None, None]] = 255
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    dataset = tf.data.Dataset.from_tensor_slices((images, labels)).batch(BATCH).with_options(options)

    config = TrainConfig(steps=2 * BATCHES, learning_rate=0.003, clip_norm=0.5, ema_momentum=0.9)
    # At the start no pixel is that hard, so that bootstrapping keeps the hardest ones of the global batch.
    bootstrapping = LossConfig(ohem=True, ohem_threshold=0.001, ohem_min_kept=600)
    names = ["step", "fit", *(["local"] if strategy.num_replicas_in_sync > 1 else [])]
    keras.utils.set_random_seed(1)
    with strategy.scope():
        models = [acfnet_tf.ACFNet(CLASSES, backbone(), channels=8, aspp_rates=(2,))]
        models += [acfnet_tf.ACFNet.from_config(models[0].get_config()) for _ in names[1:]]
        optimizers = [create_optimizer(config) for _ in models]
    for model in models[1:]:
        model.set_weights(models[0].get_weights())
    loss = head_losses(bootstrapping, models[0].output, np.linspace(0.5, 1.5, CLASSES))

    with strategy.scope():
        optimizers[0].build(models[0].trainable_variables)
    step = TrainStep(strategy, models[0], optimizers[0], loss, *[BATCH // strategy.num_replicas_in_sync] * 2)
    batches = dataset.map(lambda image, label: {"image": image, "label": label})
    if strategy.num_replicas_in_sync > 1:
        batches = strategy.experimental_distribute_dataset(batches)
    losses = [{name: float(value) for name, value in step(batch).items()} for batch in batches]
    results = {
        "step/loss": np.mean([each["total"] for each in losses]),
        **{f"step/{head}": np.mean([each[head] for each in losses]) for head in models[0].output},
    }

    for name, model, optimizer in zip(names[1:], models[1:], optimizers[1:], strict=True):
        with strategy.scope():
            model.compile(optimizer, loss)
        with contextlib.ExitStack() as stack:
            if name == "local":
                stack.enter_context(mock.patch("acfnet_tf.losses.bootstrapping.replica_sum", lambda values: values))
            history = model.fit(dataset, epochs=1, shuffle=False, verbose=0).history
        assert 0 <= history["fine_mean_iou"][0] <= 1
        results[f"{name}/loss"] = np.array(history["loss"][0])
        results |= {f"{name}/{head}": np.array(history[f"{head}_loss"][0]) for head in model.output}
    for name, model, optimizer in zip(names, models, optimizers, strict=True):
        for i, variable in enumerate(model.weights + optimizer.variables):
            results[f"{name}/{i}_{variable.path.replace('/', '.').split('acf_net')[-1]}"] = variable.numpy()
    return results


def masked_norm(strategy: tf.distribute.Strategy) -> dict[str, np.ndarray]:
    """Outputs, gradients and moving mean of a batch of 4 with a mask, and of one of rank 2."""
    from acfnet_tf.layers import SyncBatchNorm

    rng = np.random.default_rng(0)
    results = {}
    for name, shape in {"masked": (4, 5, 6, 3), "rank_2": (4, 3)}.items():
        inputs, weights = (rng.normal(1, 2, shape).astype(np.float32) for _ in range(2))
        mask = rng.random(shape[:-1]) < np.array([0.9, 0.8, 0.2, 0.1]).reshape(-1, *[1] * (len(shape) - 2))
        with strategy.scope():
            layer = SyncBatchNorm()
            layer.build((None, *shape[1:]))

        def replica(i: tf.Tensor, arrays=(inputs, weights, mask), layer=layer) -> tuple[tf.Tensor, tf.Tensor]:
            count = len(arrays[0]) // strategy.num_replicas_in_sync
            x, w, m = (tf.constant(array)[i * count : (i + 1) * count] for array in arrays)
            with tf.GradientTape() as tape:
                tape.watch(x)
                outputs = layer(x, training=True, mask=m if x.shape.rank == 4 else None)
                loss = tf.reduce_sum(outputs * w)
            return outputs, tape.gradient(loss, x)

        numbers = strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(context.replica_id_in_sync_group)
        )
        parts = tf.function(lambda numbers, run=replica: strategy.run(run, (numbers,)))(numbers)
        for part, value in zip(("outputs", "gradient"), parts, strict=True):
            results[f"norm/{name}_{part}"] = np.concatenate(strategy.experimental_local_results(value))
        results[f"norm/{name}_mean"] = layer.moving_mean.numpy()
    return results


def unequal_gradients(strategy: tf.distribute.Strategy) -> dict[str, np.ndarray]:
    """Weights after steps whose gradients, of which every replica has another part, are clipped."""
    import acfnet_tf

    results = {}
    for name, make in {"adamw": acfnet_tf.AdamW, "l2sgd": acfnet_tf.L2SGD}.items():
        with strategy.scope():
            variable = keras.Variable([1.0, -2.0, 3.0], name="kernel")
            optimizer = make(0.1, global_clipnorm=0.5)
            optimizer.build([variable])

        def replica(optimizer=optimizer, variable=variable) -> None:
            part = tf.distribute.get_replica_context().replica_id_in_sync_group + 1
            parts = strategy.num_replicas_in_sync * (strategy.num_replicas_in_sync + 1) / 2
            gradient = tf.constant([3.0, 6.0, -1.0]) * tf.cast(part, tf.float32) / parts
            optimizer.apply([gradient], [variable])

        for _ in range(3):
            tf.function(lambda run=replica: strategy.run(run))()
        values = strategy.experimental_local_results(variable.value)
        for value in values[1:]:
            np.testing.assert_array_equal(value, values[0])
        results[f"optimizer/{name}"] = values[0].numpy()
    return results


if __name__ == "__main__":
    main(*sys.argv[1:])

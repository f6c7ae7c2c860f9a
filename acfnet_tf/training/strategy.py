"""Over which devices a training step is spread."""

from __future__ import annotations

import tensorflow as tf

from acfnet_tf.config import ConfigError, TrainConfig


def create_strategy(config: TrainConfig) -> tf.distribute.Strategy:
    """MirroredStrategy over all GPUs (all CPU devices where there is none), or one device.

    Raises:
        ConfigError: the global batch cannot be split evenly.
    """
    gpus = tf.config.list_logical_devices("GPU")
    devices = [device.name for device in gpus or tf.config.list_logical_devices("CPU")]
    if config.strategy == "one_device" or len(devices) == 1:
        return tf.distribute.OneDeviceStrategy(devices[0])
    if config.batch_size % len(devices):
        raise ConfigError(
            f"train.batch_size = {config.batch_size} cannot be shared evenly by {len(devices)} devices; "
            "choose a multiple, or --set train.strategy=one_device"
        )
    return tf.distribute.MirroredStrategy(devices)

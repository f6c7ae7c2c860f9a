"""Trains the tiny experiment in a process of its own, on virtual CPU devices.

Usage: replica_worker.py REPLICAS {synchronized,local_statistics,local_bootstrapping} DATA_DIR RUN_DIR
"""

from __future__ import annotations

import sys

import tensorflow as tf


def main(replicas: str, mode: str, data_dir: str, run_dir: str) -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * int(replicas))

    import keras

    import acfnet_tf.losses.ohem
    import acfnet_tf.training.train
    from tests.tiny import tiny_experiment

    def without_synchronization(config):
        model = create_model(config)
        for layer in model._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.synchronized = False
        return model

    create_model = acfnet_tf.training.train.create_model
    if mode == "local_statistics":
        acfnet_tf.training.train.create_model = without_synchronization
    if mode == "local_bootstrapping":
        acfnet_tf.losses.ohem.replica_sum = lambda value: value
    acfnet_tf.training.train.train(tiny_experiment("acf_aspp_ob"), run_dir, data_dir)


if __name__ == "__main__":
    main(*sys.argv[1:])

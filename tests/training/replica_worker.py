"""Trains the tiny experiment in a process of its own, on virtual CPU devices.

Usage: replica_worker.py REPLICAS {synchronized,local_statistics,local_bootstrapping} DATA_DIR RUN_DIR
"""

from __future__ import annotations

import sys

import tensorflow as tf

SETTINGS = (
    # Large steps make a chaotic system of the first ones: rounding errors grow by orders of magnitude.
    "train.learning_rate=0.003",
    # At the start no pixel is that hard, so that the hardest third of the pixels is what bootstrapping keeps.
    "train.loss.ohem_threshold=0.001",
    "train.loss.ohem_min_kept=2000",
)


def main(replicas: str, mode: str, data_dir: str, run_dir: str) -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * int(replicas))

    import acfnet_tf.layers.norm
    import acfnet_tf.losses.ohem
    import acfnet_tf.training.train
    from tests.tiny import tiny_experiment

    if mode == "local_statistics":
        acfnet_tf.layers.norm.replica_sum = lambda value: value
    if mode == "local_bootstrapping":
        acfnet_tf.losses.ohem.replica_sum = lambda value: value
    acfnet_tf.training.train.train(tiny_experiment("acf_aspp_ob", *SETTINGS), run_dir, data_dir)


if __name__ == "__main__":
    main(*sys.argv[1:])

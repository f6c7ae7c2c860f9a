"""Training with all there is: every format of data and source of weights, checks of both, pictures for TensorBoard.

The loop, `acfnet_tf.training.loop`, is of the core and knows none of the rooms around it. Here the two meet.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from acfnet_tf.checks.before_training import look_into
from acfnet_tf.checks.blame import blame
from acfnet_tf.cluster import join_workers, naming_lost_workers
from acfnet_tf.config import Experiment, TrainConfig
from acfnet_tf.data.sample import DataSource, Sample
from acfnet_tf.errors import ConfigError
from acfnet_tf.importers.counts import class_pixels, count_values
from acfnet_tf.importers.open import open_data
from acfnet_tf.layers.compilation import pays
from acfnet_tf.measure.memory import choose_micro_batch, less_memory
from acfnet_tf.onednn import what_runs_convolutions
from acfnet_tf.out_of_memory import OTHERS, saying_what_helps
from acfnet_tf.pretrained.find import find_weights
from acfnet_tf.processors import precision_in_words
from acfnet_tf.signals import Interruption
from acfnet_tf.training.loop import train as train_with
from acfnet_tf.training.tools import TrainingTools
from acfnet_tf.training.workers import Workers
from acfnet_tf.training_data.dataset import training_dataset
from acfnet_tf.training_data.rare_classes import sample_order
from acfnet_tf.visualization.validation_pictures import validation_pictures


def count_class_pixels(source: DataSource, samples: Sequence[Sample], skip_bad: bool) -> np.ndarray:
    """Pixels of each class in each mask, (samples, N) int64; of unchanged masks as they were counted before."""
    masks = [sample.label for sample in samples]
    counts = count_values(masks, source.classes.coding, source.cache_dir, skip_bad=skip_bad)
    return class_pixels(masks, counts, source.classes, skip_bad=skip_bad)


INSTALL = "pip install 'tensorflow[and-cuda]'"
"""What brings the parts of CUDA that TensorFlow and XLA want, wherever this package came from."""


def describe_machine(precision: str) -> str:
    """What runs the convolutions, how they are multiplied, and a warning where a GPU lacks what makes it fast."""
    lacks = tf.config.get_visible_devices("GPU") and not pays()
    warning = f" Warning: XLA cannot compile for the GPU, without which steps take longer; {INSTALL}."
    return f"{what_runs_convolutions()} Precision: {precision_in_words(precision)}." + (warning if lacks else "")


TOOLS = TrainingTools(
    open_data=open_data,
    find_weights=find_weights,
    sample_order=sample_order,
    training_dataset=training_dataset,
    count_class_pixels=count_class_pixels,
    look_into=look_into,
    choose_micro_batch=choose_micro_batch,
    blame=blame,
    draw_validation=validation_pictures,
    interruption=functools.partial(Interruption, "finishing this step, then writing a checkpoint"),
    describe_machine=describe_machine,
)

VALIDATION = "validation labels whole images, so that those of data.val_split have to be smaller"
"""What helps where memory does not suffice for it, whatever the settings of evaluation say."""


def _check_deterministic(config: TrainConfig, workers: Workers) -> None:
    """Raises ConfigError where TensorFlow has no operation on GPUs that gives the same numbers at every run."""
    if not config.deterministic or not tf.config.get_visible_devices("GPU"):
        return
    if config.xla:
        raise ConfigError("train.deterministic: XLA has no max pooling for it on GPUs; leave train.xla out")
    if workers.strategy.num_replicas_in_sync > 1 and (config.xla is False or not pays()):
        raise ConfigError(
            "train.deterministic: on several GPUs XLA must compile BatchNorm, for which TensorFlow alone has no such "
            "gradient; leave train.xla out" + (f", and install what XLA needs: {INSTALL}" if config.xla is None else "")
        )


def train(experiment: Experiment, run_dir: str | Path, data_dir: str | None = None) -> Path:
    """Trains an experiment, or continues where an earlier call on the same folder stopped.

    Args:
        experiment: resolved, as of `acfnet_tf.load_experiment`.
        run_dir: the run folder.
        data_dir: folder of the data; None for Cityscapes of `CITYSCAPES_DATASET`, or else generated street scenes.

    Returns:
        The file of the trained model.

    Raises:
        UserError: as `acfnet_tf.training.loop.train`, or memory does not suffice.
        Stopped: SIGTERM, SIGINT, or another worker was lost; the same call continues.
    """
    if experiment.train.deterministic:
        tf.config.experimental.enable_op_determinism()
    workers = join_workers(experiment.train.strategy)
    _check_deterministic(experiment.train, workers)
    chosen: list[int] = []

    def choose(*arguments: Any) -> tuple[int, str]:
        micro_batch, why = choose_micro_batch(*arguments)
        chosen.append(micro_batch)
        return micro_batch, why

    def otherwise() -> str:
        if not chosen:
            return OTHERS
        return less_memory(experiment.train, chosen[0], workers.strategy.num_replicas_in_sync)

    # Where it was on another worker, that one says what helps, and here it is a lost one.
    with saying_what_helps(VALIDATION, otherwise), naming_lost_workers(workers):
        tools = dataclasses.replace(TOOLS, choose_micro_batch=choose)
        return train_with(experiment, run_dir, data_dir, workers, tools)

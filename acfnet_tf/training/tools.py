"""What training is handed in by the rooms around the core, so that it needs none of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import tensorflow as tf

from acfnet_tf.config import DataConfig, Experiment, ModelConfig
from acfnet_tf.data.classes import ClassSet
from acfnet_tf.data.order import SampleOrder
from acfnet_tf.data.sample import DataSource, Sample
from acfnet_tf.evaluation.evaluate import Evaluation
from acfnet_tf.inference.predictor import Predictor
from acfnet_tf.losses import HeadLosses
from acfnet_tf.models.acfnet import ACFNet
from acfnet_tf.models.initialization import Initialization
from acfnet_tf.training.workers import Workers

Samples = Sequence[Sample]


class Interruption(Protocol):
    """What tells training to stop: `signal` is the number of the first signal that has come, or None."""

    signal: int | None


@dataclass(frozen=True)
class TrainingTools:
    """What `acfnet_tf.training.loop.train` calls and does not contain.

    Attributes:
        open_data: (settings, the folder that the user names, if any) → the data; raises DataError.
        find_weights: settings → the weights to begin with; raises UserError.
        sample_order: (experiment, how many samples, what counts the pixels of each class in each of their masks) →
            which sample comes when; raises DataError.
        training_dataset: `acfnet_tf.data.pipeline.training_dataset` with all that it is handed in.
        count_class_pixels: (the data, some samples, whether bad masks are skipped and count nothing) → the pixels of
            each class in each of their masks, (samples, N) int64; raises DataError.
        look_into: (the data, {split: some samples}) → (faults for which training would fail, warnings), a sentence
            each.
        choose_micro_batch: (model, experiment, workers, the micro-batch of the run so far, if any) → (how many samples
            of the global batch go through at once on all devices, a line for the user that says why); raises
            ConfigError. All workers call it.
        blame: (model, loss, workers, this worker's part of a batch, files of the whole batch) → why a step on them is
            not finite, what helps, and whether no later step can be better. All workers call it.
        draw_validation: (name of the run, predictor, samples, classes, evaluation of the samples) → what TensorBoard
            shows: names and pictures (H, W, 3) uint8.
        interruption: makes a context in which signals are noted instead of ending the process.
        describe_machine: what runs `train.precision`, a sentence for the user.
    """

    open_data: Callable[[DataConfig, str | None], DataSource]
    find_weights: Callable[[ModelConfig], Initialization]
    sample_order: Callable[[Experiment, int, Callable[[], np.ndarray]], SampleOrder]
    training_dataset: Callable[..., tf.data.Dataset]
    count_class_pixels: Callable[[DataSource, Samples, bool], np.ndarray]
    look_into: Callable[[DataSource, Mapping[str, Samples]], tuple[Sequence[str], Sequence[str]]]
    choose_micro_batch: Callable[[ACFNet, Experiment, Workers, int | None], tuple[int, str]]
    blame: Callable[[ACFNet, HeadLosses, Workers, Mapping[str, tf.Tensor], Samples], tuple[str, str, bool]]
    draw_validation: Callable[[str, Predictor, Samples, ClassSet, Evaluation], Iterable[tuple[str, np.ndarray]]]
    interruption: Callable[[], AbstractContextManager[Interruption]]
    describe_machine: Callable[[str], str]

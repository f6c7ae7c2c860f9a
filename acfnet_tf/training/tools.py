"""What training is handed in by the rooms around the core, so that it needs none of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from acfnet_tf.config import DataConfig, Experiment, ModelConfig
from acfnet_tf.data.classes import ClassSet
from acfnet_tf.data.sample import DataSource, Sample
from acfnet_tf.evaluation.evaluate import Evaluation
from acfnet_tf.inference.predictor import Predictor
from acfnet_tf.models.acfnet import ACFNet
from acfnet_tf.models.weights import Initialization
from acfnet_tf.training.strategy import Workers


class LookInto(Protocol):
    """Looks into some samples, of all that can be wrong with them.

    Args:
        source: the data.
        samples: {split: samples with masks}.

    Returns:
        (faults that end a training, warnings), a sentence each.
    """

    def __call__(
        self, source: DataSource, samples: Mapping[str, Sequence[Sample]]
    ) -> tuple[Sequence[str], Sequence[str]]: ...


class ChooseMicroBatch(Protocol):
    """Chooses how many samples of the global batch go through at once, over all devices.

    Args:
        model: of the training.
        experiment: resolved.
        workers: all of them ask, and are answered alike.
        recorded: the micro-batch of the run that is continued.

    Returns:
        The number of samples, and a line for the user that says why.

    Raises:
        ConfigError: there is none that fits.
    """

    def __call__(
        self, model: ACFNet, experiment: Experiment, workers: Workers, recorded: int | None
    ) -> tuple[int, str]: ...


class DrawValidation(Protocol):
    """Draws what TensorBoard shows of a validation.

    Args:
        name: of the run.
        predictor: as it was validated.
        samples: that were evaluated, with masks.
        classes: of the data.
        evaluation: of the samples.

    Returns:
        Names and pictures, (H, W, 3) uint8.
    """

    def __call__(
        self,
        name: str,
        predictor: Predictor,
        samples: Sequence[Sample],
        classes: ClassSet,
        evaluation: Evaluation,
    ) -> Iterable[tuple[str, np.ndarray]]: ...


@dataclass(frozen=True)
class TrainingTools:
    """What `acfnet_tf.training.loop.train` calls and does not contain.

    Attributes:
        open_data: opens the data of a configuration, in the folder that the user named, if any; raises DataError.
        find_weights: finds the weights that a configuration asks for; raises UserError.
        count_class_pixels: pixels of each class in each mask of these samples, (samples, N) int64, 0 for masks that
            are bad if the last argument says that these are skipped; raises DataError.
        look_into, choose_micro_batch, draw_validation: see their protocols.
        describe_machine: what the user should know of it, one sentence.
    """

    open_data: Callable[[DataConfig, str | None], DataSource]
    find_weights: Callable[[ModelConfig], Initialization]
    count_class_pixels: Callable[[DataSource, Sequence[Sample], bool], np.ndarray]
    look_into: LookInto
    choose_micro_batch: ChooseMicroBatch
    draw_validation: DrawValidation
    describe_machine: Callable[[], str]

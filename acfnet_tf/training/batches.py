"""The batches of a training: this worker's part of each, and what happens where a file is bad."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from acfnet_tf.config import Experiment
from acfnet_tf.data.classes import ClassSet
from acfnet_tf.data.order import SampleOrder
from acfnet_tf.data.pipeline import diagnose
from acfnet_tf.data.sample import Sample
from acfnet_tf.errors import DataError
from acfnet_tf.files import PAUSES
from acfnet_tf.training.progress import Progress
from acfnet_tf.training.workers import Workers


class Batch(NamedTuple):
    """This worker's part of a global batch.

    Attributes:
        values: as `training_dataset` gives it.
        distributed: the same in parts, one on each device of this worker.
    """

    values: dict[str, tf.Tensor]
    distributed: Any


class Batches:
    """Makes the batches of any step. Each of the workers reads its own part of a batch only.

    Attributes:
        bad: samples that cannot be used, and in whose place others were taken.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        classes: ClassSet,
        order: SampleOrder,
        experiment: Experiment,
        workers: Workers,
        make_dataset: Callable[..., tf.data.Dataset],
    ) -> None:
        self.samples, self.classes, self.order = list(samples), classes, order
        self.experiment, self.workers, self.size = experiment, workers, experiment.train.batch_size
        self.make_dataset = make_dataset
        self.bad: set[Sample] = set()
        size = self.size // workers.count
        self._rows = range(workers.index * size, (workers.index + 1) * size)

    def __call__(self, first_step: int) -> Iterator[Batch]:
        """Reads batches, from the one that comes after `first_step` steps to the last one.

        Raises:
            DataError: a file of the batch cannot be used, which it names; or all can, but TensorFlow reads none.
        """
        iterator = None
        for step in range(first_step, self.experiment.train.steps):
            pauses = iter(PAUSES)
            while True:
                try:
                    iterator = iterator or self._read(step)
                    values = next(iterator)
                    break
                except tf.errors.OpError as error:
                    # Without an iterator it was the cache that failed, which decodes all samples.
                    suspects = self.samples_of(step)[self._rows.start : self._rows.stop] if iterator else self.samples
                    if not self._skip_bad_file(suspects):
                        self._wait(next(pauses, None), error)
                    iterator = None
            yield Batch(values, self._distribute(values))

    def samples_of(self, step: int) -> list[Sample]:
        """The samples of the global batch that comes after `step` steps."""
        indices = range(step * self.size, (step + 1) * self.size)
        return [self.samples[int(self.order(index)[0])] for index in indices]

    def _read(self, step: int) -> Iterator[dict[str, tf.Tensor]]:
        train = self.experiment.train
        dataset = self.make_dataset(
            self.samples,
            self.classes,
            self.experiment.data,
            seed=train.seed,
            batch_size=self.size,
            first_sample=step * self.size,
            last_sample=train.steps * self.size,
            rows=self._rows,
            order=self.order,
            pixel_mean=self.experiment.model.pixel_mean,
        )
        return iter(dataset)

    def _distribute(self, values: dict[str, tf.Tensor]) -> Any:
        strategy = self.workers.strategy
        devices = strategy.extended.worker_devices
        with tf.device("CPU"):  # It is cut here, so that a device is sent its own part only.
            parts = {name: tf.split(value, len(devices)) for name, value in values.items()}

        def part(context: tf.distribute.ValueContext) -> dict[str, tf.Tensor]:
            place = context.replica_id_in_sync_group % len(devices)
            with tf.device(devices[place]):
                return {name: tf.identity(pieces[place]) for name, pieces in parts.items()}

        return strategy.experimental_distribute_values_from_function(part)

    def _wait(self, pause: float | None, failure: tf.errors.OpError) -> None:
        """Waits before reading again: the samples are good, so that what was wrong passes, or is in the cache."""
        if pause is not None:
            time.sleep(pause)
            return
        cache = self.experiment.data.cache
        hint = f" If a file of data.cache={cache} is damaged, empty that folder." if cache else ""
        message = " ".join(failure.message.split())
        raise DataError(f"The samples are good, but TensorFlow cannot read them ({message}).{hint}") from failure

    def _skip_bad_file(self, suspects: Sequence[Sample]) -> bool:
        """Finds the sample that the pipeline could not use; from now on the next one takes its place.

        Returns:
            False if there is nothing wrong with any of them.

        Raises:
            DataError: bad files are not to be skipped, or no others are left.
        """
        diagnosis = diagnose(suspects, self.classes)
        if diagnosis is None:
            return False
        sample, error = diagnosis
        self.bad.add(sample)
        if self.experiment.data.on_bad_file == "stop" or self.bad.issuperset(self.samples):
            raise error
        for place, each in enumerate(self.samples):
            if each == sample:
                followers = self.samples[place:] + self.samples[:place]
                self.samples[place] = next(other for other in followers if other not in self.bad)
        Progress.write(f"Skipped, number {len(self.bad)}, the next sample takes its place: {error}")
        return True

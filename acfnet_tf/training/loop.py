"""The training loop (Section 4.2)."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np

from acfnet_tf.config import EvaluationConfig, Experiment
from acfnet_tf.data.sample import DataSource
from acfnet_tf.errors import ConfigError, DataError, Stopped
from acfnet_tf.inference.predictor import Predictor
from acfnet_tf.layers.precision import running
from acfnet_tf.losses import head_losses
from acfnet_tf.models.create import create_model
from acfnet_tf.models.initialization import Initialization
from acfnet_tf.training.batches import Batch, Batches
from acfnet_tf.training.class_balance import class_weights
from acfnet_tf.training.initialization import initialization_of_run
from acfnet_tf.training.loss_scale import LossScale
from acfnet_tf.training.nonfinite import NonFiniteSteps, check_state
from acfnet_tf.training.optimizer import create_optimizer
from acfnet_tf.training.progress import Progress
from acfnet_tf.training.run_folder import RunFolder, check_same_run
from acfnet_tf.training.step import TrainStep
from acfnet_tf.training.tools import Interruption, TrainingTools
from acfnet_tf.training.validation import evaluate_shared
from acfnet_tf.training.workers import Workers

SECONDS_BETWEEN_CHECKPOINTS = 900
"""A checkpoint is also written when this much time has passed since the last one: steps can take minutes."""

SAMPLES_LOOKED_INTO = 32
"""Of each split at most, before the first step."""


def train(
    experiment: Experiment, run_dir: str | Path, data_dir: str | None, workers: Workers, tools: TrainingTools
) -> Path:
    """Trains an experiment, or continues where an earlier call on the same folder stopped.

    Args:
        data_dir: folder of the data, as `tools.open_data` takes it.
        workers: those that train together, this process among them.
        tools: what is around the core, see `acfnet_tf.train`.

    Returns:
        The file of the trained model for inference.

    Raises:
        ConfigError: settings that do not fit one another, the machine, or what the folder holds.
        DataError: missing or unreadable data.
        UserError: another training is in the folder, a full disk, or numbers that are not finite.
        Stopped: SIGTERM or SIGINT; the same call continues.
        tf.errors.OpError: another worker was lost.
    """
    workers.check_batch(experiment.train.batch_size)
    if experiment.train.xla and workers.strategy.num_replicas_in_sync > 1:
        raise ConfigError("train.xla compiles what runs on one device; here are several. Leave it out")
    if workers.is_chief:
        check_same_run(Path(run_dir), experiment)  # That comes first: to look into the data can take minutes.
    initialization = initialization_of_run(experiment.model, Path(run_dir), workers, tools.find_weights)
    experiment = dataclasses.replace(experiment, model=initialization.config)
    with workers.chief_first():
        source = tools.open_data(experiment.data, data_dir)
    experiment = _with_classes(experiment, len(source.classes))
    folder = RunFolder(run_dir, experiment, source.classes, writes=workers.is_chief)
    training = _Training(experiment, folder, workers, source, initialization, tools)
    del initialization  # It holds the weights.
    with folder.open(), tools.interruption() as training.interruption, running(experiment.train.precision):
        training.run()
        workers.gather(0)  # Nobody leaves before the chief has written everything.
    return folder.model_file


class _Training:
    """Everything that one training has. To make it writes nothing into the folder.

    Raises:
        ConfigError, DataError: as `train`.
    """

    interruption: Interruption

    def __init__(
        self,
        experiment: Experiment,
        folder: RunFolder,
        workers: Workers,
        source: DataSource,
        initialization: Initialization,
        tools: TrainingTools,
    ) -> None:
        config, strategy = experiment.train, workers.strategy
        self.experiment, self.config, self.workers, self.folder = experiment, config, workers, folder
        self.source, self.classes, self.tools = source, source.classes, tools
        self._list_samples()
        workers.check_agreement(
            settings=experiment, classes=source.classes, data=[sample.name for sample in self.samples]
        )
        order = tools.sample_order(experiment, len(self.samples), lambda: self._pixels)
        weights = class_weights(experiment, self.classes, lambda: self._pixels, self._say)
        self.batches = Batches(self.samples, self.classes, order, experiment, workers, tools.training_dataset)

        keras.utils.set_random_seed(config.seed)
        with strategy.scope():
            self.model = create_model(experiment.model, config.precision, config.rematerialize)
            self.optimizer = create_optimizer(config, self.model.head_variables)
            self._say(initialization.assign(self.model))
            self.optimizer.build(self.model.trainable_variables)
            loss_scale = LossScale() if config.precision == "mixed_float16" else None
        # It is in float32 and has averaged weights, whatever is trained with: what is validated is what is saved.
        self.inference_model = create_model(experiment.model)
        exact = config.precision == "float32"
        self.predictor = Predictor(self.inference_model, EvaluationConfig(precision="float32" if exact else "tf32"))
        loss = head_losses(config.loss, self.model.output, weights, self.classes.ignore_label)
        blame = functools.partial(tools.blame, self.model, loss, workers)
        self.nonfinite = NonFiniteSteps(config.max_nonfinite_steps, blame)

        recorded = int(workers.gather((workers.is_chief and folder.micro_batch()) or 0)[0]) or None
        micro_batch, why = tools.choose_micro_batch(self.model, experiment, workers, recorded)
        # Kept with the run: what is free when it continues must not change its results.
        folder.experiment = dataclasses.replace(experiment, train=dataclasses.replace(config, micro_batch=micro_batch))
        replicas = strategy.num_replicas_in_sync
        sizes = (config.batch_size // replicas, micro_batch // replicas)
        self.train_step = TrainStep(strategy, self.model, self.optimizer, loss, *sizes, loss_scale, config.xla)
        self.progress = Progress(experiment.name, config, self.train_step.micro_steps, shown=workers.is_chief)
        self.variables = {variable.path: variable.value for variable in self.model.weights + self.optimizer.variables}
        self.variables |= {"progress/sums": self.progress.sums, "nonfinite/count": self.nonfinite.count}
        self.variables |= loss_scale.variables if loss_scale else {}

        self._say(
            f"Model: {experiment.name}, {self.model.count_params() / 1e6:.1f} M parameters. "
            f"Data: {len(self.samples)} training and {len(self.validation_samples)} validation images. "
            f"Devices: {strategy.num_replicas_in_sync}."
            + (f" Workers: {workers.count}." if workers.count > 1 else "")
            + f" {tools.describe_machine(config.precision)}\n{why}"
        )

    def run(self) -> None:
        """From the newest checkpoint, or the first step, to the last one.

        Raises:
            ConfigError, DataError, UserError, Stopped: as `train`.
        """
        self.step = self._restore()
        self._say(self.folder.record_samples(self.names, self.step))
        continues = f" (continues at step {self.step} of {self.config.steps})" if self.step else ""
        self._say(f"Run folder: {self.folder.path}{continues}")
        batches = self.batches(self.step)
        batch = next(batches, None)
        self.progress.start(self.step)
        last_checkpoint = time.monotonic()
        with contextlib.closing(self.progress), ThreadPoolExecutor(1) as self.reader:
            while True:
                self._validate()
                if self.step == self.config.steps:
                    break
                batch = self._advance(batch, batches)
                stop = self.workers.gather(self.interruption.signal or 0).max()
                overdue = time.monotonic() - last_checkpoint > SECONDS_BETWEEN_CHECKPOINTS
                # The clock of the chief is the one that counts: it is the one that writes.
                if stop or overdue or self._is_validated_here() or self.step % self.config.checkpoint_every == 0:
                    with self.progress.paused():
                        check_state(self.variables, self.step)
                        self.folder.save_checkpoint(self.step)
                    last_checkpoint = time.monotonic()
                if stop:
                    self._stop(stop)
        self._update_inference_model()
        self.folder.save_model(self.inference_model)
        if self.batches.bad:
            Progress.write(f"Skipped samples: {len(self.batches.bad)}.")

    def _list_samples(self) -> None:
        """The samples of both splits, of which some are looked into before the first step."""
        data = self.experiment.data
        self._say(f"Data: {self.source.name}. {self.source.note}".strip())
        splits = {split: self.source.list_samples(split) for split in (data.train_split, data.val_split)}
        self.names = {split: [sample.name for sample in samples] for split, samples in splits.items()}
        self.samples = splits[data.train_split]
        self.validation_samples = splits[data.val_split][: self.config.validate_images]
        if self.workers.is_chief:
            self._look_into()

    def _look_into(self) -> None:
        """Finds out before the first step what would fail hours later.

        Raises:
            DataError: training on the samples would fail.
        """
        some = {
            split: samples[:: max(1, -(-len(samples) // SAMPLES_LOOKED_INTO))]
            for split, samples in (("train", self.samples), ("val", self.validation_samples))
        }
        faults, warnings = self.tools.look_into(self.source, some)
        for warning in warnings:
            self._say(f"Warning: {warning}")
        for fault in faults:
            if self.experiment.data.on_bad_file == "stop":
                raise DataError(f"{fault} For a report of all data: --mode=check_data.")
            self._say(fault)

    @functools.cached_property
    def _pixels(self) -> np.ndarray:
        """Pixels of each class in each training mask, (samples, N) int64. The chief counts them for all workers."""
        table = np.zeros((len(self.samples), len(self.classes)), np.int64)
        if self.workers.is_chief:
            skip_bad = self.experiment.data.on_bad_file == "skip"
            table = self.tools.count_class_pixels(self.source, self.samples, skip_bad)
        return self.workers.from_chief([table])[0]

    def _restore(self) -> int:
        """The state of the newest checkpoint, or else the one to begin with, on all workers. Returns its step."""
        self.folder.restore(self.variables)
        if self.workers.count > 1:
            values = self.workers.from_chief([np.asarray(each.numpy()) for each in self.variables.values()])
            for variable, value in zip(self.variables.values(), values, strict=True):
                variable.assign(value)
        return int(self.optimizer.iterations.value.numpy())

    def _advance(self, batch: Batch, batches: Iterator[Batch]) -> Batch | None:
        """One step, and its row in metrics.csv if one is due. Returns the next batch, if there is one."""
        # Beside the step: a copy to a GPU that is asked for after it waits until all is computed that is queued there.
        following = self.reader.submit(next, batches, None)
        losses = self.train_step(batch.distributed, self.progress.micro_step)
        numbers = {name: float(value) for name, value in losses.items()}
        self.step += 1
        finite = numbers.pop("finite")
        if not finite and not self._is_loss_scale_too_large(numbers["total"]):
            losses = {name: value for name, value in numbers.items() if name != "gradient_norm"}
            self._say(self.nonfinite.report(self.step, losses, batch.values, self.batches.samples_of(self.step - 1)))
        row = self.progress.step(self.step, numbers if finite else None)
        if row:
            self.folder.log(self.step, "train", **row)
        return following.result()

    def _is_loss_scale_too_large(self, loss: float) -> bool:
        """Whether gradients overflowed in float16 only, so that the next step, with half the scale, may be good."""
        loss_scale = self.train_step.loss_scale
        return loss_scale is not None and np.isfinite(loss) and float(loss_scale.scale.numpy()) >= 1

    def _is_validated_here(self) -> bool:
        return self.step == self.config.steps or (self.step > 0 and self.step % self.config.validate_every == 0)

    def _validate(self) -> None:
        """Validates, if it is due and has not been done yet by this process or the one that it continues."""
        if not self._is_validated_here() or self.workers.gather(self.step in self.folder.metrics.validations()).any():
            return
        self._update_inference_model()
        samples = self.validation_samples
        with self.progress.paused():
            evaluation = evaluate_shared(
                self.workers, self.predictor, samples, self.classes, stop=lambda: self.interruption.signal is not None
            )
            if evaluation is None:
                self._stop(self.workers.gather(self.interruption.signal or 0).max())
            scores = {head: matrix.mean_iou() for head, matrix in evaluation.matrices.items()}
            self.folder.log_validation(self.step, scores, self.inference_model)
            if self.workers.is_chief:
                pictures = self.tools.draw_validation(
                    self.experiment.name, self.predictor, samples, self.classes, evaluation
                )
                for name, picture in pictures:
                    self.folder.metrics.add_image(self.step, name, picture)
        heads = ", ".join(f"{head} {100 * score:.2f} %" for head, score in scores.items())
        self._say(f"step {self.step}: mIoU on {len(samples)} validation images: {heads}")

    def _update_inference_model(self) -> None:
        averages = dict(zip([v.path for v in self.model.trainable_variables], self.optimizer.averages, strict=False))
        for target, variable in zip(self.inference_model.weights, self.model.weights, strict=True):
            target.assign(averages.get(variable.path, variable))

    def _stop(self, number: int) -> None:
        name = signal.Signals(int(number)).name
        raise Stopped(
            f"{name}: stopped after step {self.step}, with a checkpoint in {self.folder.path}. "
            "The same command continues there.",
            int(number),
        )

    def _say(self, text: str) -> None:
        if self.workers.is_chief and text:
            Progress.write(text)


def _with_classes(experiment: Experiment, num_classes: int) -> Experiment:
    """The experiment with the number of classes that the data have.

    Raises:
        ConfigError: the settings say another one.
    """
    wanted = experiment.model.num_classes
    if wanted not in (None, num_classes):
        raise ConfigError(
            f"model.num_classes = {wanted}, but the data have {num_classes} classes; leave the setting out"
        )
    return dataclasses.replace(experiment, model=dataclasses.replace(experiment.model, num_classes=num_classes))

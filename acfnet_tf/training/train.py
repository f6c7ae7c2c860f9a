"""The training loop (Section 4.2)."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from tqdm import tqdm

from acfnet_tf.config import ConfigError, DataConfig, Experiment, TrainConfig
from acfnet_tf.data.cityscapes import Sample, list_samples
from acfnet_tf.data.pipeline import diagnose, sample_file_index, training_dataset
from acfnet_tf.data.source import open_data
from acfnet_tf.data.statistics import count_pixels
from acfnet_tf.evaluation.evaluate import evaluate
from acfnet_tf.inference.predictor import Predictor
from acfnet_tf.losses import CITYSCAPES_CLASS_WEIGHTS, SegmentationLoss, inverse_log_weights
from acfnet_tf.models.create import create_model
from acfnet_tf.training.memory import choose_micro_batch
from acfnet_tf.training.optimizer import create_optimizer
from acfnet_tf.training.run_folder import RunFolder
from acfnet_tf.training.step import TrainStep
from acfnet_tf.training.strategy import create_strategy

SECONDS_BETWEEN_CHECKPOINTS = 900
"""A checkpoint is also written when this much time has passed since the last one: steps can take minutes."""


def train(experiment: Experiment, run_dir: str | Path, data_dir: str | None = None) -> Path:
    """Trains an experiment, or continues where an earlier call on the same folder stopped.

    Args:
        experiment: resolved.
        run_dir: the run folder.
        data_dir: a Cityscapes folder; see `open_data`.

    Returns:
        The file of the trained model for inference.

    Raises:
        ConfigError: settings that do not fit one another, the machine, or what the folder holds.
        DataError: missing or unreadable data.
    """
    config = experiment.train
    _check(experiment)
    strategy = create_strategy(config)
    folder = RunFolder(run_dir, experiment)
    source = open_data(experiment.data, data_dir)
    print(source.description)
    training_samples = list_samples(source.root, experiment.data.train_split)
    validation_samples = list_samples(source.root, experiment.data.val_split)[: config.validate_images]
    class_weights = _class_weights(experiment, training_samples)

    keras.utils.set_random_seed(config.seed)
    with strategy.scope():
        model = create_model(experiment.model)
        optimizer = create_optimizer(config)
        optimizer.build(model.trainable_variables)
    micro_batch, why = choose_micro_batch(model, experiment, strategy)
    folder.open()
    step = folder.restore(model, optimizer)
    print(
        f"Model: {experiment.name}, {model.count_params() / 1e6:.1f} M parameters. "
        f"Data: {len(training_samples)} training and {len(validation_samples)} validation images. "
        f"Devices: {strategy.num_replicas_in_sync}.\n{why}"
    )
    print(f"Run folder: {folder.path}" + (f" (continues at step {step} of {config.steps})" if step else ""))

    train_step = TrainStep(
        strategy,
        model,
        optimizer,
        SegmentationLoss(config.loss, class_weights),
        config.batch_size // strategy.num_replicas_in_sync,
        micro_batch,
    )
    predictor = Predictor(model)
    batches = _batches(strategy, training_samples, experiment.data, config, step)
    progress = _Progress(experiment.name, config, step)
    last_checkpoint = time.monotonic()
    while step < config.steps:
        losses = train_step(next(batches), progress.micro_step)
        step += 1
        row = progress.step(step, losses, optimizer.learning_rate)
        if row:
            folder.log(step, "train", **row)
        last = step == config.steps
        if last or step % config.validate_every == 0:
            progress.clear()
            matrices = evaluate(predictor, validation_samples, experiment.model.num_classes)
            scores = {f"miou_{head}": matrix.mean_iou() for head, matrix in matrices.items()}
            folder.log(step, "val", **scores)
            heads = ", ".join(f"{head} {100 * matrix.mean_iou():.2f} %" for head, matrix in matrices.items())
            print(f"step {step}: mIoU on {len(validation_samples)} validation images: {heads}", flush=True)
        overdue = time.monotonic() - last_checkpoint > SECONDS_BETWEEN_CHECKPOINTS
        if last or overdue or step % config.checkpoint_every == 0:
            folder.save_checkpoint(step)
            last_checkpoint = time.monotonic()
    progress.close()
    folder.save_model(model)
    return folder.model_file


def _check(experiment: Experiment) -> None:
    """Raises ConfigError for numbers that make no sense."""
    positive = {
        "train.steps": experiment.train.steps,
        "train.batch_size": experiment.train.batch_size,
        "train.log_every": experiment.train.log_every,
        "train.checkpoint_every": experiment.train.checkpoint_every,
        "train.validate_every": experiment.train.validate_every,
        "data.crop_size": min(experiment.data.crop_size),
        "data.scale_range": min(experiment.data.scale_range),
    }
    for name, value in positive.items():
        if value <= 0:
            raise ConfigError(f"{name} = {value}: expected more than 0")


def _class_weights(experiment: Experiment, samples: Sequence[Sample]) -> Sequence[float] | None:
    """The weights that `train.loss.class_weights` names, of length `num_classes`; None for equal weights."""
    choice, classes = experiment.train.loss.class_weights, experiment.model.num_classes
    if choice == "none":
        return None
    if choice == "inverse_log":
        return inverse_log_weights(count_pixels(samples, classes))
    if classes != len(CITYSCAPES_CLASS_WEIGHTS):
        raise ConfigError(
            f"train.loss.class_weights = cityscapes is for 19 classes, model.num_classes is {classes}; "
            "--set train.loss.class_weights=inverse_log computes them from the labels"
        )
    return CITYSCAPES_CLASS_WEIGHTS


def _batches(
    strategy: tf.distribute.Strategy,
    samples: Sequence[Sample],
    data: DataConfig,
    config: TrainConfig,
    first_step: int,
) -> Iterator[Any]:
    """Global batches from `first_step` on, distributed over the replicas.

    Raises:
        DataError: a file of the batch cannot be used; names it.
    """

    replica_batch = config.batch_size // strategy.num_replicas_in_sync
    iterator = iter(
        training_dataset(
            samples,
            data,
            seed=config.seed,
            batch_size=config.batch_size,
            first_sample=first_step * config.batch_size,
            last_sample=config.steps * config.batch_size,
        )
    )
    for step in range(first_step, config.steps):
        try:
            batch = next(iterator)
        except tf.errors.OpError:
            indices = range(step * config.batch_size, (step + 1) * config.batch_size)
            diagnose(samples[int(sample_file_index(config.seed, index, len(samples)))] for index in indices)
            raise

        def replica_rows(context: tf.distribute.ValueContext, batch: dict[str, tf.Tensor] = batch) -> Any:
            first = context.replica_id_in_sync_group * replica_batch
            return {name: value[first : first + replica_batch] for name, value in batch.items()}

        yield strategy.experimental_distribute_values_from_function(replica_rows)


class _Progress:
    """The live line (step, losses, learning rate, images/s, time left), and the same numbers as rows."""

    def __init__(self, name: str, config: TrainConfig, first_step: int) -> None:
        self.config, self.first_step = config, first_step
        self.interval = 0.5 if sys.stderr.isatty() else 20.0
        self.bar = tqdm(
            desc=name,
            total=config.steps,
            initial=first_step,
            unit="step",
            mininterval=self.interval,
            dynamic_ncols=True,
        )
        self.sums: dict[str, Any] = {}
        self.steps_in_sums = 0
        self.text = "first step builds the graph"
        self.bar.set_postfix_str(self.text)
        self.started = self.shown = time.monotonic()
        self.step_times: list[float] = []

    def micro_step(self, done: int) -> None:
        self.bar.set_postfix_str(f"{self.text}, micro-batch {done}", refresh=sys.stderr.isatty())

    def step(self, step: int, losses: dict[str, tf.Tensor], learning_rate: Any) -> dict[str, float] | None:
        """Counts a step. Returns the mean losses, rate and speed since the last row, every `log_every` steps."""
        self.sums = {name: self.sums.get(name, 0.0) + value for name, value in losses.items()}
        self.steps_in_sums += 1
        self.bar.update()
        due = step % self.config.log_every == 0 or step == self.config.steps
        if step <= self.first_step + 3 or due or time.monotonic() - self.shown > self.interval:
            self._show(learning_rate)
        if step == self.first_step + 2:
            self._announce_duration()
        if not due:
            return None
        now = time.monotonic()
        row = {("loss" if name == "total" else f"loss_{name}"): value for name, value in self._means().items()}
        row["learning_rate"] = float(learning_rate)
        row["images_per_second"] = self.steps_in_sums * self.config.batch_size / (now - self.started)
        self.sums, self.steps_in_sums, self.started = {}, 0, now
        return row

    def _means(self) -> dict[str, float]:
        return {name: float(value) / self.steps_in_sums for name, value in self.sums.items()}

    def _show(self, learning_rate: Any) -> None:
        means = self._means()  # waits for the step
        now = time.monotonic()
        speed = self.steps_in_sums * self.config.batch_size / (now - self.started)
        heads = " ".join(f"{name} {value:.3f}" for name, value in means.items() if name != "total")
        self.text = f"loss {means['total']:.3f} ({heads}), lr {float(learning_rate):.4f}, {speed:.3g} images/s"
        self.bar.set_postfix_str(self.text)
        self.step_times.append(now)
        self.shown = now

    def _announce_duration(self) -> None:
        """After the second step, which is the first that does not build the graph."""
        seconds = self.step_times[-1] - self.step_times[-2]
        total = seconds * self.config.steps
        duration = f"{total / 86400:.1f} days" if total > 172800 else f"{total / 3600:.1f} hours"
        duration = f"{total / 60:.0f} minutes" if total < 7200 else duration
        self.bar.write(
            f"A step takes {seconds:.2f} s: {self.config.steps} steps take about {duration} on this machine.",
            file=sys.stdout,
        )

    def clear(self) -> None:
        self.bar.clear()

    def close(self) -> None:
        self.bar.close()

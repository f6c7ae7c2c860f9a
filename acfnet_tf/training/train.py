"""The training loop (Section 4.2)."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from acfnet_tf.config import ConfigError, DataConfig, Experiment, TrainConfig
from acfnet_tf.data.cityscapes import Sample, list_samples
from acfnet_tf.data.cityscapes_labels import CLASS_NAMES
from acfnet_tf.data.pipeline import diagnose, sample_file_index, training_dataset
from acfnet_tf.data.source import open_data
from acfnet_tf.data.statistics import count_pixels
from acfnet_tf.evaluation.evaluate import evaluate
from acfnet_tf.inference.predictor import Predictor
from acfnet_tf.losses import CITYSCAPES_CLASS_WEIGHTS, SegmentationLoss, inverse_log_weights
from acfnet_tf.models.create import create_model
from acfnet_tf.training.memory import choose_micro_batch
from acfnet_tf.training.optimizer import create_optimizer
from acfnet_tf.training.progress import Progress
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
    with contextlib.closing(Progress(experiment.name, config, step, train_step.micro_steps)) as progress:
        last_checkpoint = time.monotonic()
        while step < config.steps:
            losses = train_step(next(batches), progress.micro_step)
            step += 1
            row = progress.step(step, losses)
            if row:
                folder.log(step, "train", **row)
            last = step == config.steps
            if last or step % config.validate_every == 0:
                with progress.paused():
                    matrices = evaluate(predictor, validation_samples, experiment.model.num_classes)
                scores = {f"miou_{head}": matrix.mean_iou() for head, matrix in matrices.items()}
                folder.log(step, "val", **scores)
                heads = ", ".join(f"{head} {100 * matrix.mean_iou():.2f} %" for head, matrix in matrices.items())
                print(f"step {step}: mIoU on {len(validation_samples)} validation images: {heads}", flush=True)
            overdue = time.monotonic() - last_checkpoint > SECONDS_BETWEEN_CHECKPOINTS
            if last or overdue or step % config.checkpoint_every == 0:
                folder.save_checkpoint(step)
                last_checkpoint = time.monotonic()
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
    if experiment.model.num_classes != len(CLASS_NAMES):
        raise ConfigError(
            f"model.num_classes = {experiment.model.num_classes}: data in the Cityscapes layout have {len(CLASS_NAMES)}"
        )


def _class_weights(experiment: Experiment, samples: Sequence[Sample]) -> Sequence[float] | None:
    """The weights that `train.loss.class_weights` names, of length `num_classes`; None for equal weights."""
    choice = experiment.train.loss.class_weights
    if choice == "inverse_log":
        return inverse_log_weights(count_pixels(samples, experiment.model.num_classes))
    return CITYSCAPES_CLASS_WEIGHTS if choice == "cityscapes" else None


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

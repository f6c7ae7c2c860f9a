"""The folder of a run: resolved configuration, checkpoints, metrics, model."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from acfnet_tf.config import ConfigError, Experiment, UserError, differences
from acfnet_tf.files import write_atomically
from acfnet_tf.inference.loading import MODEL_FILE

CONFIG_FILE, METRICS_FILE = "config.json", "metrics.csv"
METRICS_COLUMNS = (
    "step", "split", "loss", "loss_aux", "loss_coarse", "loss_fine", "learning_rate", "images_per_second",
    "miou_coarse", "miou_fine",
)  # fmt: skip

CHANGEABLE = (
    "data.parallel_calls", "data.val_split", "evaluation.", "train.checkpoint", "train.log_every", "train.micro_batch",
    "train.strategy", "train.validate",
)  # fmt: skip
"""Settings that may differ when a run is continued: they change neither the samples nor the schedule."""


class RunFolder:
    """A run folder for training: a new one, or one that holds a run of the same experiment.

    Args:
        path: the folder; `open` makes it.
        experiment: resolved.

    Raises:
        ConfigError: the folder holds a run of another experiment or of other settings.
    """

    def __init__(self, path: str | Path, experiment: Experiment) -> None:
        self.path = Path(path)
        self.experiment = experiment
        self.model_file = self.path / MODEL_FILE
        if (self.path / CONFIG_FILE).exists():
            _check_same_run(self.path, read_config(self.path), experiment)

    def open(self) -> None:
        """Makes the folder and writes the configuration.

        Raises:
            UserError: the folder cannot be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path / CONFIG_FILE, self.experiment.to_json())
        except OSError as error:
            raise UserError(f"cannot make the run folder {self.path}: {error.strerror}") from error
        self.summary_writer = tf.summary.create_file_writer(str(self.path / "tensorboard"))

    def restore(self, model: keras.Model, optimizer: keras.optimizers.Optimizer) -> int:
        """Continues from the newest checkpoint, if there is one.

        Returns:
            The number of steps done; 0 for a new run.

        Raises:
            ConfigError: the checkpoint is of another model.
        """
        # By name: tf.train.Checkpoint does not see layers that a Keras layer keeps in a list.
        checkpoint = tf.train.Checkpoint(
            model={weight.path: weight.value for weight in model.weights},
            optimizer={variable.path: variable.value for variable in optimizer.variables},
        )
        self._checkpoints = tf.train.CheckpointManager(checkpoint, str(self.path / "checkpoints"), max_to_keep=3)
        latest = self._checkpoints.latest_checkpoint
        if latest:
            try:
                checkpoint.restore(latest).assert_existing_objects_matched()
            except (AssertionError, ValueError, tf.errors.OpError) as error:
                reason = str(error).splitlines()[0]
                raise ConfigError(f"{latest} is no checkpoint of this model, or damaged: {reason}") from error
        step = int(optimizer.iterations.value.numpy())
        self._drop_metrics_after(step)
        return step

    def save_checkpoint(self, step: int) -> str:
        return self._checkpoints.save(checkpoint_number=step)

    def log(self, step: int, split: str, **values: float) -> None:
        """Appends a row to metrics.csv and the same scalars to TensorBoard."""
        file = self.path / METRICS_FILE
        new = not file.exists()
        with file.open("a", newline="") as stream:
            writer = csv.DictWriter(stream, METRICS_COLUMNS)
            if new:
                writer.writeheader()
            writer.writerow({"step": step, "split": split} | {name: f"{value:.6g}" for name, value in values.items()})
        with self.summary_writer.as_default(step=step):
            for name, value in values.items():
                tf.summary.scalar(f"{split}/{name}", value)
        self.summary_writer.flush()

    def save_model(self, model: keras.Model) -> None:
        """Writes the model for inference, so that a reader never sees half of it."""
        partial = self.model_file.with_name("partial.keras")
        model.save(partial)
        os.replace(partial, self.model_file)

    def _drop_metrics_after(self, step: int) -> None:
        """Rows of steps that will be done again."""
        file = self.path / METRICS_FILE
        if not file.exists():
            return
        with file.open(newline="") as stream:
            rows = [row for row in csv.DictReader(stream) if int(row["step"]) <= step]
        lines = [",".join(METRICS_COLUMNS)] + [",".join(row[name] or "" for name in METRICS_COLUMNS) for row in rows]
        write_atomically(file, "\n".join(lines) + "\n")


def read_config(run_dir: Path) -> Experiment:
    """The experiment of a run folder.

    Raises:
        ConfigError: there is none, or it cannot be read.
    """
    file = run_dir / CONFIG_FILE
    try:
        return Experiment.from_json(file.read_text())
    except OSError as error:
        raise ConfigError(f"{run_dir} is no run folder: it holds no readable {CONFIG_FILE}") from error
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from error


def _check_same_run(path: Path, old: Experiment, new: Experiment) -> None:
    if old.name != new.name:
        raise ConfigError(
            f"{path} holds a run of experiment {old.name!r}, not of {new.name!r}; choose another --run_dir"
        )
    changed: dict[str, Any] = {
        name: values for name, values in differences(old, new).items() if not name.startswith(CHANGEABLE)
    }
    if changed:
        listed = "; ".join(f"{name} was {before}, is now {after}" for name, (before, after) in changed.items())
        raise ConfigError(
            f"{path} holds a run with other settings ({listed}). Give the same settings to continue it, "
            "or choose another --run_dir"
        )

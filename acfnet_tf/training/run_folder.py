"""The folder of a run: resolved configuration, checkpoints, metrics, model."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import filelock
import keras

from acfnet_tf.config import PRESCRIBED, Experiment
from acfnet_tf.data.cityscapes import CITYSCAPES
from acfnet_tf.data.classes import ClassSet
from acfnet_tf.data.sample import read_text
from acfnet_tf.errors import ConfigError, DataError, UserError
from acfnet_tf.files import names_in, write_atomically, write_errors, writing
from acfnet_tf.heads import FINE
from acfnet_tf.models.loading import MODEL_FILE
from acfnet_tf.settings import differences
from acfnet_tf.training.checkpoints import Checkpoints
from acfnet_tf.training.metrics_log import MetricsLog, score_name

CONFIG_FILE, CLASSES_FILE, SAMPLES_FILE = "config.json", "classes.json", "samples.json"
BEST_MODEL_FILE = "best.keras"

CHANGEABLE = (
    "data.cache", "data.on_bad_file", "data.parallel_calls", "data.val_split", "evaluation.", "export.", "serve.",
    "explore.", "train.checkpoint", "train.deterministic", "train.log_every", "train.max_nonfinite_steps",
    "train.micro_batch", "train.rematerialize", "train.strategy", "train.validate", "train.xla",
)  # fmt: skip
"""Settings that may differ when a run is continued: they change neither the samples nor the schedule."""


class RunFolder:
    """A run folder for training: a new one, or one that holds a run of the same experiment.

    Args:
        path: the folder; `open` makes it.
        writes: whether this process is the one that writes; for the others nothing here does anything.

    Raises:
        ConfigError: the folder holds a run of another experiment or of other settings.
    """

    def __init__(self, path: str | Path, experiment: Experiment, classes: ClassSet, writes: bool = True) -> None:
        self.path = Path(path)
        self.experiment, self.classes, self.writes = experiment, classes, writes
        self.model_file = self.path / MODEL_FILE
        self.best_model_file = self.path / BEST_MODEL_FILE
        self.metrics = MetricsLog(self.path)
        if writes and CONFIG_FILE in names_in(self.path):
            check_same_run(self.path, experiment)
            _check_same_classes(self.path, read_classes(self.path), classes)

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """Makes the folder, writes the configuration, and keeps other trainings out of the folder while it is open.

        Raises:
            UserError: the folder cannot be made, or another process trains in it.
        """
        if not self.writes:
            yield
            return
        with contextlib.ExitStack() as stack:
            with write_errors(f"into {self.path}"):
                self.path.mkdir(parents=True, exist_ok=True)
                stack.enter_context(self._lock())
                for partial in self.path.glob(".*.keras.*"):  # A process that was killed has left half a model.
                    partial.unlink()
                write_atomically(self.path / CONFIG_FILE, self.experiment.to_json())
                write_atomically(self.path / CLASSES_FILE, self.classes.to_json())
                self.metrics.open(self.experiment.to_json())
            yield

    def micro_batch(self) -> int | None:
        """`train.micro_batch` of the run that is in the folder; None where there is none, or it is not known."""
        return read_config(self.path).train.micro_batch if CONFIG_FILE in names_in(self.path) else None

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        """Locks the folder; the system releases it when the process ends, however it ends."""
        owner = self.path / ".owner"  # The lock itself is emptied by whoever is kept out.
        lock = filelock.FileLock(self.path / ".lock", timeout=0)
        try:
            lock.acquire()
        except filelock.Timeout as error:
            by = owner.read_text(encoding="utf-8") if owner.exists() else "another process"
            hint = "Wait for it, or choose another --run_dir"
            raise UserError(f"{self.path}: {by} trains in this folder. {hint}") from error
        try:
            write_atomically(owner, f"process {os.getpid()} on {socket.gethostname()}")
            yield
        finally:
            lock.release()

    def restore(self, variables: Mapping[str, Any]) -> None:
        """Continues with the state, by name, of the newest undamaged checkpoint, if there is one.

        Raises:
            ConfigError: the checkpoint is of another model.
            UserError: all checkpoints are damaged.
        """
        if not self.writes:
            return
        self._checkpoints = Checkpoints(self.path / "checkpoints", variables)
        step = self._checkpoints.restore()
        self.metrics.drop_after(step or 0)
        self._checkpoints.best = self.metrics.best()[1]

    def record_samples(self, splits: Mapping[str, list[str]], step: int) -> str:
        """Writes down the names of all samples, in their order, so that it is noticed when a run continues on others.

        Args:
            step: with which the run continues; 0 for a new one.

        Returns:
            What has changed in the splits that were written down before, a line each.

        Raises:
            UserError: the record cannot be read.
        """
        if not self.writes:
            return ""
        file, before = self.path / SAMPLES_FILE, {}
        if step and SAMPLES_FILE in names_in(self.path):
            with contextlib.suppress(ValueError, AttributeError):  # Whoever has changed it, it is written anew.
                before = {
                    split: names
                    for split, names in json.loads(read_text(file)).items()
                    if isinstance(names, list) and all(isinstance(name, str) for name in names)
                }
        if before != splits:
            write_atomically(file, json.dumps(splits, indent=0) + "\n")
        lines = []
        for split, names in splits.items():
            if before.get(split, names) != names:
                trained = split == self.experiment.data.train_split
                effect = "samples come in another order than before" if trained else "validations are of other images"
                changes = _changes(before[split], names)
                lines.append(f"The split {split} has changed since: {changes}. After step {step}, {effect}.")
        return "\n".join(lines)

    def save_checkpoint(self, step: int) -> None:
        if self.writes:
            self._checkpoints.save(step)

    def log(self, step: int, split: str, **values: float) -> None:
        """Adds a row to the metrics, see `MetricsLog.add`."""
        if self.writes:
            self.metrics.add(step, split, **values)

    def log_validation(self, step: int, scores: Mapping[str, float], model: keras.Model) -> None:
        """Logs {head: mIoU}, and keeps checkpoint and model if it is the best validation so far."""
        if not self.writes:
            return
        if scores[FINE] > self.metrics.best()[0]:
            self._checkpoints.best = step
            self.save_model(model, self.best_model_file)
        self.log(step, "val", **{score_name(head): score for head, score in scores.items()})

    def save_model(self, model: keras.Model, file: Path | None = None) -> None:
        """Writes a model for inference, so that a reader never sees half of it."""
        if self.writes:
            with writing(file or self.model_file) as partial:
                model.save(partial)


def _changes(old: list[str], new: list[str]) -> str:
    """Which names are new and which are gone, the first of each."""
    changes = {"samples more": sorted(set(new) - set(old)), "fewer": sorted(set(old) - set(new))}
    listed = [
        f"{len(names)} {what} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
        for what, names in changes.items()
        if names
    ]
    return " and ".join(listed) or "the same samples in another order"


def has_begun(run_dir: Path) -> bool:
    """Whether the folder holds a training to continue."""
    checkpoints = names_in(run_dir / "checkpoints")
    return CONFIG_FILE in names_in(run_dir) and any(name.startswith("step_") for name in checkpoints)


def read_config(run_dir: Path) -> Experiment:
    """The experiment of a run folder.

    Raises:
        ConfigError: there is none, or it is damaged.
        UserError: it cannot be read.
    """
    file = run_dir / CONFIG_FILE
    if CONFIG_FILE not in names_in(run_dir):
        raise ConfigError(f"{run_dir} is no run folder: it holds no {CONFIG_FILE}")
    try:
        return Experiment.from_json(read_text(file))
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from error


def read_classes(run_dir: Path) -> ClassSet:
    """The classes that a run was trained on.

    Raises:
        DataError: their file cannot be read, or is damaged.
    """
    file = run_dir / CLASSES_FILE
    if CLASSES_FILE not in names_in(run_dir):
        return CITYSCAPES
    try:
        return ClassSet.from_json(read_text(file))
    except ValueError as error:
        raise DataError(f"{file}: damaged, or not as training wrote it ({error}).") from error


def _check_same_classes(path: Path, old: ClassSet, new: ClassSet) -> None:
    if (old.names, old.coding, old.values) == (new.names, new.coding, new.values):
        return
    pairs = enumerate(itertools.zip_longest(old.names, new.names))
    changed = [f"class {index} was {before!r}, is now {after!r}" for index, (before, after) in pairs if before != after]
    raise ConfigError(
        f"{path} holds a run with other classes: {changed[0] if changed else 'their values in the masks have changed'}"
        f" (see {path / CLASSES_FILE}). Choose another --run_dir"
    )


def check_same_run(path: Path, new: Experiment) -> None:
    """Makes sure that an experiment continues the run of a folder, if there is one.

    Args:
        new: its number of classes may be open still.

    Raises:
        ConfigError: the folder holds a run of another experiment or of other settings.
    """
    if CONFIG_FILE not in names_in(path):
        return
    old = read_config(path)
    if new.model.num_classes is None:
        old = dataclasses.replace(old, model=dataclasses.replace(old.model, num_classes=None))
    if new.model.weights == old.model.weights != "none":  # Then the weights prescribe the same.
        prescribed = {name: getattr(new.model, name) for name in PRESCRIBED}
    else:
        prescribed = {"initialization": new.model.initialization}
    old = dataclasses.replace(old, model=dataclasses.replace(old.model, **prescribed))
    if {old.train.precision, new.train.precision} == {"float32", "tf32"}:  # of one state, and on CPUs the same numbers
        old = dataclasses.replace(old, train=dataclasses.replace(old.train, precision=new.train.precision))
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

"""What is measured in a run: the rows of metrics.csv, and the same numbers and pictures for TensorBoard."""

from __future__ import annotations

import contextlib
import csv
import math
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from acfnet_tf.data.sample import read_text
from acfnet_tf.errors import UserError, first_line
from acfnet_tf.files import as_utf_8, names_in, write_atomically, write_errors
from acfnet_tf.heads import FINE, HEADS, heads_in
from acfnet_tf.training.progress import COLUMNS

METRICS_FILE = "metrics.csv"


def score_name(head: str) -> str:
    """The column of a head's mean IoU."""
    return f"miou_{head}"


METRICS_COLUMNS = (
    *("step", "split", *COLUMNS.values(), "gradient_norm", "learning_rate", "images_per_second"),
    *map(score_name, heads_in(HEADS)),
)


class MetricsLog:
    """The log of one run, to which one process at a time writes. Its folder must be there when `open` is called."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / METRICS_FILE
        self._tensorboard_folder = folder / "tensorboard"

    def open(self, configuration: str) -> None:
        """Begins a file of TensorBoard's, with the text of the configuration in it."""
        self._summaries = tf.summary.create_file_writer(os.fsencode(self._tensorboard_folder))
        with self._tensorboard(step=0):
            tf.summary.text("configuration", f"```json\n{configuration}```")

    def add(self, step: int, split: str, **values: float) -> None:
        """Appends a row, and the same scalars to TensorBoard.

        Raises:
            UserError: they cannot be written.
        """
        new = not self.file.exists()
        with write_errors(self.file), self.file.open("a", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, METRICS_COLUMNS)
            if new:
                writer.writeheader()
            writer.writerow({"step": step, "split": split} | {name: f"{value:.6g}" for name, value in values.items()})
        with self._tensorboard(step):
            for name, value in values.items():
                tf.summary.scalar(f"{split}/{name}", value)

    def add_image(self, step: int, name: str, image: np.ndarray) -> None:
        """Shows an (H, W, 3) uint8 image in TensorBoard."""
        with self._tensorboard(step):
            # A file's name may hold bytes that are not UTF-8, and TensorBoard takes no others.
            tf.summary.image(as_utf_8(name), image[None])

    def validations(self) -> dict[int, float]:
        """{step: mIoU of the finest head} of every validation."""
        return {int(row["step"]): float(row[score_name(FINE)]) for row in self._rows() if row["split"] == "val"}

    def best(self) -> tuple[float, int | None]:
        """The highest mIoU of all validations, and its step, the first of several.

        A validation that measured nothing (NaN) is none; where there is none, it is (-1, None).
        """
        measured = [(score, step) for step, score in self.validations().items() if not math.isnan(score)]
        return max(measured, key=lambda validation: validation[0], default=(-1.0, None))

    def drop_after(self, step: int) -> None:
        """Drops the rows of steps that will be done again, and one that was cut off."""
        if METRICS_FILE in names_in(self.file.parent):
            kept = [row for row in self._rows() if int(row["step"]) <= step]
            lines = [METRICS_COLUMNS, *([row.get(name) or "" for name in METRICS_COLUMNS] for row in kept)]
            write_atomically(self.file, "".join(",".join(line) + "\r\n" for line in lines))

    def _rows(self) -> list[dict[str, str]]:
        """The rows of metrics.csv. One that was cut off, by a full disk for instance, is none.

        Raises:
            UserError: a row is none of ours.
        """
        if METRICS_FILE not in names_in(self.file.parent):
            return []
        lines = read_text(self.file).splitlines(keepends=True)
        try:
            rows = list(csv.DictReader(line for line in lines if line.endswith("\n")))
            for row in rows:
                int(row["step"])
                if row["split"] == "val":
                    float(row[score_name(FINE)])
        except (KeyError, TypeError, ValueError, csv.Error) as error:
            raise UserError(f"{self.file}: damaged; move it away, and the training begins a new one") from error
        return rows

    @contextlib.contextmanager
    def _tensorboard(self, step: int) -> Iterator[None]:
        """Around summaries, which are in the file afterwards."""
        try:
            with self._summaries.as_default(step=step):
                yield
            self._summaries.flush()
        except tf.errors.OpError as error:
            reason = first_line(error).split(";")[-1].strip()
            raise UserError(f"cannot write into {self._tensorboard_folder}: {reason}") from error

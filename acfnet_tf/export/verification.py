"""Whether an exported file says what the Keras model says: its own runtime runs it on real scenes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from acfnet_tf.errors import UserError
from acfnet_tf.export.formats import Answer, open_file
from acfnet_tf.export.graph import conversion, float32, plain_forward
from acfnet_tf.export.signatures import FILES, IMAGE_BYTES, LABEL_PNG, PROBABILITIES, TENSORS
from acfnet_tf.heads import FINE
from acfnet_tf.inference.predictor import Predictor
from acfnet_tf.metrics.confusion import ConfusionMatrix
from acfnet_tf.pictures import Picture, decoded_labels, encoded
from acfnet_tf.tables import markdown_table, percent, plain

EQUAL_LABELS = 0.999
"""Least share of a scene's pixels."""
TOLERANCE = 1e-3
"""Of the largest logit or probability of a scene. Rounding makes 1e-6, a wrong padding or alignment 1e-1."""
ROUNDED_LABELS, ROUNDED_TOLERANCE = 0.98, 0.5
"""The same for 16 bits: what TensorFlow fuses, and so where it rounds, differs between graphs."""
CONFIDENCE_STEP = 1.01 / 255
"""Of a SavedModel's confidence, in 8 bits: where rounding falls to the other side."""
INT8_LOSS = 0.02
"""Most that int8 may take off mIoU."""


@dataclass(frozen=True)
class Comparison:
    """One scene: share of equal labels, and how far logits or probabilities differ.

    Attributes:
        difference: the largest; infinite where even the shapes differ.
        largest: what is the largest of the Keras model's.
    """

    scene: str
    size: str
    equal: float
    difference: float = math.inf
    largest: float = 0.0

    def is_finite(self) -> bool:
        return math.isfinite(self.difference) and math.isfinite(self.largest)

    def is_within(self, equal: float, tolerance: float) -> bool:
        return self.is_finite() and self.equal >= equal and self.difference <= tolerance * self.largest


@dataclass(frozen=True)
class Verification:
    """All comparisons; for int8 also mIoU of the Keras model and of the file, over a number of scenes."""

    comparisons: list[Comparison]
    miou: tuple[float, float] | None = None
    miou_scenes: int = 0

    def table(self) -> str:
        """Markdown."""
        header = ("scene", "height×width", "equal labels", "largest difference", "of values up to")
        rows = [
            (plain(row.scene), row.size, f"{percent(row.equal, 3)} %", f"{row.difference:.1e}", f"{row.largest:.3g}")
            for row in self.comparisons
        ]
        lines = markdown_table(header, rows)
        if self.miou:
            before, after = (percent(value, 2) for value in self.miou)
            lines += ["", f"mIoU over {self.miou_scenes} scenes: Keras model {before}, this file {after}."]
        return "\n".join(lines)


def verify_saved_model(version: Path, name: str, predictor: Predictor, scenes: Sequence[Picture]) -> Verification:
    """Compares the labels that `FILES` gives of PNGs, and the probabilities, or where there are none the confidence.

    Raises:
        UserError: a single label differs, a probability by more than `TOLERANCE`, or a confidence by more than a step;
            in 16 bits, more differs than `ROUNDED_LABELS` and `ROUNDED_TOLERANCE` allow.
    """
    with conversion(f"loading {name}"):
        model = tf.saved_model.load(str(version))  # signatures alone do not keep its variables
    signatures = model.signatures
    exact = PROBABILITIES in signatures

    def found(image: np.ndarray) -> dict[str, np.ndarray]:
        (png,) = signatures[FILES](**{IMAGE_BYTES: tf.constant([encoded(image)])})[LABEL_PNG].numpy()
        answer = signatures[PROBABILITIES if exact else TENSORS](images=tf.constant(image[None]))
        values = answer["probabilities" if exact else "confidence"][0].numpy()
        return {"labels": decoded_labels(png), "values": values if exact else values / 255}

    def expected(image: np.ndarray) -> dict[str, np.ndarray]:
        labels, values = (maps(image, [FINE])[FINE] for maps in (predictor.labels, predictor.probabilities))
        return {"labels": labels, "values": values if exact else np.round(255 * values.max(axis=-1)) / 255}

    on_gpu = tf.config.get_visible_devices("GPU")  # where an algorithm is chosen for each graph
    limits = (EQUAL_LABELS if on_gpu else 1.0, TOLERANCE if exact else CONFIDENCE_STEP)
    if predictor.evaluation.precision.startswith("mixed"):
        limits = (ROUNDED_LABELS, ROUNDED_TOLERANCE)
    return Verification(_checked(name, _compare(found, expected, scenes), *limits))


def verify_file(file_format: str, file: Path, predictor: Predictor, scenes: Sequence[Picture]) -> Verification:
    """Of a file in float32.

    Raises:
        UserError: less than `EQUAL_LABELS` are equal, or logits differ by more than `TOLERANCE`.
    """
    comparisons = _compare(open_file(file_format, file), _keras(predictor, file_format), scenes)
    return Verification(_checked(file.name, comparisons, EQUAL_LABELS))


def verify_int8(
    file: Path, predictor: Predictor, scenes: Sequence[Picture], masked: Iterable[Picture], ignore_label: int
) -> Verification:
    """Of a LiteRT file in int8, whose labels may differ but whose mIoU may not fall.

    Args:
        scenes: to compare logits and labels on, for information; but all must be finite.
        masked: to measure mIoU on; those without masks, or with nothing but ignored pixels, are left out, and without
            any nothing is measured.

    Raises:
        UserError: mIoU falls by more than `INT8_LOSS`, or a logit is not finite.
    """
    before, after = _keras(predictor, "litert"), open_file("litert", file)
    comparisons = _compare(after, before, scenes)
    _checked(file.name, [row for row in comparisons if not row.is_finite()], equal=0.0)
    matrices = [ConfusionMatrix(predictor.num_classes, ignore_label) for _ in range(2)]
    count = 0
    for scene in masked:
        if scene.label is not None and (scene.label != ignore_label).any():
            count += 1
            for run, matrix in zip((before, after), matrices, strict=True):
                matrix.update(scene.label, run(scene.image)["labels"])
    if not count:
        return Verification(comparisons)
    keras_miou, miou = (matrix.mean_iou() for matrix in matrices)
    if not keras_miou - miou <= INT8_LOSS:
        raise UserError(
            f"{file.name} was not kept: int8 lowers mIoU over {count} scenes from {percent(keras_miou, 2)} to"
            f" {percent(miou, 2)}. Calibrate on more images like these, or export without int8"
        )
    return Verification(comparisons, (keras_miou, miou), count)


def _keras(predictor: Predictor, file_format: str) -> Answer:
    """What a file is to say: a .keras file what the model says, others what it says in float32."""
    forward = plain_forward(predictor.model if file_format == "keras" else float32(predictor.model))
    return lambda image: {name: values[0].numpy() for name, values in forward(tf.constant(image[None])).items()}


def _compare(found: Answer, expected: Answer, scenes: Iterable[Picture]) -> list[Comparison]:
    comparisons = []
    for scene in scenes:
        size = "{}×{}".format(*scene.size)
        ours, theirs = expected(scene.image), found(scene.image)
        if {name: values.shape for name, values in ours.items()} != {name: v.shape for name, v in theirs.items()}:
            comparisons.append(Comparison(scene.name, size, 0.0))
            continue
        equal = float(np.mean(ours.pop("labels") == theirs.pop("labels")))
        ((name, values),) = ours.items()
        difference = float(np.abs(theirs[name] - values).max())
        comparisons.append(Comparison(scene.name, size, equal, difference, float(np.abs(values).max())))
    return comparisons


def _checked(name: str, comparisons: list[Comparison], equal: float, tolerance: float = TOLERANCE) -> list[Comparison]:
    """Them, if all are good."""
    for row in comparisons:
        if row.is_within(equal, tolerance):
            continue
        reason = (
            f"it does not say what the Keras model says: on {row.scene} ({row.size}) {percent(row.equal, 3)} % of its"
            f" labels are equal, {100 * equal:g} % should be, and values of up to {row.largest:.3g} differ by"
            f" {row.difference:.2g}"
        )
        if not math.isfinite(row.largest):
            reason = (
                f"the Keras model itself gives numbers that are not finite on {row.scene} ({row.size}). Its weights are"
                " of a training that went wrong; export those of an earlier checkpoint"
            )
        raise UserError(f"{name} was not kept: {reason}")
    return comparisons

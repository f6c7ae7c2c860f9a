"""Whether an exported file says what the Keras model says: its own runtime runs it on real scenes."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from acfnet_tf.data.reading import open_picture
from acfnet_tf.errors import UserError
from acfnet_tf.export.graph import conversion, float32, plain_forward
from acfnet_tf.export.runtimes import Run, open_runtime
from acfnet_tf.export.scenes import Scene
from acfnet_tf.inference.predictor import Predictor
from acfnet_tf.metrics.confusion import ConfusionMatrix
from acfnet_tf.tables import markdown_table, plain

EQUAL_LABELS = 0.999
"""Least share of a scene's pixels."""
TOLERANCE = 1e-3
"""Of the largest logit or probability of a scene. Rounding makes 1e-6, a wrong padding or alignment 1e-1."""
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
            (
                plain(row.scene),
                row.size,
                f"{100 * row.equal:.3f} %",
                f"{row.difference:.1e}",
                f"{row.largest:.3g}",
            )
            for row in self.comparisons
        ]
        lines = markdown_table(header, rows)
        if self.miou:
            before, after = (f"{100 * value:.2f}" for value in self.miou)
            lines += ["", f"mIoU over {self.miou_scenes} scenes: Keras model {before}, this file {after}."]
        return "\n".join(lines)


def verify_saved_model(folder: Path, predictor: Predictor, scenes: Sequence[Scene]) -> Verification:
    """Labels are those of serving_default, which is given PNG; probabilities those of predict_probabilities, or where
    there is none the confidence of predict_tensor.

    Raises:
        UserError: a single label differs, a probability by more than `TOLERANCE`, or a confidence by more than a step.
    """
    with conversion(f"loading {folder}"):
        model = tf.saved_model.load(str(folder))  # signatures alone do not keep its variables
    signatures = model.signatures
    exact = "predict_probabilities" in signatures

    def found(image: np.ndarray) -> dict[str, np.ndarray]:
        (png,) = signatures["serving_default"](image_bytes=tf.constant([_png(image)]))["label_png_bytes"].numpy()
        answer = signatures["predict_probabilities" if exact else "predict_tensor"](images=tf.constant(image[None]))
        values = answer["probabilities" if exact else "confidence"][0].numpy()
        with open_picture(io.BytesIO(png)) as picture:
            return {"labels": np.asarray(picture), "values": values if exact else values / 255}

    def expected(image: np.ndarray) -> dict[str, np.ndarray]:
        labels, values = (maps(image, ["fine"])["fine"] for maps in (predictor.labels, predictor.probabilities))
        return {"labels": labels, "values": values if exact else np.round(255 * values.max(axis=-1)) / 255}

    tolerance = TOLERANCE if exact else CONFIDENCE_STEP
    return Verification(_checked(folder, _compare(found, expected, scenes), equal=1.0, tolerance=tolerance))


def verify_file(format: str, file: Path, predictor: Predictor, scenes: Sequence[Scene]) -> Verification:
    """Of a file in float32.

    Raises:
        UserError: less than `EQUAL_LABELS` are equal, or logits differ by more than `TOLERANCE`.
    """
    comparisons = _compare(open_runtime(format, file), _keras(predictor, format), scenes)
    return Verification(_checked(file, comparisons, EQUAL_LABELS))


def verify_int8(
    file: Path, predictor: Predictor, scenes: Sequence[Scene], masked: Iterable[Scene], ignore_label: int
) -> Verification:
    """Of a LiteRT file in int8, whose labels may differ but whose mIoU may not fall.

    Args:
        scenes: to compare logits and labels on, for information; but all must be finite.
        masked: to measure mIoU on; those without masks, or with nothing but ignored pixels, are left out, and without
            any nothing is measured.
        ignore_label: of the masks.

    Raises:
        UserError: mIoU falls by more than `INT8_LOSS`, or a logit is not finite.
    """
    before, after = _keras(predictor, "litert"), open_runtime("litert", file)
    comparisons = _compare(after, before, scenes)
    _checked(file, [row for row in comparisons if not row.is_finite()], equal=0.0)
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
            f"{file.name} was not kept: int8 lowers mIoU over {count} scenes from {100 * keras_miou:.2f} to"
            f" {100 * miou:.2f}. Calibrate on more images like these, or export without int8"
        )
    return Verification(comparisons, (keras_miou, miou), count)


def _keras(predictor: Predictor, format: str) -> Run:
    """What a file is to say: a .keras file what the model says, others what it says in float32."""
    forward = plain_forward(predictor.model if format == "keras" else float32(predictor.model))
    return lambda image: {name: values[0].numpy() for name, values in forward(tf.constant(image[None])).items()}


def _compare(found: Run, expected: Run, scenes: Iterable[Scene]) -> list[Comparison]:
    comparisons = []
    for scene in scenes:
        ours, theirs = expected(scene.image), found(scene.image)
        if {name: values.shape for name, values in ours.items()} != {name: v.shape for name, v in theirs.items()}:
            comparisons.append(Comparison(scene.name, scene.size, 0.0))
            continue
        equal = float(np.mean(ours.pop("labels") == theirs.pop("labels")))
        ((name, values),) = ours.items()
        difference = float(np.abs(theirs[name] - values).max())
        comparisons.append(Comparison(scene.name, scene.size, equal, difference, float(np.abs(values).max())))
    return comparisons


def _checked(file: Path, comparisons: list[Comparison], equal: float, tolerance: float = TOLERANCE) -> list[Comparison]:
    """Them, if all are good."""
    for row in comparisons:
        if not math.isfinite(row.largest):
            raise UserError(
                f"{file.name} was not kept: the Keras model itself gives numbers that are not finite on {row.scene}"
                f" ({row.size}). Its weights are of a training that went wrong; export those of an earlier checkpoint"
            )
        if not row.is_within(equal, tolerance):
            raise UserError(
                f"{file.name} was not kept, it does not say what the Keras model says: on {row.scene} ({row.size})"
                f" {100 * row.equal:.3f} % of its labels are equal, {100 * equal:g} % should be,"
                f" and values of up to {row.largest:.3g} differ by {row.difference:.2g}"
            )
    return comparisons


def _png(image: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()

"""Exports a trained model: writes a file in one of five formats, and keeps it if it says what the model says."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from acfnet_tf.config import ExportConfig
from acfnet_tf.data.classes import ClassSet
from acfnet_tf.data.sample import Sample
from acfnet_tf.errors import UserError
from acfnet_tf.export.formats import FORMATS, SAVED_MODEL
from acfnet_tf.export.litert import write_litert
from acfnet_tf.export.saved_model import publish, write_saved_model
from acfnet_tf.export.scenes import at_two_sizes, read_scenes
from acfnet_tf.export.verification import Verification, verify_file, verify_int8, verify_saved_model
from acfnet_tf.files import write_atomically
from acfnet_tf.inference.predictor import Predictor
from acfnet_tf.layers.precision import running
from acfnet_tf.paths import check_utf_8, folder_beside

COMPARED_SCENES = 2
CALIBRATION_SCENES = 32
MIOU_SCENES = 16
"""Of those that are given, the first; of the calibration scenes some from everywhere."""


@dataclass(frozen=True)
class ExportResult:
    """What was written.

    Attributes:
        path: the file, the folder of the SavedModel's version, or OpenVINO's .xml.
        size: bytes on disk, of all files together.
        verification: how it compares with the Keras model.
    """

    path: Path
    size: int
    verification: Verification

    def table(self) -> str:
        """Markdown: the comparison, and the size on disk."""
        return f"{self.verification.table()}\n\nSize on disk: {self.size / 2**20:.1f} MiB."


def export(
    predictor: Predictor,
    format: str,
    output: Path,
    name: str,
    classes: ClassSet,
    config: ExportConfig,
    samples: Sequence[Sample],
    *,
    quantize: Literal["int8"] | None = None,
    calibration: Sequence[Sample] = (),
) -> ExportResult:
    """Writes the model into `output`, verified, in place of what an earlier export wrote.

    A SavedModel becomes the folder NAME/1, NAME/2, …, a new version each time; the file of another format is called as
    `FORMATS` says, or NAME_int8.tflite, and NAME.classes.json lies beside it.

    The classes are inside a SavedModel, an ONNX and an OpenVINO file, too.

    Args:
        predictor: of the trained model. All formats but saved_model and keras hold one forward pass over whole images,
            so it must evaluate in this way.
        output: a folder, made if needed.
        name: NAME.
        config: of the SavedModel; scenes above its `max_pixels` are cropped for verification.
        samples: real scenes to verify on, the first two in two sizes each; int8 is measured on up to 16.
        quantize: "int8" for convolutions in whole numbers; of litert only.
        calibration: samples that int8 takes the ranges of activations from, better not those of `samples`.

    Raises:
        UserError: the model or its evaluation does not fit the format, packages are missing, the folder cannot be
            written, or what was written does not say what the model says. What an earlier export wrote stays then.
    """
    if quantize and format != "litert":
        raise UserError(f"--quantize={quantize} is for --format=litert, not for {format}")
    precision = predictor.evaluation.precision
    if format != SAVED_MODEL and precision.startswith("mixed"):
        raise UserError(f"--format={format} holds float32 numbers: leave evaluation.precision={precision} out")
    if precision == "tf32":  # How a card multiplies is the matter of whoever runs the file: the comparison is exact.
        exact = dataclasses.replace(predictor.evaluation, precision="float32")
        predictor = Predictor(predictor.model, exact, predictor.head)
    check_utf_8(output)
    if not samples or (quantize and not calibration):
        raise UserError("exporting wants scenes to verify on, and int8 some to calibrate on: the split has none")
    scenes = list(read_scenes(samples[:COMPARED_SCENES], classes, config.max_pixels))
    compared = at_two_sizes(scenes)
    try:
        with running(predictor.evaluation.precision), folder_beside(output / name) as partial:
            if format == SAVED_MODEL:
                write_saved_model(predictor, partial, name, classes, config, [scene.image for scene in scenes])
                verification = verify_saved_model(partial, name, predictor, compared)
                path = publish(partial, output / name)
                return ExportResult(path, _size(path), verification)
            if quantize:
                file = partial / f"{name}_int8.tflite"
                step = max(1, len(calibration) // CALIBRATION_SCENES)
                ranges_from = read_scenes(calibration[::step][:CALIBRATION_SCENES], classes, config.max_pixels)
                write_litert(predictor, file, [scene.image for scene in ranges_from])
                measured = read_scenes(samples[:MIOU_SCENES], classes, config.max_pixels)
                verification = verify_int8(file, predictor, compared, measured, classes.ignore_label)
            else:
                file = partial / FORMATS[format].file.format(name=name)
                FORMATS[format].write(predictor, file, classes)
                verification = verify_file(format, file, predictor, compared)
            written = partial / file.relative_to(partial).parts[0]  # the file, or the folder it is in
            size = _size(written)
            _move(written, output)
        write_atomically(output / f"{name}.classes.json", classes.to_json())
    except OSError as error:
        raise UserError(f"cannot write the export to {output}: {error.strerror or error}") from error
    return ExportResult(output / file.relative_to(partial), size, verification)


def _move(written: Path, output: Path) -> None:
    """Moves a file or folder to where it belongs, in place of what was there."""
    target = output / written.name
    if target.is_dir():  # which cannot be replaced in one step
        os.replace(target, written.with_name("old"))
    os.replace(written, target)


def _size(path: Path) -> int:
    files = [path] if path.is_file() else path.rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file())

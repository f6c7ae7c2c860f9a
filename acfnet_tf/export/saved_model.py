"""The SavedModel: for TF Serving, `tf.saved_model.load`, `keras.layers.TFSMLayer`, and TensorFlow of any language."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from acfnet_tf.config import ExportConfig
from acfnet_tf.data.classes import ClassSet
from acfnet_tf.errors import UserError
from acfnet_tf.export.saved_model_readme import saved_model_readme
from acfnet_tf.export.signatures import Signatures, make_signatures
from acfnet_tf.export.warmup import write_warmup
from acfnet_tf.inference.predictor import Predictor


def export_saved_model(
    predictor: Predictor,
    folder: Path,
    classes: ClassSet,
    config: ExportConfig,
    warmup_images: Sequence[np.ndarray],
) -> Path:
    """Writes a new version of the model; see `make_signatures` for what it answers.

    A server that polls the folder sees the version whole or not at all.

    Args:
        predictor: labels images as the exported model shall, with the runtime "tensorflow".
        folder: of the model's versions, 1, 2, …; its name is the model's.
        classes: of the model, also written to `assets/classes.json`.
        config: what the model accepts and answers.
        warmup_images: each (H, W, 3) uint8, of sizes as the server will get them. It labels them before it says that
            it is ready, so that no client waits for what happens once only.

    Returns:
        The version's folder.

    Raises:
        UserError: the options do not suit the model or the images, TensorFlow cannot write the files, or a package is
            missing.
        OSError: the folder cannot be written.
    """
    for height, width, _ in (image.shape for image in warmup_images):
        if height * width > config.max_pixels:
            raise UserError(
                f"export.max_pixels={config.max_pixels}: the model would refuse images as these, {width}×{height};"
                f" set {height * width} or more"
            )
    signatures = make_signatures(predictor, classes, config)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=folder) as partial:
            version = Path(partial) / "version"  # the folder around it is for its owner only
            _write(version, predictor, signatures)
            (version / "assets").mkdir(exist_ok=True)
            (version / "assets" / "classes.json").write_text(classes.to_json(), encoding="utf-8")
            (version / "assets.extra").mkdir()
            readme = saved_model_readme(folder.name, signatures, predictor, classes, config)
            (version / "assets.extra" / "README.md").write_text(readme, encoding="utf-8")
            write_warmup(version / "assets.extra", folder.name, signatures, warmup_images)
            return publish(version, folder)
    except tf.errors.OpError as error:
        reason = str(error.message).splitlines()[0].split(";")[-1].strip()  # without the name of a hidden folder
        raise UserError(f"cannot write the SavedModel {folder.name}: {reason}") from error


def _write(path: Path, predictor: Predictor, signatures: Signatures) -> None:
    module = tf.Module()
    module.weights = [variable.value for variable in predictor.model.variables]
    tf.saved_model.save(module, str(path), signatures=signatures)


def publish(version: Path, folder: Path) -> Path:
    """Moves the finished version to the next free number."""
    while True:
        numbers = [int(path.name) for path in folder.iterdir() if path.name.isdecimal()]
        target = folder / str(max(numbers, default=0) + 1)
        try:
            os.rename(version, target)
        except OSError:
            if not target.exists():
                raise  # else another export took that number at the same moment
        else:
            return target

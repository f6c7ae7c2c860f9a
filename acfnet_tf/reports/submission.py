"""Files for the Cityscapes test server.

The server asks for what `cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling` reads: for every image one
single-channel 8-bit PNG of its size, `CITY_SSSSSS_FFFFFF*.png`, whose pixels are *labelIds* (road = 7), not trainIds
(road = 0), all in one zip archive.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from acfnet_tf.data.cityscapes import LABEL_IDS
from acfnet_tf.data.reading import read_image
from acfnet_tf.data.sample import Sample
from acfnet_tf.errors import UserError
from acfnet_tf.files import writing
from acfnet_tf.inference.overlap import overlapped
from acfnet_tf.inference.predictor import Predictor
from acfnet_tf.paths import check_writable
from acfnet_tf.pictures import encoded

_NAME = re.compile(r"[^_]+_\d{6}_\d{6}")


def write_submission(
    predictor: Predictor,
    samples: Sequence[Sample],
    output_dir: str | Path,
    *,
    archive: bool = True,
    progress: bool = True,
) -> list[Path]:
    """Writes `NAME_labelIds.png` for every sample, and `OUTPUT_DIR.zip` beside the folder.

    Args:
        samples: a split, such as test; truth is not read.
        archive: whether to write the zip archive too.

    Returns:
        The PNG files, in the order of the samples.

    Raises:
        UserError: the model does not have the 19 classes, a sample is not named as in Cityscapes, or a file cannot be
            written.
        DataError: an image cannot be read.
    """
    output_dir = Path(output_dir)
    if predictor.num_classes != len(LABEL_IDS):
        raise UserError(f"the server scores {len(LABEL_IDS)} classes; the model has {predictor.num_classes}")
    for sample in samples:
        if not (_NAME.fullmatch(sample.name) and sample.name.isprintable()):
            raise UserError(f"{sample.name}: the server knows only names of the form CITY_SSSSSS_FFFFFF")
    target = archive_of(output_dir)
    for folder in (output_dir, target.parent) if archive else (output_dir,):
        check_writable(folder)
    files = []

    def finish(sample: Sample, _: np.ndarray, labels: np.ndarray) -> None:
        files.append(output_dir / f"{sample.name}_labelIds.png")
        with writing(files[-1]) as partial:
            partial.write_bytes(encoded(LABEL_IDS[labels]))

    overlapped(
        samples, lambda sample: read_image(sample.image), predictor, finish, title="Predicting", progress=progress
    )
    if archive:
        with writing(target) as partial, zipfile.ZipFile(partial, "w") as archive_file:
            for file in files:
                archive_file.write(file, file.name)
    return files


def archive_of(output_dir: Path) -> Path:
    """The archive beside a folder, which may be named "." or "..", too."""
    folder = output_dir.resolve() if output_dir.name in ("", "..") else output_dir
    return folder.parent / f"{folder.name}.zip"

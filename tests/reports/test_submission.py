"""Submission files are single-channel 8-bit labelIds of the image's size, under names the server knows."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest
from PIL import Image

from acfnet_tf.data.cityscapes import LABEL_IDS
from acfnet_tf.data.sample import Sample
from acfnet_tf.errors import UserError
from acfnet_tf.reports.submission import write_submission


class RedIsTheClass:
    """Stands in for a predictor."""

    num_classes = 19

    def __call__(self, image: np.ndarray) -> np.ndarray:
        return image[..., 0]


def make_sample(folder, name: str) -> Sample:
    classes = np.arange(19 * 2, dtype=np.uint8).reshape(2, 19) % 19
    Image.fromarray(np.repeat(classes[..., None], 3, axis=2)).save(folder / "image.png")
    return Sample(name, str(folder / "image.png"), None)


@pytest.mark.parametrize(("output", "archive"), [(".", "../in.zip"), ("..", "../../b.zip"), ("sub", "sub.zip")])
def test_the_archive_lies_beside_the_folder_however_that_is_named(output, archive, tmp_path, monkeypatch):
    (tmp_path / "b" / "in").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "b" / "in")
    write_submission(RedIsTheClass(), [make_sample(tmp_path, "berlin_000000_000019")], output, progress=False)
    assert zipfile.is_zipfile(archive)


def test_what_cannot_be_written_is_said_before_the_work(tmp_path):
    with pytest.raises(UserError, match="cannot write"):
        write_submission(RedIsTheClass(), [], tmp_path / ("n" * 300), progress=False)


def test_files_and_archive(tmp_path):
    sample = make_sample(tmp_path, "berlin_000000_000019")
    files = write_submission(RedIsTheClass(), [sample], tmp_path / "out" / "test", progress=False)
    assert [file.name for file in files] == ["berlin_000000_000019_labelIds.png"]
    with Image.open(files[0]) as image:
        assert image.mode == "L"
        assert image.size == (19, 2)
        np.testing.assert_array_equal(np.asarray(image)[0], LABEL_IDS)
    with zipfile.ZipFile(tmp_path / "out" / "test.zip") as archive:
        assert archive.namelist() == ["berlin_000000_000019_labelIds.png"]
        assert archive.read(archive.namelist()[0]) == files[0].read_bytes()


def test_errors(tmp_path):
    with pytest.raises(UserError, match="CITY_SSSSSS_FFFFFF"):
        write_submission(RedIsTheClass(), [make_sample(tmp_path, "photo")], tmp_path / "out", progress=False)
    predictor = RedIsTheClass()
    predictor.num_classes = 21
    with pytest.raises(UserError, match="19 classes"):
        write_submission(predictor, [], tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()

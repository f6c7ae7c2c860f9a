"""One rule for listing images: hidden ones left out, links followed, each real folder once, outputs no inputs."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from acfnet_tf.errors import DataError
from acfnet_tf.paths import find_images, list_images, spelt, subfolders


def files(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def listed(folder: Path, output: Path | None = None) -> list[str]:
    return [file.relative_to(folder).as_posix() for file in find_images(folder, output)]


def test_what_is_hidden_or_no_image_is_left_out(tmp_path: Path) -> None:
    hidden = ("._17.jpg", ".DS_Store", ".ipynb_checkpoints/17.jpg", "@eaDir/17.jpg/SYNOPHOTO_THUMB_M.jpg")
    hidden += ("__MACOSX/._17.jpg", "$RECYCLE.BIN/a.png", "lost+found/a.png", "b/System Volume Information/x.png")
    files(tmp_path, "b/17.JPG", "a.TIFF", "b.png/c.webp", "notes.txt", *hidden)
    os.mkfifo(tmp_path / "pipe.png")  # reading it would never end
    assert listed(tmp_path) == ["a.TIFF", "b/17.JPG", "b.png/c.webp"]
    assert [folder.name for folder in subfolders(tmp_path)] == ["b", "b.png"]


def test_a_hidden_folder_that_is_named_is_read(tmp_path: Path) -> None:
    assert listed(files(tmp_path / ".photos", "a.png")) == ["a.png"]


def test_links_are_followed_and_each_real_folder_is_listed_once(tmp_path: Path) -> None:
    folder = files(tmp_path / "in", "b/1.png", "c/2.png")
    files(tmp_path / "far", "3.png", "deep/4.png")
    files(tmp_path / "masks", "6.png")
    for link, target in {
        "loop": ".", "up": "..", "a": "b", "c/back": "../b", "far": "../far", "far2": "../far/deep", "self": "self",
    }.items():  # fmt: skip
        (folder / link).symlink_to(target)
    (folder / "5.png").symlink_to(tmp_path / "far/3.png")
    (folder / "gone.png").symlink_to("nowhere")  # listed, so that somebody is told
    # The parent folder, to which "up" leads, holds masks too, and whatever else.
    assert listed(folder) == ["5.png", "b/1.png", "c/2.png", "far/3.png", "far/deep/4.png", "gone.png"]


@pytest.mark.parametrize("output", [".", "..", "../..", "../beside", "../../in2"])
def test_an_output_above_or_beside_the_input_leaves_all_in(tmp_path: Path, output: str) -> None:
    folder = files(tmp_path / "a/in", "1.png", "sub/2.png")
    if output == ".":
        with pytest.raises(DataError, match="own folder"):
            find_images(folder, folder / output)
    else:
        assert listed(folder, folder / output) == ["1.png", "sub/2.png"]


def test_what_lies_in_an_output_below_the_input_is_no_input(tmp_path: Path) -> None:
    files(tmp_path, "1.png", "out/1.png", "out/sub/1.png", "output/2.png")
    (tmp_path / "link").symlink_to("out/sub")
    assert listed(tmp_path, tmp_path / "out") == ["1.png", "output/2.png"]


def test_a_folder_that_cannot_be_read_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def scandir(folder: Path) -> None:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(DataError, match=r"cannot be read \(Permission denied\)"):
        list_images(tmp_path)


def test_a_path_is_found_in_either_spelling(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "zürich/é.png") for form in ("NFC", "NFD"))
    files(tmp_path, decomposed)
    assert spelt(tmp_path / composed) == spelt(tmp_path / decomposed) == tmp_path / decomposed
    for absent in ("zürich/è.png", "ä/b/c.png", "plain.png"):
        assert not spelt(tmp_path / absent).exists()

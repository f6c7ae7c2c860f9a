"""Files are there whole or not at all, whatever their names, and what cannot be written is one line."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from pathlib import Path

import pytest

from acfnet_tf.errors import UserError
from acfnet_tf.files import as_utf_8, replaced, write_atomically, write_errors, writing
from acfnet_tf.paths import check_writable, folder_beside


@pytest.mark.parametrize("name", ["a.json", "n" * 255, "n" * 251 + ".png", "é" * 127, os.fsdecode(b"\xff" * 255)])
def test_any_name_that_the_system_takes(tmp_path: Path, name: str) -> None:
    write_atomically(tmp_path / "new" / name, "text")
    assert os.listdir(tmp_path / "new") == [name] and (tmp_path / "new" / name).read_text(encoding="utf-8") == "text"


def test_two_files_with_a_long_beginning_in_common_do_not_meet(tmp_path: Path) -> None:
    with replaced(tmp_path / ("x" * 200 + "1")) as one, replaced(tmp_path / ("x" * 200 + "2")) as other:
        assert one != other
        one.touch()
        other.touch()


def test_bytes_that_are_no_utf_8_survive_in_json(tmp_path: Path) -> None:
    name = os.fsdecode(b"l\xff.png")
    write_atomically(tmp_path / "a.json", json.dumps([name], ensure_ascii=False))
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == [name]
    assert as_utf_8(name) == "l\\udcff.png" and as_utf_8("道.png") == "道.png"


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("file/a.md", "file: a file stands where a folder must be"),
        ("file/sub/a.md", "file/sub: a file stands where a folder must be"),
        ("n" * 256, "n: File name too long"),
        ("folder", "folder: Is a directory"),
    ],
)
def test_what_cannot_be_written_is_one_line_and_leaves_nothing(tmp_path: Path, target: str, says: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError) as error:
        write_atomically(tmp_path / target, "text")
    assert str(error.value).startswith(f"cannot write {tmp_path}") and str(error.value).endswith(says)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_a_full_disk_keeps_what_was_there(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    write_atomically(file, "old")
    with pytest.raises(UserError, match=r"cannot write .*/a.json: No space left"), write_errors(file), replaced(file):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert file.read_text(encoding="utf-8") == "old" and os.listdir(tmp_path) == ["a.json"]


def test_a_reader_that_is_gone_is_no_matter_of_files() -> None:
    with pytest.raises(BrokenPipeError), write_errors("a"):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


def test_a_folder_is_checked_without_being_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_writable(tmp_path / "a/b") == tmp_path / "a/b" and not os.listdir(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write .*file: a file stands where a folder must be"):
        check_writable(tmp_path / "file/sub")
    with pytest.raises(UserError, match="cannot write /proc"):
        check_writable(Path("/proc/nobody/writes/here"))
    with pytest.raises(UserError, match=r"cannot write .*nnn/sub: File name too long"):
        check_writable(tmp_path / ("n" * 300) / "sub")


def test_what_was_there_stays_when_writing_fails(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("old")

    def write() -> None:
        with writing(file) as partial:
            partial.write_text("new")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(partial))

    with pytest.raises(UserError, match=r"cannot write .*/a: No space left"):
        write()
    assert file.read_text() == "old" and list(tmp_path.iterdir()) == [file]


def test_of_a_folder_beside_its_place_only_what_is_moved_stays(tmp_path: Path) -> None:
    target = tmp_path / "above" / ("m" * 255)
    with folder_beside(target) as folder:
        assert folder.stat().st_mode & 0o077  # as of any new folder, not for its owner only
        (folder / "a").write_text("a")
        os.replace(folder, target)
    with contextlib.suppress(ZeroDivisionError), folder_beside(target) as folder:
        (folder / "b").write_text("b")
        raise ZeroDivisionError
    assert list(target.parent.iterdir()) == [target] and os.listdir(target) == ["a"]

"""Tables of pairs, and what is said of those that are wrong."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from acfnet_tf.data.reading import load_sample
from acfnet_tf.importers.folder import open_folder
from acfnet_tf.importers.pairs import pair_folders, read_table
from tests.importers.user_folder import CONFIG, INDEX_MASK, message, names, picture, write_pairs


def write_table(root: Path, text: str, name: str = "pairs.csv") -> Path:
    root.mkdir(exist_ok=True)
    (root / name).write_text(text, encoding="utf-8-sig")
    return root / name


def test_table_of_pairs(tmp_path: Path) -> None:
    write_pairs(tmp_path / "x", tmp_path / "y", ["1", "2", "3"])
    far = picture(tmp_path / "far/4.jpg")
    root = tmp_path / "root"
    lines = "image, mask ,split\n../x/1.jpg,../y/1.png,train\n\n../x/2.jpg,../y/2.png,validation\n"
    table = write_table(root, f"{lines}{far},,test\n")
    for path in (root, table):
        source = open_folder(CONFIG, str(path))
        assert source.name == f"table {table}" and source.cache_dir == root
        assert [len(names(source, split)) for split in ("train", "val", "trainval", "test")] == [1, 1, 2, 1]
        image, label = load_sample(source.list_samples("train")[0], source.classes)
        assert image.shape == (2, 2, 3) and label.tolist() == INDEX_MASK.tolist()
        (sample,) = source.list_samples("test")
        assert sample.label is None and sample.image == str(far) and sample.name == str(far)[1:-4]


def test_table_without_splits(tmp_path: Path) -> None:
    write_pairs(tmp_path / "x", tmp_path / "y", map(str, range(30)))
    rows = "".join(f"x/{index}.jpg,y/{index}.png\n" for index in range(30))
    source = open_folder(CONFIG, str(write_table(tmp_path, f"image,mask\n{rows}", "mine.CSV")))
    assert len(names(source, "train")) + len(names(source, "val")) == 30 and names(source, "val")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "its first line must be image,mask or image,mask,split"),
        ("x/1.jpg,y/1.png\n", "its first line must be image,mask or image,mask,split; it is 'x/1.jpg,y/1.png'"),
        ("image,mask\n", "no images in it"),
        ("image,mask\nx/1.jpg,y/1.png\nx/7.jpg,y/1.png\n", "pairs.csv, line 3: "),
        ("image,mask\nx/1.jpg,y/7.png\n", "7.png is not there"),
        (
            "image,mask\nx/1.jpg,y/1.png\nx/../x/1.jpg,y/1.png\n",
            "line 3: there is an image of the same name, x/1, in line 2",
        ),
        ("image,mask\nx/1.jpg,\n", "line 2: x/1.jpg has no mask"),
        ("image,mask,split\nx/1.jpg,y/1.png,\n", "line 2: must be image,mask,split"),
        ("image,mask\nx/1.jpg,y/1.png,train\n", "line 2: must be image,mask"),
        ("image,mask,split\nx/1.jpg,y/1.png,val\nx/2.jpg,y/2.png,valid\n", "val is there twice, once as valid"),
    ],
)
def test_wrong_tables(tmp_path: Path, text: str, says: str) -> None:
    write_pairs(tmp_path / "x", tmp_path / "y", ["1", "2"])
    table = write_table(tmp_path, text)
    said = message(tmp_path, "trainval")
    assert says in said and str(tmp_path) in said
    assert said == message(table, "trainval")


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_names_that_look_alike_are_the_same(tmp_path: Path, form: str) -> None:
    """As when images come from macOS, and masks from elsewhere."""
    images, masks, other = (unicodedata.normalize(each, "é/17é") for each in (form, "NFC", "NFD"))
    write_pairs(tmp_path / "images", tmp_path / "elsewhere", [images, "a"])
    write_pairs(tmp_path / "unused", tmp_path / "masks", [masks, "a"])
    pairs = pair_folders(tmp_path / "images", tmp_path / "masks")
    assert [(sample.name, bool(sample.label)) for sample in pairs.samples] == [("a", True), (masks, True)]
    assert not pairs.problem and not pairs.spare
    table = write_table(tmp_path, f"image,mask\nimages/{other}.jpg,masks/{other}.png\n")
    (sample,) = read_table(table)[""].samples
    assert sample == pairs.samples[1]._replace(name=f"images/{masks}")


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_tables_of_any_system(tmp_path: Path, mark: bytes, end: str) -> None:
    write_pairs(tmp_path / "x", tmp_path / "y", ["é", "2"])
    text = end.join(["image,mask", "x/é.jpg,y/é.png", "x/2.jpg,y/2.png", ""])
    (tmp_path / "pairs.csv").write_bytes(mark + text.encode())
    assert len(names(open_folder(CONFIG, str(tmp_path)), "trainval")) == 2


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "latin-1"])
def test_tables_in_another_encoding_are_refused_in_one_line(tmp_path: Path, encoding: str) -> None:
    write_pairs(tmp_path / "x", tmp_path / "y", ["é"])
    (tmp_path / "pairs.csv").write_bytes("image,mask\nx/é.jpg,y/é.png\n".encode(encoding))
    said = message(tmp_path)
    assert said.startswith(f"{tmp_path / 'pairs.csv'}: not a text file in UTF-8") and said.endswith("Save it in UTF-8.")
    assert ("UTF-16" in said) == encoding.startswith("utf-16")

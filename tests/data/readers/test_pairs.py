"""Tables of pairs, and what is said of those that are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from acfnet_tf.data.readers.folder import open_folder
from acfnet_tf.data.reading import load_sample
from tests.data.readers.user_folder import CONFIG, INDEX_MASK, message, names, picture, write_pairs


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

"""Class files in all their forms, and what the user is told of those that are wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acfnet_tf.config import DataConfig
from acfnet_tf.data.classes import IGNORED, ClassSet, pack_color
from acfnet_tf.errors import DataError
from acfnet_tf.importers.class_file import FILE_NAMES, Coding, find_class_file, parse_class_file
from acfnet_tf.importers.class_search import find_classes
from acfnet_tf.importers.colors import default_colors
from acfnet_tf.importers.presets import PRESETS

COLORS = st.tuples(*[st.integers(0, 255)] * 3)


def read_class_file(path: str | Path, coding: Coding | None = None) -> ClassSet:
    return parse_class_file(path).classes(coding)


@st.composite
def class_sets(draw: st.DrawFn) -> ClassSet:
    coding = draw(st.sampled_from(["index", "color"]))
    names = draw(st.lists(st.text(min_size=1).filter(str.strip), min_size=2, max_size=6, unique=True))
    colors = draw(st.lists(COLORS, min_size=len(names), max_size=len(names)))
    largest = 2**16 if coding == "index" else 2**24
    values = draw(st.dictionaries(st.integers(0, largest - 1), st.integers(IGNORED, len(names) - 1), max_size=12))
    return ClassSet(tuple(names), tuple(colors), values, coding)


@settings(deadline=None)
@given(class_sets())
def test_what_to_json_writes_reads_back(tmp_path_factory: pytest.TempPathFactory, classes: ClassSet) -> None:
    file = tmp_path_factory.getbasetemp() / "written.json"
    file.write_text(classes.to_json(), encoding="utf-8")
    assert read_class_file(file) == ClassSet.from_json(classes.to_json()) == classes
    file = file.with_suffix(".yaml")
    file.write_text(classes.to_json(), encoding="utf-8")
    assert parse_class_file(file).coding == classes.coding


@pytest.mark.parametrize("name", PRESETS)
def test_presets_read_back(tmp_path: Path, name: str) -> None:
    file = tmp_path / "classes.json"
    file.write_text(PRESETS[name].to_json())
    assert read_class_file(file) == PRESETS[name]


def write(folder: Path, name: str, content: str | list | dict) -> Path:
    file = folder / name
    file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return file


PLAIN = ClassSet(("road", "traffic light"), default_colors(2), {0: 0, 1: 1})
RED_BLUE = ((255, 0, 0), (0, 0, 255))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("c.txt", "\ufeffroad\r\n\r\n# a comment\r\ntraffic light\r\n"),
        ("c.names", "road\ntraffic light"),
        ("c.json", ["road", "traffic light"]),
        ("c.json", {"classes": [{"name": "road"}, "traffic light"]}),
        ("c.json", [{"name": "traffic light", "id": 1}, {"name": "road", "id": 0}]),
        ("c.yaml", "- road\n- traffic light\n"),
        ("c.YML", "classes:\n  - name: road\n  - {name: traffic light, ids: [1]}\n"),
    ],
)
def test_names_alone(tmp_path: Path, name: str, content: str | list) -> None:
    classes = read_class_file(write(tmp_path, name, content))
    assert sorted(classes.names) == sorted(PLAIN.names)
    assert {value: classes.names[label] for value, label in classes.values.items()} == {0: "road", 1: "traffic light"}
    assert classes.coding == "index" and classes.colors == PLAIN.colors


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("class_dict.csv", "\ufeffname,r,g,b\r\nroad,255,0,0\r\ntraffic light,0,0,255\r\n"),
        ("class_dict.csv", '"Name", "R", "G", "B"\n"road", 255, 0, 0\n"traffic light", 0, 0, 255'),
        ("class_dict.csv", "r;g;b;class\n255;0;0;road\n0;0;255;traffic light"),
        ("c.csv", "id,label,color,remark\n0,road,#ff0000,\n1,traffic light,#0000ff,lamps"),
        ("c.csv", "road,255,0,0\ntraffic light,0,0,255"),
        ("c.txt", "name r g b\nroad 255 0 0\ntraffic light 0 0 255"),
        ("label_colors.txt", "255 0 0\troad\n0 0 255\ttraffic light"),
        ("c.txt", "0 road 255 0 0\n1 traffic light 0 0 255"),
        ("labelmap.txt", "label:color_rgb:parts:actions\nroad:255,0,0::\ntraffic light:0,0,255::"),
        ("c.txt", "road 255 0 0\ntraffic light\t0 0 255"),
        ("c.txt", "road, 255,0,0\ntraffic light 0, 0, 255"),
        ("labelmap.txt", "# label:color_rgb:parts:actions\nroad:255,0,0::\ntraffic light:0,0,255:lamp,pole:on"),
        ("c.json", [{"name": "road", "color": [255, 0, 0]}, {"name": "traffic light", "color": "#0000fF"}]),
        ("c.yml", "- {name: road, color: '#ff0000'}\n- {name: traffic light, color: [0, 0, 255]}"),
    ],
)
def test_colours_are_for_pictures_or_what_masks_store(tmp_path: Path, name: str, content: str | list) -> None:
    file = write(tmp_path, name, content)
    assert read_class_file(file) == ClassSet(PLAIN.names, RED_BLUE, {0: 0, 1: 1})
    values = {pack_color(color): index for index, color in enumerate(RED_BLUE)}
    assert read_class_file(file, "color") == ClassSet(PLAIN.names, RED_BLUE, values, "color")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("_classes.csv", "Pixel Value, Class\n0, road\n3, traffic light"),
        ("_classes.csv", "\ufeffpixel value,class\r\n3,traffic light\r\n0,road\r\n"),
        ("_classes.csv", 'Class,"Pixel Value"\n"road",0\n"traffic light",3\n\n'),
        ("c.csv", "label,name\n0,road\n3,traffic light"),
        ("objectInfo.csv", "Idx,Ratio,Train,Name\n0,0.1576,11664,road\n3,0.1,6046,traffic light"),
        ("c.txt", "0: road\n3: traffic light"),
        ("c.txt", "3 traffic light\n0 road"),
        ("c.txt", "0 -> road\n3 -> traffic light"),
        ("c.txt", "0|road\n3|traffic light"),
        ("c.txt", "0 - road\n3 - traffic light"),
        ("c.txt", "road => 0\ntraffic light => 3"),
        ("c.txt", "road,0\ntraffic light,3"),
        ("c.txt", "road 0\ntraffic light 3"),
    ],
)
def test_numbers_that_a_list_gives_count(tmp_path: Path, name: str, content: str) -> None:
    classes = read_class_file(write(tmp_path, name, content))
    assert {value: classes.names[label] for value, label in classes.values.items()} == {0: "road", 3: "traffic light"}


def test_names_that_look_like_something_else(tmp_path: Path) -> None:
    """Those of labelme, of ADE20K, of our own classes without names, and such as begin with a number."""
    for lines, names in (
        ("__ignore__\n_background_\ncar", ("_background_", "car")),
        ("wall\ntelevision, television set, tv, idiot box", ("wall", "television, television set, tv, idiot box")),
        ("class 1\nclass 2", ("class 1", "class 2")),
        ("car\n3 wheeler", ("car", "3 wheeler")),
        ("3-wheeler\n4-wheeler", ("3-wheeler", "4-wheeler")),
    ):
        classes = read_class_file(write(tmp_path, "labels.txt", lines))
        assert classes.names == names and classes.values == {0: 0, 1: 1}
    (tmp_path / "c.txt").write_bytes(b"\xef\xbb\xbf" + "Straße\r\nHimmel".encode())
    assert read_class_file(tmp_path / "c.txt").names == ("Straße", "Himmel")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("c.csv", "foo,bar\n0,road\n1,sky", "'foo,bar', is no header that is known, and not NUMBER NAME as the others"),
        ("c.csv", "image,mask\na.png,b.png\nc.png,d.png", "'image,mask'"),
        ("c.csv", "name,weight\nroad,heavy\nsky,light", "no header that is known: 'name,weight'"),
        ("c.csv", "name,r,g,b\nroad,1,2\nsky,4,5,6", "'road,1,2' does not have the 4 columns"),
        ("c.csv", "name,id\nroad,1\nsky,two", "'two' is not a whole number"),
        ("c.csv", "name,id\n", "classes is 0"),
        ("c.txt", "label\nroad\nsky", "'label', is a header or a class"),
        ("c.txt", "names:\nroad\nsky", "'names:', is a header or a class"),
        ("c.txt", "Name of class\nroad\nsky", "'Name of class', is a header or a class"),
        ("c.txt", "List of all classes:\nroad\nsky", "is a header or a class"),
        ("c.txt", "0\n1\n2", "numbers only"),
        ("c.txt", "3\nroad\ncar\nsky", "'3' is a number, other names are none"),
        ("c.txt", "road,\nsky,", "'road,' is no name"),
        ("c.txt", "| 0 | road |\n| 1 | sky |", "is no name"),
        ("c.txt", "3 classes\nroad\ncar\nsky", "'3 classes', is a header or a class"),
        ("c.txt", "Number of classes: 2\nroad\nsky", "is a header or a class"),
        ("c.txt", "2007_000032 1\n2007_000039 -1", "'2007_000032 1' is no name"),
        ("c.txt", "2007_000032\n2007_000039", "'2007_000032' is no name"),
        ("c.txt", "a.png\nb.png", "'a.png' is no name"),
        ("c.txt", "/JPEGImages/a /Masks/a\n/JPEGImages/b /Masks/b", "is no name"),
        ("README", "Roads\n=====\nThis data set shows roads.", "'=====' is no name"),
        ("README", "This data set shows roads.\nIt is free to use.", "is no name"),
        ("c.txt", "<!DOCTYPE html>\n<html>\n404", "'<!DOCTYPE html>' is no name"),
        ("c.txt", '[\n"road",\n"sky"\n]', "'[' is no name"),
        ("c.txt", "road\x00\nsky", "not a text file"),
    ],
)
def test_what_is_no_list_of_classes_is_refused(tmp_path: Path, name: str, content: str, says: str) -> None:
    file = write(tmp_path, name, content)
    with pytest.raises(DataError) as caught:
        read_class_file(file)
    assert str(caught.value).startswith(f"{file}: ") and says in str(caught.value) and "\n" not in str(caught.value)


def test_a_class_may_have_several_values(tmp_path: Path) -> None:
    file = write(tmp_path, "c.json", [{"name": "road", "ids": [7, 9]}, {"name": "sky", "id": 300}])
    assert read_class_file(file).values == {7: 0, 9: 0, 300: 1}
    entries = [{"name": "a", "ids": ["#000001", [0, 0, 2]]}, {"name": "b", "id": [0, 0, 3], "color": [9, 9, 9]}]
    classes = read_class_file(write(tmp_path, "c.json", {"masks": "color", "ignore": [[0, 0, 0]], "classes": entries}))
    assert classes.values == {1: 0, 2: 0, 3: 1, 0: IGNORED} and classes.colors == ((0, 0, 1), (9, 9, 9))


def test_the_argument_wins_over_what_the_file_says_of_masks(tmp_path: Path) -> None:
    entries = [{"name": "a", "color": [1, 0, 0]}, {"name": "b", "color": [0, 1, 0]}]
    file = write(tmp_path, "c.json", {"masks": "color", "classes": entries})
    assert parse_class_file(file).coding == read_class_file(file).coding == "color"
    assert read_class_file(file, "index").coding == "index"
    assert parse_class_file(write(tmp_path, "c.txt", "a\nb")).coding is None


def with_ignored(file: Path, *values: int) -> ClassSet:
    return find_classes(DataConfig(classes=str(file), ignore=values), file.parent)[0]


def test_ignored_numbers(tmp_path: Path) -> None:
    file = write(tmp_path, "c.json", {"ignore": [254], "classes": ["a", "b"]})
    assert with_ignored(file, 255, 1).values == {0: 0, 1: 1, 254: IGNORED, 255: IGNORED}
    many = write(tmp_path, "many.txt", "\n".join(f"class {index}" for index in range(300)))
    assert with_ignored(many, 255).values[255] == 255
    colored = write(
        tmp_path,
        "colored.json",
        {"masks": "color", "classes": [{"name": n, "color": c} for n, c in zip("ab", RED_BLUE, strict=True)]},
    )
    assert len(with_ignored(colored, 255).values) == 2


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("c.txt", "", "classes is 0"),
        ("c.json", [], "classes is 0"),
        ("c.yaml", "", "classes is 0"),
        ("c.txt", "road", "classes is 1, it must be 2 to 65534"),
        ("c.txt", "\n".join(map(str, range(65_535))), "classes is 65535"),
        ("c.txt", "road\nsky\nroad", "two classes have the name 'road'"),
        ("c.txt", "road 1 2 3\nsky 1 2 300", "class 1 ('sky'): [1, 2, 300] is no colour"),
        ("c.json", [{"name": "a", "id": 4}, {"name": "b", "ids": [3, 4]}], "the value 4 is both 'a' and 'b'"),
        ("c.json", [{"name": "a", "id": 1}, "b"], "the value 1 is both 'a' and 'b'"),
        ("c.json", {"ignore": [1], "classes": ["a", "b"]}, "the value 1 is both ignored and 'b'"),
        ("c.json", [{"name": "a", "id": 65_536}, "b"], "65536 can be in no index mask"),
        ("c.json", [{"name": "a", "id": -1}, "b"], "-1 can be in no index mask"),
        ("c.json", [{"name": "a", "id": True}, "b"], "True can be in no index mask"),
        ("c.json", [{"name": "a", "id": 1, "ids": [2]}, "b"], "give one of them"),
        (
            "c.json",
            [{"name": "a", "colour": [1, 2, 3]}, "b"],
            "'colour' is no key here, known are name, color, id, ids",
        ),
        ("c.json", [{"color": [1, 2, 3]}, "b"], "class 0 has the name None"),
        ("c.yaml", "- yes\n- b", "class 0 has the name True, a name must be text (in YAML put it in quotes)"),
        ("c.yaml", "- {name: a}\n- name: b\n  color: #ff0000", "None is no colour"),
        ("c.yaml", "a: [b", "line 1, column"),
        ("c.json", '["a", "b"', "line 1 column"),
        ("c.json", {"classes": "a, b"}, "expected is a list of classes"),
        ("c.json", {"0": "a", "1": "b"}, "'0' is no key here"),
        ("c.json", {"masks": "colour", "classes": ["a", "b"]}, 'it must be "index" or "color"'),
        ("c.json", {"masks": "color", "classes": ["a", "b"]}, "class 0 ('a'): has no colour"),
        ("c.json", {"masks": "color", "classes": [{"name": "a", "id": 3}, "b"]}, "3 is no colour"),
        ("c.txt", "a 1 2 3\nb 1 2 3", None),
    ],
)
def test_mistakes_are_told_in_one_line(tmp_path: Path, name: str, content: str | list, says: str | None) -> None:
    file = write(tmp_path, name, content)
    with pytest.raises(DataError) as caught:
        read_class_file(file, None if says else "color")
    text = str(caught.value)
    assert text.startswith(f"{file}: ") and "\n" not in text
    assert (says or "the colour (1, 2, 3) is both 'a' and 'b'") in text


def test_not_text_and_not_there(tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_bytes(b"\x89PNG\xff")
    with pytest.raises(DataError, match=r"c\.txt: not a text file"):
        read_class_file(tmp_path / "c.txt")
    with pytest.raises(DataError, match=r"none\.txt: cannot be read"):
        read_class_file(tmp_path / "none.txt")


@pytest.mark.parametrize("name", [name for name in FILE_NAMES if "/" not in name])
def test_is_found_in_a_folder(tmp_path: Path, name: str) -> None:
    assert find_class_file(tmp_path) is None
    assert find_class_file(write(tmp_path, name, "a").parent) == tmp_path / name

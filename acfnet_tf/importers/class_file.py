"""Reads the file in which a user names the classes of a data set. `docs/data.md` shows its forms."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import yaml

from acfnet_tf.data.cityscapes import CITYSCAPES
from acfnet_tf.data.classes import IGNORED, MAX_CLASSES, ClassSet, default_colors, pack_color, unpack_color
from acfnet_tf.data.sample import read_text
from acfnet_tf.errors import DataError
from acfnet_tf.importers.ade20k_classes import ADE20K
from acfnet_tf.importers.class_list import read_list
from acfnet_tf.importers.voc_classes import VOC

Coding = Literal["index", "color"]
Color = tuple[int, int, int]

PRESETS = {"cityscapes": CITYSCAPES, "ade20k": ADE20K, "voc": VOC}
"""Classes of well-known data sets, in the masks that these come with; Cityscapes' are labelIds."""

FILE_NAMES = (
    "classes.txt", "classes.json", "classes.yaml", "classes.yml",
    "labelmap.txt", "class_dict.csv", "labels.txt", "class_names.txt", "_classes.csv", "train/_classes.csv",
)  # fmt: skip
"""Found in a data folder without being asked for; those of the second line as other tools call them."""


def find_class_file(folder: Path) -> Path | None:
    """The class file that lies in a data folder, if there is one."""
    return next((folder / name for name in FILE_NAMES if (folder / name).is_file()), None)


def with_ignored(classes: ClassSet, ignore: Sequence[int]) -> ClassSet:
    """The same classes where masks may store these numbers, too: ignored, unless they are a class. Not for colours.

    Raises:
        DataError: a number that no mask can store.
    """
    if classes.coding == "color":
        return classes
    for value in ignore:
        if not _is_whole(value, 65_535):
            raise DataError(f"data.ignore: {value} can be in no mask. Give numbers of 0–65535.")
    return dataclasses.replace(classes, values={**dict.fromkeys(ignore, IGNORED), **classes.values})


def declared_coding(path: str | Path) -> Coding | None:
    """What the file itself says of the masks ("masks" in JSON and YAML); None where it says nothing.

    Raises:
        DataError: not a class file.
    """
    return _parse(Path(path))["masks"]


def read_class_file(path: str | Path, coding: Coding | None = None, ignore: Sequence[int] = ()) -> ClassSet:
    """Reads a class file: a list of names as text, JSON or YAML (by its suffix), or what `ClassSet.to_json` writes.

    Args:
        path: .json, .yaml or .yml; anything else is text, one class a line, or a table.
        coding: what masks store. None: as the file says, or else "index".
        ignore: numbers that index masks may store besides, as `with_ignored` takes them.

    Raises:
        DataError: the file cannot be read or contradicts itself. One line, with the file.
    """
    parsed = _parse(Path(path))
    try:
        classes = _class_set(parsed["classes"], parsed["ignore"], coding or parsed["masks"] or "index")
    except ValueError as error:
        raise DataError(f"{path}: {error}.") from error
    return with_ignored(classes, ignore)


def _parse(path: Path) -> dict[str, Any]:
    """The file as {"classes": [{"name": …}, …], "masks": …, "ignore": …}; the classes are not yet checked."""
    text = read_text(path)
    try:
        if path.suffix.lower() == ".json":
            tree = json.loads(text)
        elif path.suffix.lower() in (".yaml", ".yml"):
            tree = yaml.safe_load(text)
        else:
            tree = read_list(text, is_table=path.suffix.lower() in (".csv", ".tsv"))
        if not isinstance(tree, dict):
            tree = {"classes": tree or []}
        _check_keys(tree, ("classes", "masks", "ignore"))
        if not isinstance(tree.get("classes"), list):
            raise ValueError('expected is a list of classes, or {"classes": [...]}')
        if tree.get("masks") not in (None, "index", "color"):
            raise ValueError(f'"masks" is {tree["masks"]!r}, it must be "index" or "color"')
    except (ValueError, csv.Error, yaml.YAMLError, RecursionError) as error:
        raise DataError(f"{path}: {' '.join(str(error).split())}.") from error
    classes = [entry if isinstance(entry, dict) else {"name": entry} for entry in tree["classes"]]
    return {"classes": classes, "masks": tree.get("masks"), "ignore": tree.get("ignore", [])}


def _class_set(entries: list[dict[str, Any]], ignore: Any, coding: Coding) -> ClassSet:
    """Raises ValueError where the classes contradict each other, or are not such as `coding` wants them."""
    if not 2 <= len(entries) <= MAX_CLASSES:
        raise ValueError(f"the number of its classes is {len(entries)}, it must be 2 to {MAX_CLASSES}")
    names, colors, values = {}, [], {}
    for index, (entry, color) in enumerate(zip(entries, default_colors(len(entries)), strict=True)):
        name = entry.get("name")
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"class {index} has the name {name!r}, a name must be text (in YAML put it in quotes)")
        if name in names:
            raise ValueError(f"two classes have the name {name!r}")
        try:
            color, owned = _color_and_values(entry, index, color, coding)
        except ValueError as error:
            raise ValueError(f"class {index} ({name!r}): {error}") from error
        for value in owned:
            if values.setdefault(value, index) != index:
                raise ValueError(f"{_shown(value, coding)} is both {entries[values[value]]['name']!r} and {name!r}")
        names[name] = index
        colors.append(color)
    for value in _values(ignore, coding):
        if values.setdefault(value, IGNORED) != IGNORED:
            raise ValueError(f"{_shown(value, coding)} is both ignored and {entries[values[value]]['name']!r}")
    return ClassSet(tuple(names), tuple(colors), values, coding)


def _color_and_values(entry: dict[str, Any], index: int, color: Color, coding: Coding) -> tuple[Color, list[int]]:
    """The colour of a class, `color` where it has none of its own, and what masks store for it."""
    _check_keys(entry, ("name", "color", "id", "ids"))
    if "id" in entry and "ids" in entry:
        raise ValueError('it has "id" and "ids", give one of them')
    ids = entry.get("ids", entry.get("id"))
    if "color" in entry:
        color = _color(entry["color"])
    by_color = coding == "color" and "color" in entry and isinstance(ids, int)  # tables have both, for either coding
    if ids is not None and not by_color:
        owned = _values(ids, coding)
        if coding == "color" and "color" not in entry and owned:
            color = unpack_color(owned[0])
        return color, owned
    if coding == "color" and "color" not in entry:
        raise ValueError("has no colour, and in colour masks every class needs one")
    return color, [pack_color(color) if coding == "color" else index]


def _values(given: Any, coding: Coding) -> list[int]:
    """One or several numbers, or colours, as a mask stores them."""
    if coding == "color":
        single = not isinstance(given, list) or bool(given and isinstance(given[0], int))
        return [pack_color(_color(color)) for color in ([given] if single else given)]
    numbers = given if isinstance(given, list) else [given]
    for number in numbers:
        if not _is_whole(number, 65_535):
            raise ValueError(f"{number!r} can be in no index mask, give numbers of 0–65535 (or set data.masks=color)")
    return numbers


def _color(given: Any) -> Color:
    if isinstance(given, str) and re.fullmatch("#[0-9a-fA-F]{6}", given):
        return tuple(bytes.fromhex(given[1:]))
    if isinstance(given, list) and len(given) == 3 and all(_is_whole(part, 255) for part in given):
        return tuple(given)
    raise ValueError(f'{given!r} is no colour, give [red, green, blue] of 0–255 or "#rrggbb" in quotes')


def _is_whole(value: Any, largest: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= largest


def _shown(value: int, coding: Coding) -> str:
    return f"the value {value}" if coding == "index" else f"the colour {unpack_color(value)}"


def _check_keys(given: dict[str, Any], known: Sequence[str]) -> None:
    for key in given:
        if key not in known:
            raise ValueError(f"{key!r} is no key here, known are {', '.join(known)}")

"""Reads the file in which a user names the classes of a data set. `docs/data.md` shows its forms."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml

from acfnet_tf.data.classes import IGNORED, ClassSet, pack_color, unpack_color
from acfnet_tf.data.sample import read_text
from acfnet_tf.errors import DataError
from acfnet_tf.heads import MAX_CLASSES
from acfnet_tf.importers.class_list import read_list
from acfnet_tf.importers.colors import default_colors

Coding = Literal["index", "color"]
Color = tuple[int, int, int]

FILE_NAMES = (
    "classes.txt", "classes.json", "classes.yaml", "classes.yml",
    "labelmap.txt", "class_dict.csv", "labels.txt", "class_names.txt", "_classes.csv", "train/_classes.csv",
)  # fmt: skip
"""Files that are looked for in a data folder; other tools write those of the second line."""


class ClassFile(NamedTuple):
    """A class file as it is written; whether its classes contradict each other is seen when they are made.

    Attributes:
        path: of the file.
        entries: of each class "name", and perhaps "color", "id" or "ids".
        coding: what the file says that masks store ("masks" in JSON and YAML); None where it says nothing.
        ignore: values of masks that it says are ignored.
    """

    path: Path
    entries: list[dict[str, Any]]
    coding: Coding | None
    ignore: Any

    def classes(self, coding: Coding | None = None) -> ClassSet:
        """The classes, in masks of this coding; by default in masks as the file says, or else of numbers.

        Raises:
            DataError: they contradict each other, or the coding. One line, with the file.
        """
        try:
            return _class_set(self.entries, self.ignore, coding or self.coding or "index")
        except ValueError as error:
            raise DataError(f"{self.path}: {error}.") from error


def find_class_file(folder: Path) -> Path | None:
    """The class file that lies in a data folder, if there is one."""
    return next((folder / name for name in FILE_NAMES if (folder / name).is_file()), None)


def parse_class_file(path: str | Path) -> ClassFile:
    """Reads a list of names as text, JSON or YAML, or what `ClassSet.to_json` writes.

    Args:
        path: .json, .yaml or .yml; anything else is text, one class a line, or a table.

    Raises:
        DataError: the file cannot be read, or is no class file. One line, with the file.
    """
    path = Path(path)
    text, suffix = read_text(path), path.suffix.lower()
    try:
        if suffix == ".json":
            tree = json.loads(text)
        elif suffix in (".yaml", ".yml"):
            tree = yaml.safe_load(text)
        else:
            tree = read_list(text, is_table=suffix in (".csv", ".tsv"))
        if not isinstance(tree, dict):
            tree = {"classes": tree or []}
        _check_keys(tree, ("classes", "masks", "ignore"))
        if not isinstance(tree.get("classes"), list):
            raise ValueError('expected is a list of classes, or {"classes": [...]}')
        if tree.get("masks") not in (None, "index", "color"):
            raise ValueError(f'"masks" is {tree["masks"]!r}, it must be "index" or "color"')
    except (ValueError, csv.Error, yaml.YAMLError, RecursionError) as error:
        raise DataError(f"{path}: {' '.join(str(error).split())}.") from error
    entries = [entry if isinstance(entry, dict) else {"name": entry} for entry in tree["classes"]]
    return ClassFile(path, entries, tree.get("masks"), tree.get("ignore", []))


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
            color, codes = _color_and_values(entry, index, color, coding)
        except ValueError as error:
            raise ValueError(f"class {index} ({name!r}): {error}") from error
        for value in codes:
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
    by_color = coding == "color" and "color" in entry and isinstance(ids, int)  # Tables have both, for either coding.
    if ids is not None and not by_color:
        codes = _values(ids, coding)
        if coding == "color" and "color" not in entry and codes:
            color = unpack_color(codes[0])
        return color, codes
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

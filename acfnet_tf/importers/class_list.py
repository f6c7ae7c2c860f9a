"""Reads text files that name classes: plain lists, and the lists and tables that other tools write.

Roboflow's _classes.csv, labelme's labels.txt, CVAT's labelmap.txt and class_dict.csv are read as they are. What may be
something else than a list of classes is refused: taken for one, it would give every class another's name.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from typing import Any

_COLUMNS = {
    "name": "name names class classes classname label labels labelname category",
    "id": "id idx index value pixel pixelvalue classid classindex labelid gray grey",
    "red": "r red",
    "green": "g green",
    "blue": "b blue",
    "color": "color colour colorrgb rgb hex",
}
"""What a column holds → headers of such columns, without spaces and signs."""
_MEANING = {header: column for column, headers in _COLUMNS.items() for header in headers.split()}
_TITLE_WORDS = {*_COLUMNS["name"].split(), "categories", "list", "number", "total", "of", "the", "all"}

_COLOR = r"(?P<color>\d+[\s,]+\d+[\s,]+\d+)"
_WITH_COLOR = re.compile(rf"(?P<name>.+?)[\s,;:]+{_COLOR}")
_FORMS = {
    "NAME:R,G,B:PARTS:ACTIONS": re.compile(r"(?P<name>.+?):(?P<color>\d+,\d+,\d+)?:[^:]*:[^:]*"),
    "R G B NAME": re.compile(rf"{_COLOR}[\s,;:]+(?P<name>[^\d\s].*)"),
    "NUMBER NAME": re.compile(r"(?P<id>\d+)(?:\s*(?:[=-]>|[,;:=.)|→])\s*|\s+[-–]\s+|\s+)(?P<name>[^\d\s].*)"),
    "NAME R G B": _WITH_COLOR,
    "NAME,NUMBER": re.compile(r"(?P<name>.*[^\d\s])\s*(?:[=-]>|[,;:=|→\t])\s*(?P<id>\d+)"),
}
"""What every line of a list without a header may be, besides a name, or a name with a colour."""

_NO_NAME = re.compile(
    r"[\W_]*|\S+(\s+\S+){3,}[.!?]|.*(://|```).*|<.*"
    r"|[,;:=|].*|.*[,;:=|]|\d{4}_\d{6}\b.*"
    r"|.*\.(png|jpe?g|tiff?|bmp|gif|webp|npy|txt|json|xml)\b.*|.*/.*/.*",
    re.IGNORECASE,
)
"""What a list of something else holds: marks, sentences, addresses and HTML; parts of a line that was to be parted, and
VOC's images; files."""


def read_list(text: str, *, is_table: bool) -> list[dict[str, Any]]:
    """The classes as {"name": …} with perhaps "id", the number in masks, and "color", (red, green, blue).

    Args:
        text: of the file. Empty lines and lines that begin with # are left out.
        is_table: the file's name is that of a table (CSV).

    Raises:
        ValueError, csv.Error: it is no list of classes.
    """
    lines = [line for line in map(str.strip, text.splitlines()) if line and not line.startswith("#")]
    if re.search(r"[\x00-\x08\x0e-\x1f\x7f]", text):
        raise ValueError("not a text file")
    if not lines:
        return []
    delimiter, columns = _header(lines[0].rstrip(":"))
    is_title = not columns and _is_title(lines[0]) and not all(map(_is_title, lines))
    if (len(columns) == 1 and not is_table) or is_title:
        raise ValueError(f"its first line, {lines[0]!r}, is a header or a class: remove it, or give the list as JSON")
    entries = _read_table(lines, delimiter, columns) if columns else _read_lines(lines, is_table)
    if entries and entries[0]["name"] == "__ignore__":  # So labelme calls what is in no class, 255 in its masks.
        del entries[0]
    for entry in entries:
        if entry["name"] and _NO_NAME.fullmatch(entry["name"]):
            raise ValueError(f"not a list of classes: {entry['name']!r} is no name of one")
    numbers = [entry["name"] for entry in entries if entry["name"].isdecimal()]
    if numbers and len(numbers) < len(entries):  # A number may say how many classes there are.
        raise ValueError(f"{numbers[0]!r} is a number, other names are none: remove it, or give the list as JSON")
    if len(numbers) == len(entries) and 2 <= len(entries) < 1000:
        raise ValueError("its names are numbers only: it is no list of classes, or give it as JSON")
    return entries


def _is_title(line: str) -> bool:
    """Whether a line is like "Names of the classes", "3 classes" or "class 1", a name where all others are like it."""
    words = {word for word in re.findall(r"\w+", line.lower()) if not word.isdecimal()}
    return bool(words) and words <= _TITLE_WORDS


def _header(line: str) -> tuple[str, list[str]]:
    """How the line parts its columns, and what they hold ("" where unknown); no columns where it is no header."""
    for delimiter in ",;\t: ":
        cells = next(csv.reader([line], delimiter=delimiter, skipinitialspace=True))
        columns = [_MEANING.get(re.sub(r"[\W_]", "", cell.lower()), "") for cell in cells]
        known = [column for column in columns if column]
        if "name" in known and len(known) >= min(2, len(cells)) and (delimiter != " " or len(known) == len(cells)):
            return delimiter, columns
    return "", []


def _read_table(lines: Sequence[str], delimiter: str, columns: list[str]) -> list[dict[str, Any]]:
    if delimiter == " ":  # Names may hold it, too.
        order = {("name", "red", "green", "blue"): "NAME R G B", ("red", "green", "blue", "name"): "R G B NAME"}
        order |= {("id", "name"): "NUMBER NAME"}
        form = order.get(tuple(columns))
        if not form or not all(map(_FORMS[form].fullmatch, lines[1:])):
            raise ValueError(f"its first line is a header, {lines[0]!r}, but the others cannot be told apart by it")
        return [_entry(_FORMS[form].fullmatch(line)) for line in lines[1:]]
    rows = [[cell.strip() for cell in row] for row in csv.reader(lines[1:], delimiter=delimiter, skipinitialspace=True)]
    for row in rows:
        if len(row) != len(columns):
            line = delimiter.join(row)
            raise ValueError(f"{line!r} does not have the {len(columns)} columns of its first line, {lines[0]!r}")
    # "class" may be the number, and "name" the name.
    named = [place for place, column in enumerate(columns) if column == "name"]
    for place in named if len(named) > 1 and "id" not in columns else ():
        if all(row[place].isdecimal() for row in rows):
            columns[place] = "id"
    if ("" in columns and not {"id", "red", "color"} & set(columns)) or columns.count("name") != 1:
        raise ValueError(f"its first line is no header that is known: {lines[0]!r}. Such are name,r,g,b and id,name")
    entries = []
    for row in rows:
        cells = dict(zip(columns, row, strict=True))
        entry: dict[str, Any] = {"name": cells["name"]}
        if "id" in cells:
            entry["id"] = _number(cells["id"])
        if {"red", "green", "blue"} <= cells.keys():
            entry["color"] = [_number(cells[part]) for part in ("red", "green", "blue")]
        elif cells.get("color"):
            entry["color"] = cells["color"] if cells["color"].startswith("#") else _numbers_in(cells["color"])
        entries.append(entry)
    return entries


def _read_lines(lines: Sequence[str], is_table: bool) -> list[dict[str, Any]]:
    for name, form in _FORMS.items():
        matches = [form.fullmatch(line) for line in lines]
        if all(matches):
            return [_entry(match) for match in matches]
        several = name != "NAME R G B" or re.search(r"[,;\t]|\s\S+\s", lines[0])
        if not matches[0] and len(lines) > 2 and all(matches[1:]) and several:
            raise ValueError(f"its first line, {lines[0]!r}, is no header that is known, and not {name} as the others")
    if is_table:
        raise ValueError(f"its first line is no header that is known: {lines[0]!r}. Such are name,r,g,b and id,name")
    matches = [re.fullmatch(r"(?P<name>.*[^\d\s])\s+(?P<id>\d+)", line) for line in lines]
    if all(matches) and len({match["name"] for match in matches}) > 1:  # "class 1" and "class 2" are names.
        return [_entry(match) for match in matches]
    return [_entry(match) if (match := _WITH_COLOR.fullmatch(line)) else {"name": line} for line in lines]


def _entry(match: re.Match[str]) -> dict[str, Any]:
    parts = match.groupdict()
    entry: dict[str, Any] = {"name": parts["name"].strip().strip('"')}
    if parts.get("id"):
        entry["id"] = int(parts["id"])
        if colored := _WITH_COLOR.fullmatch(entry["name"]):
            return _entry(colored) | {"id": entry["id"]}
    if parts.get("color"):
        entry["color"] = _numbers_in(parts["color"])
    return entry


def _numbers_in(text: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", text)]


def _number(cell: str) -> int:
    if not cell.isdecimal():
        raise ValueError(f"{cell!r} is not a whole number")
    return int(cell)

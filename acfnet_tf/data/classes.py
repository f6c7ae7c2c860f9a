"""The classes of a data set: their names and colours, and what the values in its masks mean."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from acfnet_tf.heads import ignore_label, label_dtype

IGNORED = -1
"""In `ClassSet.values`: a value whose pixels are neither learned nor evaluated."""


@dataclass(frozen=True)
class ClassSet:
    """Classes 0 … N−1.

    What a mask stores is called its *values*: numbers, or colours packed as red·65536 + green·256 + blue. What the
    network learns is called *labels*: 0 … N−1, and `ignore_label`.

    Attributes:
        names: (N,), all different.
        colors: (N,) of (red, green, blue), for pictures.
        values: what masks may store → class index, or `IGNORED`. Any other value is a fault of the mask.
        coding: "index" where masks store numbers (grey or palette pictures), "color" where they store colours.
    """

    names: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]
    values: Mapping[int, int]
    coding: Literal["index", "color"] = "index"

    def __len__(self) -> int:
        return len(self.names)

    @property
    def ignore_label(self) -> int:
        """The label of ignored pixels."""
        return ignore_label(len(self))

    @property
    def unknown_label(self) -> int:
        """What `table` gives for a value that is no class and not ignored; it is never trained on."""
        return self.ignore_label - 1

    @property
    def label_type(self) -> type[np.unsignedinteger]:
        """In which labels are stored, the two that are no class among them."""
        return label_dtype(len(self) + 2)

    @functools.cached_property
    def table(self) -> np.ndarray:
        """Value → label for every value there can be, (65536,) or (16777216,) of `label_type`."""
        table = np.full(2**16 if self.coding == "index" else 2**24, self.unknown_label, self.label_type)
        for value, label in self.values.items():
            table[value] = self.ignore_label if label == IGNORED else label
        return table

    def show_value(self, value: int) -> str:
        """A value in the form in which a user writes it: 7, or (128, 64, 0)."""
        return str(value) if self.coding == "index" else str(unpack_color(value))

    def to_json(self) -> str:
        """The set as the text of a class file, see docs/data.md."""

        def shown(value: int) -> int | list[int]:
            return value if self.coding == "index" else list(unpack_color(value))

        classes = [
            {
                "name": name,
                "color": list(color),
                "ids": [shown(v) for v, label in self.values.items() if label == index],
            }
            for index, (name, color) in enumerate(zip(self.names, self.colors, strict=True))
        ]
        ignored = [shown(value) for value, label in self.values.items() if label == IGNORED]
        lines = ",\n    ".join(json.dumps(entry) for entry in classes)
        head = f'"masks": "{self.coding}",\n  "ignore": {json.dumps(ignored)}'
        return f'{{\n  {head},\n  "classes": [\n    {lines}\n  ]\n}}\n'

    @classmethod
    def from_json(cls, text: str) -> ClassSet:
        """The inverse of `to_json`.

        Raises:
            ValueError: the text is something else.
        """
        try:
            tree = json.loads(text)
            coding = tree["masks"]
            groups = {IGNORED: tree["ignore"]} | {index: entry["ids"] for index, entry in enumerate(tree["classes"])}
            return cls(
                names=tuple(str(entry["name"]) for entry in tree["classes"]),
                colors=tuple(tuple(map(int, entry["color"])) for entry in tree["classes"]),
                values={
                    int(value) if coding == "index" else pack_color(value): label
                    for label, values in groups.items()
                    for value in values
                },
                coding={"index": "index", "color": "color"}[coding],
            )
        except (LookupError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error


def pack_color(color: tuple[int, int, int]) -> int:
    """(red, green, blue) → red·65536 + green·256 + blue."""
    return color[0] << 16 | color[1] << 8 | color[2]


def unpack_color(value: int) -> tuple[int, int, int]:
    """The inverse of `pack_color`."""
    return value >> 16, value >> 8 & 255, value & 255

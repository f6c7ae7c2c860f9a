"""Finds out which classes a data set has: from the settings, from a file that lies with it, or from its masks."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from acfnet_tf.config import DataConfig
from acfnet_tf.data.classes import IGNORED, ClassSet, pack_color, unpack_color
from acfnet_tf.data.reading import Source, read_values
from acfnet_tf.errors import DataError
from acfnet_tf.importers.class_file import Coding, find_class_file, parse_class_file
from acfnet_tf.importers.colors import default_colors
from acfnet_tf.importers.counts import all_values, count_values
from acfnet_tf.importers.mixture import find_mixture
from acfnet_tf.importers.presets import PRESETS
from acfnet_tf.settings import suggest

MOST_FOUND = 256
"""More classes than these are not believed without a class file."""

BLACK, WHITE = 0, pack_color((255, 255, 255))

SAVED_AS_RGB = "Red, green and blue are the same everywhere: class numbers that were saved as RGB. Save masks as grey."


def find_classes(
    config: DataConfig, root: Path, masks: Iterable[Source] = (), default: ClassSet | None = None
) -> tuple[ClassSet, str]:
    """The classes of `data.classes`, or else of a class file in `root`, or else `default`, or else those in the masks.

    Args:
        config: of it count `classes`, `masks`, `ignore` and `on_bad_file`.
        root: the folder of the data.
        masks: to look into where need be; else they are not even listed, if they are a generator.
        default: where the layout of the data says which classes they have.

    Returns:
        The classes, and what the user should know of how they were found, in one line; "" where there is nothing.

    Raises:
        DataError: there are no such classes, or the masks do not tell them.
    """
    file = None
    known = PRESETS.get(config.classes)
    if not known and config.classes:
        file = Path(os.path.expanduser(config.classes))
        if not file.is_file():
            hint = suggest(file.name, PRESETS)
            raise DataError(f"data.classes={config.classes}: no such file, and no preset. {hint}")
    elif not known:
        file = find_class_file(root)
        known = None if file else default
    if known and config.masks == "color":
        raise DataError("data.masks=color: these classes have numbers in masks. Give the colours (data.classes=FILE).")
    if known:
        classes, note = known, ""
    elif file:
        classes, note = _read(file, config, masks), "" if config.classes else f"The classes are from {file}."
    else:
        classes, note = _classes_in(list(masks), config, root)
    if classes.coding == "index":
        ignored = dict.fromkeys(config.ignore, IGNORED)
        classes = dataclasses.replace(classes, values={**ignored, **classes.values})
    return classes, note


def _read(path: Path, config: DataConfig, masks: Iterable[Source]) -> ClassSet:
    file = parse_class_file(path)
    if config.masks or file.coding:
        return file.classes(config.masks)
    first = next(iter(masks), None)
    coding = _coding_of(first) if first else None
    try:
        return file.classes(coding)
    except DataError as error:
        if coding != "color":
            raise
        hint = f" {SAVED_AS_RGB}" if _all_grey(read_values(first, "color")) else ""
        raise DataError(f"{error} The masks are taken for colour masks because {first} is RGB.{hint}") from error


def _coding_of(mask: Source) -> Coding:
    """What a mask stores, by its kind of picture. One that cannot be read counts as "index", and fails later."""
    try:
        read_values(mask, "color")
    except DataError:
        return "index"
    return "color"


def _classes_in(masks: Sequence[Source], config: DataConfig, root: Path) -> tuple[ClassSet, str]:
    """A class for each value that occurs in the masks and is not ignored."""
    if not masks:
        raise DataError(f"{root}: there are no masks, so its classes are unknown. Name them with data.classes=FILE.")
    coding = config.masks or _coding_of(masks[0])
    counts = count_values(masks, coding, root, skip_bad=config.on_bad_file == "skip")
    occurring = all_values(counts).tolist()
    if occurring == [BLACK, 255 if coding == "index" else WHITE]:
        note = "The masks are black and white: two classes, and white is not ignored."
        values = {value: index for index, value in enumerate(occurring)}
        return ClassSet(("background", "foreground"), default_colors(2), values, coding), note
    if coding == "color" and _all_grey(np.array(occurring)):
        raise DataError(f"{masks[0]}: an RGB picture. {SAVED_AS_RGB}")
    mixture = coding == "index" and find_mixture(masks, [values for values, _ in counts], config.ignore)
    if mixture:
        raise DataError(f"{root}: its masks seem to be of two kinds. {mixture}")
    values = [value for value in occurring if coding == "color" or value not in config.ignore]
    if len(values) < 2:
        shown = "one class" if values else "ignored pixels"
        raise DataError(f"{root}: its masks hold only {shown}. Name the classes with data.classes=FILE.")
    if len(values) > MOST_FOUND:
        raise DataError(
            f"{root}: its masks hold {len(values)} different values, too many for classes. Were they saved with loss"
            " (JPEG), smoothed at edges, or interpolated? If not, name the classes with data.classes=FILE."
        )
    if coding == "index":
        names, colors = tuple(f"class {value}" for value in values), default_colors(len(values))
    else:
        names, colors = tuple(f"#{value:06x}" for value in values), tuple(map(unpack_color, values))
    classes = ClassSet(names, colors, {value: index for index, value in enumerate(values)}, coding)
    return classes, f"The masks hold {len(values)} classes; a class file gives them names."


def _all_grey(packed: np.ndarray) -> bool:
    """Whether red, green and blue of these packed colours are equal everywhere."""
    return bool((packed % 256 * 0x010101 == packed).all())

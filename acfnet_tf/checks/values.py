"""What can be wrong with the values in masks: in no class, shifted, mixed, or all the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from acfnet_tf.checks.finding import Finding, counted, faulty, is_training, needs_masks
from acfnet_tf.checks.pair import MaskFacts, Pair
from acfnet_tf.data.cityscapes import CITYSCAPES
from acfnet_tf.data.classes import IGNORED, ClassSet
from acfnet_tf.data.reading import unknown_values
from acfnet_tf.importers.mixture import find_mixture

MIXTURE = "mixed_masks"
_MANY_VALUES, _RARE = 8, 0.1
"""Mixtures of values, as resizing makes them, are many and have few pixels."""


class UnknownValue(NamedTuple):
    """A value in no class: where and how often it occurs."""

    value: int
    pixels: int
    files: tuple[str, ...]


def find_value_faults(pairs: Sequence[Pair], class_pixels: np.ndarray, classes: ClassSet) -> Iterator[Finding]:
    """Faults of what the masks hold.

    Args:
        pairs: those with readable masks.
        class_pixels: (len(pairs), N) pixels of each class in each mask.
        classes: of the data.
    """
    unknown = list(_unknown(pairs, classes))
    yield from unknown
    yield from _ignore_value_as_class(pairs, classes)
    ignored = [value for value, label in classes.values.items() if label == IGNORED]
    mixture = find_mixture([pair.mask.file for pair in pairs], [pair.mask.known.values for pair in pairs], ignored)
    if mixture and classes.coding == "index":
        yield Finding("warning", MIXTURE, f"The masks seem to be of two kinds. {mixture}")
    training = np.array([is_training(pair.split) for pair in pairs], bool)
    if training.any() and not unknown:  # Values in no class would make classes absent that are not.
        occurs = class_pixels[training].any(axis=0)
        if occurs.sum() < 2:
            yield _nothing_to_learn(pairs, occurs, classes)
            return
        yield from _absent_classes(occurs, classes)
    yield from _uniform_masks(pairs, class_pixels, classes)


def collect_unknown(pairs: Sequence[Pair]) -> list[UnknownValue]:
    """Every value in no class, the most frequent first."""
    pixels, files = Counter(), {}
    for mask in (pair.mask for pair in pairs):
        for value, count in zip(mask.unknown.values.tolist(), mask.unknown.pixels.tolist(), strict=True):
            pixels[value] += count
            files.setdefault(value, []).append(mask.file)
    return [UnknownValue(value, count, tuple(files[value])) for value, count in pixels.most_common()]


def _unknown(pairs: Sequence[Pair], classes: ClassSet) -> Iterator[Finding]:
    bad = [pair.mask for pair in pairs if pair.mask.unknown_pixels]
    if not bad:
        return
    unknown = collect_unknown(pairs)
    values, pixels = (np.array([entry[column] for entry in unknown]) for column in (0, 1))
    hint = _explain_index(unknown, pairs, classes) if classes.coding == "index" else None
    hint = hint or _explain_mixture(bad) or "Correct the masks, or add the values to the class file."
    details = [f"{mask.file}: {_shown(mask, classes)}" for mask in bad]
    yield from faulty("unknown_values", details, f"{unknown_values(values, pixels, classes)} {hint}")


def _shown(mask: MaskFacts, classes: ClassSet) -> str:
    entries = zip(mask.unknown.values.tolist()[:8], mask.unknown.pixels.tolist(), strict=False)
    more = f", and {mask.unknown_kinds - 8} other values" if mask.unknown_kinds > 8 else ""
    return ", ".join(f"{classes.show_value(value)} ({counted(count, 'pixel')})" for value, count in entries) + more


def _explain_index(unknown: Sequence[UnknownValue], pairs: Sequence[Pair], classes: ClassSet) -> str | None:
    """How numbers in no class probably came about, and the remedy."""
    values = {entry.value for entry in unknown}
    of_classes = [value for value, label in classes.values.items() if label != IGNORED]
    occurring = {value for pair in pairs for value in pair.mask.known.values.tolist()}
    low, high = min(of_classes), max(of_classes)
    if classes.values == CITYSCAPES.values and values == {255} and max(occurring, default=0) < len(classes):
        return "These masks seem to hold trainIds; the Cityscapes layout wants labelIds (files *_labelIds.png)."
    if values == {high + 1} and low == min(classes.values):  # No ignored value below takes up a shift.
        ids = f'give every class its number in a class file ("id": {low + 1} for {classes.names[0]}, and so on)'
        if low not in occurring:
            return f"{low} never occurs: the numbers seem to be shifted by one, {ids}."
        return f"If {low} means unlabelled and the classes begin with {low + 1}, {ids} and {low} as ignored."
    if values == {255} and len(occurring & set(of_classes)) == 1:
        (other,) = occurring & set(of_classes)
        return f'There are only {other} and 255: if 255 is a class, give its number in a class file ("id": 255).'
    if values <= {0, 255}:
        ignored = {value for value, label in classes.values.items() if label == IGNORED}
        return f"If they mark pixels to ignore, set data.ignore={','.join(map(str, sorted(values | ignored)))}."
    return None


def _explain_mixture(masks: Sequence[MaskFacts]) -> str | None:
    known = sum(int(mask.known.pixels.sum()) for mask in masks)
    unknown = sum(mask.unknown_pixels for mask in masks)
    if max(mask.unknown_kinds for mask in masks) < _MANY_VALUES or unknown > _RARE * (known + unknown):
        return None
    return (
        "So many rare values are mixtures along borders: the masks were resized with interpolation, drawn with"
        " antialiasing or saved in a lossy format. Export them again without; resize by nearest neighbour."
    )


def _absent_classes(occurs: np.ndarray, classes: ClassSet) -> Iterator[Finding]:
    absent = [name for name, there in zip(classes.names, occurs.tolist(), strict=True) if not there]
    if absent:
        shown = ", ".join(absent[:20]) + (", …" if len(absent) > 20 else "")
        message = (
            f"{len(absent)} of {len(classes)} classes never in a training mask, so they cannot be learned: {shown}."
            " Add images that show them, or leave them out of the class file."
        )
        yield Finding("warning", "absent_classes", message)


def _nothing_to_learn(pairs: Sequence[Pair], occurs: np.ndarray, classes: ClassSet) -> Finding:
    only = f"only {classes.names[int(occurs.argmax())]} occurs" if occurs.any() else "no class occurs"
    message = f"In all training masks {only}: there is nothing to learn."
    values = {value for pair in pairs if is_training(pair.split) for value in pair.mask.known.values.tolist()}
    ignored = ", ".join(classes.show_value(value) for value in sorted(values) if classes.values[value] == IGNORED)
    if ignored:
        message += (
            f" All else has the value {ignored}, which is ignored. If it is a class, give its value in a class file"
            f' (such as "id": {ignored}).'
        )
    return Finding("error", "one_class", message)


def _ignore_value_as_class(pairs: Sequence[Pair], classes: ClassSet) -> Iterator[Finding]:
    label = classes.values.get(255, IGNORED)
    others = [value for value, other in classes.values.items() if other not in (IGNORED, label)]
    # Masks of 0 and 255, or of grey levels such as 0, 128, 255, use 255 as a class with reason.
    if classes.coding == "color" or label == IGNORED or len(others) < 2 or max(others) > len(others):
        return
    if bad := tuple(pair.mask.file for pair in pairs if 255 in pair.mask.known.values):
        message = (
            f"The value 255 is the class {classes.names[label]}, although the others are {min(others)}–{max(others)}."
            " 255 usually marks pixels to ignore: if so, set data.ignore=255 and leave it out of the class file."
        )
        yield Finding("warning", "ignore_value_as_class", message, bad)


def _uniform_masks(pairs: Sequence[Pair], class_pixels: np.ndarray, classes: ClassSet) -> Iterator[Finding]:
    empty, uniform, kinds = [], [], Counter()
    for pair, present in zip(pairs, class_pixels > 0, strict=True):
        if pair.mask.unknown_pixels or not needs_masks(pair.split) or present.sum() > 1:
            continue
        if present.any():
            name = classes.names[int(present.argmax())]
            uniform.append(f"{pair.mask.file}: {name}")
            kinds[name] += 1
        else:
            empty.append(pair.mask.file)
    yield from faulty("ignored_masks", empty)
    shown = ", ".join(f"{name} {count}" for name, count in kinds.most_common(5)) + (", …" if len(kinds) > 5 else "")
    yield from faulty("uniform_masks", uniform, shown)

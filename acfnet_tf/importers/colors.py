"""Colours for classes that have none of their own."""

from __future__ import annotations

from acfnet_tf.data.classes import ClassSet


def voc_colors(count: int) -> tuple[tuple[int, int, int], ...]:
    """The first entries of PASCAL VOC's colour map: the bits of the index, dealt to red, green and blue in turn."""
    return tuple(
        tuple(sum((index >> (3 * bit + channel) & 1) << (7 - bit) for bit in range(8)) for channel in range(3))
        for index in range(count)
    )


def numbered_classes(count: int) -> ClassSet:
    """Classes of which nothing is known but how many they are."""
    names = tuple(f"class_{index}" for index in range(count))
    return ClassSet(names, default_colors(count), {index: index for index in range(count)})


def default_colors(count: int) -> tuple[tuple[int, int, int], ...]:
    """Colours for classes that have none of their own: PASCAL VOC's without its first, the black of ignored pixels."""
    return voc_colors(count + 1)[1:]

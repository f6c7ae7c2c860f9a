"""What can be wrong with the files of a data set: unreadable, missing, of the wrong size or kind, or there twice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from acfnet_tf.checks.pair import MOST_UNKNOWN, MaskFacts, Pair
from acfnet_tf.data.classes import ClassSet, pack_color, voc_colors

_LOSSY = ("JPEG", "MPO", "JPEG2000")
_COLOR_MODES = ("RGB", "RGBA")


@dataclass(frozen=True)
class Finding:
    """A fault of a data set.

    Attributes:
        severity: "error" where training would fail or go wrong, "warning" where it is probably not what was meant.
        kind: a name for programs, such as "size_mismatch".
        message: what is wrong and what to do, in one line.
        details: a line for each file, where the fault is one of files; it begins with the file.
    """

    severity: Literal["error", "warning"]
    kind: str
    message: str
    details: tuple[str, ...] = ()


def find_file_faults(pairs: Sequence[Pair], classes: ClassSet) -> Iterator[Finding]:
    """Faults that are seen without looking at what the masks mean."""
    yield from _unreadable_images(pairs)
    yield from _missing_masks(pairs)
    yield from _unreadable_masks([pair.mask for pair in pairs if pair.mask and pair.mask.error], classes)
    yield from _wrong_sizes(pairs)
    yield from _duplicates(pairs)
    yield from _rotated(pairs)


def is_training(split: str) -> bool:
    return split.startswith("train")


def needs_masks(split: str) -> bool:
    return not split.startswith("test")


def counted(number: int, noun: str) -> str:
    """ "1 mask", "2 masks"."""
    return f"{number} {noun}{'s' * (number != 1)}"


def _unreadable_images(pairs: Sequence[Pair]) -> Iterator[Finding]:
    bad = tuple(pair.image.error for pair in pairs if pair.image.error)
    if bad:
        message = f"{counted(len(bad), 'image')} cannot be read. Replace each, or leave out the pair."
        yield Finding("error", "unreadable_images", message, bad)


def _missing_masks(pairs: Sequence[Pair]) -> Iterator[Finding]:
    bad = tuple(pair.image.file for pair in pairs if pair.mask is None and needs_masks(pair.split))
    if bad:
        message = f"{counted(len(bad), 'image')} without a mask. Add what is missing, or remove the image."
        yield Finding("error", "missing_masks", message, bad)


def _unreadable_masks(masks: Sequence[MaskFacts], classes: ClassSet) -> Iterator[Finding]:
    lossy, colored, numbered, unreadable = [], [], [], []
    for mask in masks:
        picture, _, mode = mask.kind.partition(" ")
        if picture in _LOSSY:
            lossy.append(mask.file)
        elif len(mask.colors.values):
            colored.append(mask)
        elif classes.coding == "color" and mask.kind != "unknown" and mode not in _COLOR_MODES:
            numbered.append(mask.file)
        else:
            unreadable.append(mask.error)
    if lossy:
        message = (
            f"{counted(len(lossy), 'mask')} saved as JPEG, which does not keep values. Export the masks again as PNG;"
            " converting the JPEG does not bring the values back."
        )
        yield Finding("error", "lossy_masks", message, tuple(lossy))
    if colored:
        message = (
            f"{counted(len(colored), 'mask')} in colour, but class numbers are expected. {_meant(colored, classes)}"
        )
        yield Finding("error", "color_masks", message, tuple(mask.file for mask in colored))
    if numbered:
        message = (
            f"{counted(len(numbered), 'mask')} of numbers, but colours are expected. If the numbers are the classes,"
            " set data.masks=index; palette pictures can be converted to RGB instead."
        )
        yield Finding("error", "index_masks", message, tuple(numbered))
    if unreadable:
        message = f"{counted(len(unreadable), 'mask')} cannot be read. Replace each, or leave out the pair."
        yield Finding("error", "unreadable_masks", message, tuple(unreadable))


def _meant(masks: Sequence[MaskFacts], classes: ClassSet) -> str:
    """What masks in colour probably are, and the remedy."""
    colors = {value for mask in masks for value in mask.colors.values.tolist()}
    if all(value % 0x010101 == 0 for value in colors):
        return (
            "Red, green and blue are equal: these are class numbers saved as RGB. Save one channel only, as grey PNG."
        )
    if colors <= set(map(pack_color, classes.colors)):
        return "The colours are those of the classes: set data.masks=color with a class file that lists them."
    if colors <= set(map(pack_color, voc_colors(256))):
        return (
            "The colours are PASCAL VOC's colour map: palette masks that were converted to RGB. Use the original"
            " palette PNGs, or give the colours in a class file (data.classes=FILE) and set data.masks=color."
        )
    remedy = "Give the colours in a class file (data.classes=FILE) and set data.masks=color."
    if any(len(mask.colors.values) == MOST_UNKNOWN for mask in masks):
        return (
            f"{remedy} But some hold so many colours that they look like photographs or overlays: is the folder right?"
        )
    return remedy


def _wrong_sizes(pairs: Sequence[Pair]) -> Iterator[Finding]:
    bad = [
        (pair.image, pair.mask)
        for pair in pairs
        if pair.mask and not (pair.image.error or pair.mask.error) and pair.image.size != pair.mask.size
    ]
    if not bad:
        return
    message = (
        f"{counted(len(bad), 'mask')} of another size than the image. Export masks at the image's size; where masks"
        " must be resized, take the nearest neighbour."
    )
    rotated = sum(image.orientation >= 5 and image.size == mask.size[::-1] for image, mask in bad)
    if rotated:
        message += (
            f" {rotated} of them fit the image as it is stored, but it is turned as its EXIF orientation says: save"
            " these images without EXIF, or draw the masks on the turned images."
        )
    details = tuple(f"{mask.file}: {_size(mask.size)}, but {image.file} is {_size(image.size)}" for image, mask in bad)
    yield Finding("error", "size_mismatch", message, details)


def _size(size: tuple[int, int]) -> str:
    return "×".join(map(str, size))


def _duplicates(pairs: Sequence[Pair]) -> Iterator[Finding]:
    groups = defaultdict(list)
    for pair in pairs:
        if pair.image.digest:
            groups[pair.image.digest].append(pair)
    leaks, repeated = [], []
    for group in groups.values():
        files = " = ".join(pair.image.file for pair in group)
        splits = [pair.split for pair in group]
        if len(set(map(is_training, splits))) == 2:
            leaks.append(files)
        elif len(set(splits)) < len(splits):
            repeated.append(files)
    if leaks:
        message = (
            f"{counted(len(leaks), 'image')} both in training and in another split, to the pixel: what is measured"
            " there will be too good. Keep each in one split."
        )
        yield Finding("warning", "leak", message, tuple(leaks))
    if repeated:
        message = (
            f"{counted(len(repeated), 'image')} more than once in the same split, to the pixel. Remove the copies, or"
            " are these different images of which some were overwritten?"
        )
        yield Finding("warning", "duplicates", message, tuple(repeated))


def _rotated(pairs: Sequence[Pair]) -> Iterator[Finding]:
    pictures = [(picture, pair) for pair in pairs for picture in (pair.image, pair.mask) if picture]
    turned = tuple(
        f"{picture.file}: EXIF orientation {picture.orientation}"
        for picture, pair in pictures
        if pair.mask and picture.orientation != 1
    )
    if turned:
        message = (
            f"{counted(len(turned), 'picture')} turned as EXIF says, as viewers do: a mask drawn on the image as it is"
            " stored does not fit. Look at samples.png; images and masks saved upright, without EXIF, leave no doubt."
        )
        yield Finding("warning", "exif_orientation", message, turned)
    ignored = tuple(
        f"{picture.file}: orientation {picture.other_orientation}"
        for picture, _ in pictures
        if picture.other_orientation != 1
    )
    if ignored:
        message = (
            f"{counted(len(ignored), 'picture')} with another orientation outside of EXIF, such as in XMP, which is"
            " ignored here but not by every program. Save these images upright, without metadata."
        )
        yield Finding("warning", "other_orientation", message, ignored)

"""Faults of a data set, and what is said of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal


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


ERRORS = {
    "unreadable_images": "image cannot be read. Replace each, or leave out the pair.",
    "missing_masks": "image without a mask. Add what is missing, or remove the image.",
    "unreadable_masks": "mask cannot be read. Replace each, or leave out the pair.",
    "lossy_masks": "mask saved as JPEG, which does not keep values. Export the masks again as PNG; converting the JPEG"
    " does not bring the values back.",
    "color_masks": "mask in colour, but class numbers are expected. {}",
    "index_masks": "mask of numbers, but colours are expected. If the numbers are the classes, set data.masks=index;"
    " palette pictures can be converted to RGB instead.",
    "size_mismatch": "mask of another size than the image. Export masks at the image's size; where masks must be"
    " resized, take the nearest neighbour.{}",
    "unknown_values": "mask with {}",
}
"""Faults of files with which training would fail or go wrong: what is counted, what is wrong with it, what to do."""

WARNINGS = {
    "leak": "image both in training and in another split, to the pixel: what is measured there will be too good. Keep"
    " each in one split.",
    "duplicates": "image more than once in the same split, to the pixel. Remove the copies, or are these different"
    " images of which some were overwritten?",
    "exif_orientation": "picture turned as EXIF says, as viewers do: a mask drawn on the image as it is stored does not"
    " fit. Look at samples.png; images and masks saved upright, without EXIF, leave no doubt.",
    "other_orientation": "picture with another orientation outside of EXIF, such as in XMP, which is ignored here but"
    " not by every program. Save these images upright, without metadata.",
    "ignored_masks": "mask with nothing but ignored pixels. Nothing is learned from them.",
    "uniform_masks": "mask with one class only ({}). Look whether that is so in the images, or the masks were exported"
    " empty.",
}
"""Faults of files that are probably not what was meant."""


def faulty(kind: str, files: Sequence[str], *parts: str) -> Iterator[Finding]:
    """The finding that these files have a fault; none where there are no such files.

    Args:
        kind: of `ERRORS` or `WARNINGS`.
        files: a line for each, see `Finding.details`.
        parts: what takes the place of {} in the text.
    """
    if files:
        severity, text = ("error", ERRORS[kind]) if kind in ERRORS else ("warning", WARNINGS[kind])
        noun, _, rest = text.format(*parts).partition(" ")
        yield Finding(severity, kind, f"{counted(len(files), noun)} {rest}", tuple(files))


def counted(number: int, noun: str) -> str:
    """ "1 mask", "2 masks"."""
    return f"{number} {noun}{'s' * (number != 1)}"


def is_training(split: str) -> bool:
    """Whether networks learn from this split."""
    return split.startswith("train")


def needs_masks(split: str) -> bool:
    """Whether images of this split are faulty without a mask; those of a test set are not."""
    return not split.startswith("test")

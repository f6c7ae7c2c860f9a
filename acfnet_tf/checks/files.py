"""What can be wrong with the files of a data set: unreadable, missing, of the wrong size or kind, or there twice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from acfnet_tf.checks.finding import Finding, faulty, is_training, needs_masks
from acfnet_tf.checks.pair import MOST_UNKNOWN, MaskFacts, Pair
from acfnet_tf.data.classes import ClassSet, pack_color
from acfnet_tf.importers.colors import voc_colors

_LOSSY = ("JPEG", "MPO", "JPEG2000")
_COLOR_MODES = ("RGB", "RGBA")


def find_file_faults(pairs: Sequence[Pair], classes: ClassSet) -> Iterator[Finding]:
    """Faults that are seen without looking at what the masks mean."""
    yield from faulty("unreadable_images", [pair.image.error for pair in pairs if pair.image.error])
    missing = [pair.image.file for pair in pairs if pair.mask is None and needs_masks(pair.split)]
    yield from faulty("missing_masks", missing)
    yield from _unreadable_masks([pair.mask for pair in pairs if pair.mask and pair.mask.error], classes)
    yield from _wrong_sizes(pairs)
    yield from _duplicates(pairs)
    yield from _rotated(pairs)


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
    yield from faulty("lossy_masks", lossy)
    yield from faulty("color_masks", [mask.file for mask in colored], _meant(colored, classes))
    yield from faulty("index_masks", numbered)
    yield from faulty("unreadable_masks", unreadable)


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
        remedy += " But some hold so many colours that they look like photographs or overlays: is the folder right?"
    return remedy


def _wrong_sizes(pairs: Sequence[Pair]) -> Iterator[Finding]:
    readable = [(pair.image, pair.mask) for pair in pairs if pair.mask and not (pair.image.error or pair.mask.error)]
    bad = [(image, mask) for image, mask in readable if image.size != mask.size]
    rotated = sum(image.orientation >= 5 and image.size == mask.size[::-1] for image, mask in bad)
    hint = (
        f" {rotated} of them fit the image as it is stored, but it is turned as its EXIF orientation says: save these"
        " images without EXIF, or draw the masks on the turned images."
    )
    details = [f"{mask.file}: {_size(mask.size)}, but {image.file} is {_size(image.size)}" for image, mask in bad]
    yield from faulty("size_mismatch", details, hint if rotated else "")


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
    yield from faulty("leak", leaks)
    yield from faulty("duplicates", repeated)


def _rotated(pairs: Sequence[Pair]) -> Iterator[Finding]:
    pictures = [(picture, pair.mask) for pair in pairs for picture in (pair.image, pair.mask) if picture]
    turned = [(each.file, each.orientation) for each, mask in pictures if mask and each.orientation != 1]
    yield from faulty("exif_orientation", [f"{file}: EXIF orientation {number}" for file, number in turned])
    others = [(each.file, each.other_orientation) for each, _ in pictures if each.other_orientation != 1]
    yield from faulty("other_orientation", [f"{file}: orientation {number}" for file, number in others])

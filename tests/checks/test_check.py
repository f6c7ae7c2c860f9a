"""The check finds each planted fault, says what to do, and is silent on clean data."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from acfnet_tf.checks.check import CheckResult, check_data
from acfnet_tf.checks.finding import Finding
from acfnet_tf.data.cityscapes import CITYSCAPES
from acfnet_tf.data.classes import IGNORED, ClassSet, pack_color
from acfnet_tf.data.sample import DataSource, Sample
from acfnet_tf.errors import DataError
from acfnet_tf.importers import cityscapes
from acfnet_tf.importers.colors import voc_colors
from acfnet_tf.scenes.street_scenes import write_street_scenes

SIZE = (12, 16)
CLASSES = ClassSet(("sky", "tree", "road"), ((0, 0, 255), (0, 255, 0), (90, 90, 90)), {0: 0, 1: 1, 2: 2, 255: IGNORED})
COLORS = dataclasses.replace(CLASSES, values={pack_color(c): i for i, c in enumerate(CLASSES.colors)}, coding="color")
MASK = np.tile(np.uint8([0, 0, 1, 2]), (12, 4))
MASK[0, 0] = 255


class Folder:
    """A data set of 4 training and 2 validation pairs, clean at first."""

    def __init__(self, root: Path, classes: ClassSet = CLASSES) -> None:
        self.root, self.classes = root, classes
        self.splits = {"train": ["a", "b", "c", "d"], "val": ["e", "f"]}
        rng = np.random.default_rng(0)
        for name in "abcdef":
            self.image(name, rng.integers(0, 256, (*SIZE, 3), np.uint8))
            self.mask(name, MASK if classes.coding == "index" else np.uint8(classes.colors)[MASK % 3])

    def image(self, name: str, pixels: np.ndarray, **options: object) -> Path:
        Image.fromarray(pixels).save(self.root / f"{name}.png", **options)
        return self.root / f"{name}.png"

    def mask(self, name: str, pixels: np.ndarray, **options: object) -> Path:
        file = self.root / f"{name}_mask.png"
        Image.fromarray(pixels).save(file, **{"format": "PNG"} | options)
        return file

    def masks(self, pixels: np.ndarray) -> None:
        for name in "abcdef":
            self.mask(name, pixels)

    def list_samples(self, split: str) -> list[Sample]:
        if split not in self.splits:
            raise DataError(f"{self.root}: no split {split}.")
        masks = {name: self.root / f"{name}_mask.png" for name in self.splits[split]}
        return [
            Sample(name, str(self.root / f"{name}.png"), str(mask) if mask.exists() else None)
            for name, mask in masks.items()
        ]

    def check(self, *splits: str) -> CheckResult:
        source = DataSource("folder", self.classes, self.list_samples, tuple(self.splits))
        return check_data(source, splits or source.splits, progress=False)

    def only(self, kind: str, severity: str = "error") -> Finding:
        """The one finding there is."""
        findings = self.check().findings
        assert [(finding.kind, finding.severity) for finding in findings] == [(kind, severity)]
        assert "\n" not in findings[0].message
        return findings[0]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.fixture
def color_folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path, COLORS)


def test_clean_data_have_no_findings_and_are_counted(folder: Folder) -> None:
    result = folder.check()
    assert result.findings == () and result.unknown == () and result.errors == result.warnings == 0
    train, val = result.splits["train"], result.splits["val"]
    assert (train.images, train.masks, val.images, val.masks) == (4, 4, 2, 2)
    np.testing.assert_array_equal(train.class_pixels, [[95, 48, 48]] * 4)
    assert train.ignored == 4 and train.unknown == 0
    assert train.image_sizes == {(16, 12): 4}
    assert train.image_kinds == {"PNG RGB": 4} and train.mask_kinds == {"PNG L": 4}


def test_clean_colour_masks_have_no_findings(color_folder: Folder) -> None:
    assert color_folder.check().findings == ()


def test_street_scenes_have_no_findings(tmp_path: Path) -> None:
    # So many that every class occurs: one that does not is a finding.
    root = write_street_scenes(tmp_path / "scenes", train=24, val=2, test=1, size=(64, 128), seed=0)
    source = DataSource("scenes", CITYSCAPES, lambda split: cityscapes.list_samples(root, split), ())
    result = check_data(source, ("train", "val", "trainval", "test"), progress=False)
    assert result.findings == ()
    assert list(result.splits) == ["train", "val", "test"]


def test_tiny_street_scenes_lack_one_class(tiny_scenes: Path) -> None:
    source = DataSource("scenes", CITYSCAPES, lambda split: cityscapes.list_samples(tiny_scenes, split), ())
    (finding,) = check_data(source, ("train", "val", "test"), progress=False).findings
    assert finding.severity == "warning" and "1 of 19 classes" in finding.message and ": train." in finding.message


def test_a_value_in_no_class(folder: Folder) -> None:
    mask = MASK.copy()
    mask[3, :5] = 7
    file = folder.mask("b", mask)
    finding = folder.only("unknown_values")
    assert "7 (5 pixels)" in finding.message and "0–2, 255" in finding.message
    assert finding.details == (f"{file}: 7 (5 pixels)",)
    assert [(value, pixels) for value, pixels, _ in folder.check().unknown] == [(7, 5)]


def test_19_in_a_set_of_19_classes(folder: Folder) -> None:
    names = tuple(f"class {index}" for index in range(19))
    folder.classes = ClassSet(names, voc_colors(20)[1:], {index: index for index in range(19)})
    folder.masks(np.arange(192, dtype=np.uint8).reshape(SIZE) % 19)
    mask = folder.mask("a", np.arange(192, dtype=np.uint8).reshape(SIZE) % 20)
    finding = folder.only("unknown_values")
    assert "19 (9 pixels)" in finding.message and finding.details[0].startswith(str(mask))
    assert "shifted" not in finding.message  # 0 occurs


@given(first=st.integers(0, 20), count=st.integers(2, 30))
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_numbers_shifted_by_one(tmp_path_factory: pytest.TempPathFactory, first: int, count: int) -> None:
    values = {first + index: index for index in range(count)} | {255: IGNORED}
    folder = Folder(tmp_path_factory.mktemp("shifted"))
    folder.classes = ClassSet(tuple(f"class {index}" for index in range(count)), voc_colors(count), values)
    folder.masks((np.arange(192).reshape(SIZE) % count + first + 1).astype(np.uint8))
    assert (
        f'shifted by one, give every class its number in a class file ("id": {first + 1}'
        in folder.only("unknown_values").message
    )


@pytest.mark.parametrize(
    ("pixels", "hint"),
    [
        (np.where(MASK == 255, 0, MASK + 1), "If 0 means unlabelled"),
        (MASK // 255 * 255, "There are only 0 and 255"),
        (np.where(MASK == 0, 255, MASK), "data.ignore=255"),
    ],
)
def test_why_values_are_in_no_class(folder: Folder, pixels: np.ndarray, hint: str) -> None:
    folder.classes = dataclasses.replace(CLASSES, values={0: 0, 1: 1, 2: 2})
    folder.masks(pixels.astype(np.uint8))
    assert hint in folder.only("unknown_values").message


def test_train_ids_given_as_label_ids(folder: Folder) -> None:
    folder.classes = CITYSCAPES
    folder.masks(MASK)
    assert "trainIds" in folder.only("unknown_values").message


def test_other_label_ids_are_not_taken_for_a_shift(folder: Folder) -> None:
    folder.classes = CITYSCAPES
    folder.masks(MASK % 4 + 31)
    assert folder.only("unknown_values").message.endswith(
        "Known are 0–33. Correct the masks, or add the values to the class file."
    )


def test_masks_resized_with_interpolation(folder: Folder) -> None:
    folder.classes = dataclasses.replace(CLASSES, names=("sky", "road"), values={0: 0, 250: 1})
    large = Image.fromarray(np.kron(np.uint8([[0, 250], [250, 0]]), np.ones((100, 100), np.uint8)))
    folder.masks(np.array(large.resize((240, 230), Image.Resampling.LANCZOS)))
    for name in "abcdef":
        folder.image(name, np.random.default_rng(ord(name)).integers(0, 256, (230, 240, 3), np.uint8))
    assert "interpolation" in folder.only("unknown_values").message


def test_antialiased_colour_masks(color_folder: Folder) -> None:
    pixels = np.uint8(COLORS.colors)[MASK % 3]
    pixels[0, :9, 0] = np.arange(1, 10)
    color_folder.mask("a", pixels)
    finding = color_folder.only("unknown_values")
    assert "antialiasing" in finding.message and "(1, 0, 255) (1 pixels)" in finding.message


@pytest.mark.parametrize(
    ("palette", "hint"),
    [
        ([(0, 0, 0), (1, 1, 1), (2, 2, 2)], "saved as RGB"),
        (voc_colors(3), "PASCAL VOC"),
        (CLASSES.colors, "set data.masks=color"),
        ([(1, 2, 3), (4, 5, 6), (7, 8, 9)], "Give the colours"),
    ],
)
def test_colour_masks_where_numbers_are_wanted(folder: Folder, palette: list, hint: str) -> None:
    mask = folder.mask("a", np.uint8(palette)[MASK % 3])
    finding = folder.only("color_masks")
    assert hint in finding.message and finding.details == (str(mask),)


def test_photographs_for_masks(folder: Folder) -> None:
    folder.mask("a", np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8))
    assert "photographs" in folder.only("color_masks").message


def test_numbers_where_colours_are_wanted(color_folder: Folder) -> None:
    mask = color_folder.mask("a", MASK)
    finding = color_folder.only("index_masks")
    assert "data.masks=index" in finding.message and finding.details == (str(mask),)


def test_jpeg_masks(folder: Folder) -> None:
    mask = folder.mask("a", MASK, format="JPEG")
    finding = folder.only("lossy_masks")
    assert "PNG" in finding.message and finding.details == (str(mask),)


@pytest.mark.parametrize("of_mask", [True, False])
@pytest.mark.parametrize("damage", [lambda content: content[:60], lambda content: b"", lambda content: b"no picture"])
def test_damaged_files(folder: Folder, damage: Callable[[bytes], bytes], of_mask: bool) -> None:
    file = folder.root / ("a_mask.png" if of_mask else "a.png")
    file.write_bytes(damage(file.read_bytes()))
    finding = folder.only("unreadable_masks" if of_mask else "unreadable_images")
    (detail,) = finding.details
    assert detail.startswith(f"{file}: ")
    # The other half of the pair is counted all the same.
    train = folder.check().splits["train"]
    assert (train.images, train.masks, sum(train.image_sizes.values())) == (4, 4 - of_mask, 4 - (not of_mask))


def test_missing_masks_are_a_fault_but_not_of_test(folder: Folder) -> None:
    (folder.root / "a_mask.png").unlink()
    assert folder.only("missing_masks").details == (str(folder.root / "a.png"),)
    folder.splits = {"train": ["b", "c", "d"], "test": ["a"]}
    assert folder.check().findings == ()


def test_a_split_that_cannot_be_listed(folder: Folder) -> None:
    result = folder.check("train", "nowhere")
    (finding,) = result.findings
    assert finding.severity == "error" and "nowhere" in finding.message
    assert list(result.splits) == ["train"]


def test_masks_of_another_size(folder: Folder) -> None:
    mask = folder.mask("a", MASK[:10])
    finding = folder.only("size_mismatch")
    assert finding.details == (f"{mask}: 16×10, but {folder.root / 'a.png'} is 16×12",)
    assert "EXIF" not in finding.message


def test_images_turned_by_exif(folder: Folder) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.random.default_rng(9).integers(0, 256, (*SIZE, 3), np.uint8)
    file = folder.image("a", pixels, exif=exif)
    size, turned = folder.check().findings
    assert (size.kind, turned.kind) == ("size_mismatch", "exif_orientation")
    assert "1 of them fit the image as it is stored" in size.message
    mask = folder.mask("a", np.rot90(MASK, -1))
    assert folder.only("exif_orientation", "warning").details == (f"{file}: EXIF orientation 6",)
    exif[0x0112] = 3
    Image.open(mask).save(mask, exif=exif)
    details = (f"{file}: EXIF orientation 6", f"{mask}: EXIF orientation 3")
    assert folder.only("exif_orientation", "warning").details == details


def test_an_orientation_that_does_not_count(folder: Folder) -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    file = folder.root / "a.png"
    image = Image.open(file)
    image.load()
    file.unlink()
    image.save(folder.root / "a.webp", lossless=True, xmp=xmp)
    Path.rename(folder.root / "a.webp", file)
    finding = folder.only("other_orientation", "warning")
    assert finding.details == (f"{file}: orientation 6",) and "XMP" in finding.message


def test_the_same_image_in_training_and_validation(folder: Folder) -> None:
    Image.open(folder.root / "a.png").save(folder.root / "e.png", compress_level=0)  # other bytes, same pixels
    assert folder.only("leak", "warning").details == (f"{folder.root / 'a.png'} = {folder.root / 'e.png'}",)


def test_the_same_image_twice_in_a_split(folder: Folder) -> None:
    (folder.root / "b.png").write_bytes((folder.root / "a.png").read_bytes())
    assert folder.only("duplicates", "warning").details == (f"{folder.root / 'a.png'} = {folder.root / 'b.png'}",)


def test_plain_images_of_different_shapes_are_not_the_same(folder: Folder) -> None:
    folder.image("a", np.zeros((12, 16, 3), np.uint8))
    folder.image("b", np.zeros((16, 12, 3), np.uint8))
    folder.mask("b", MASK.reshape(16, 12))
    assert folder.check().findings == ()


def test_masks_without_content(folder: Folder) -> None:
    ignored, background = folder.mask("a", np.full(SIZE, 255, np.uint8)), folder.mask("b", np.zeros(SIZE, np.uint8))
    empty, uniform = folder.check().findings
    assert (empty.kind, empty.severity, empty.details) == ("ignored_masks", "warning", (str(ignored),))
    assert (uniform.kind, uniform.severity, uniform.details) == ("uniform_masks", "warning", (f"{background}: sky",))
    assert "sky 1" in uniform.message


def test_masks_of_two_kinds(folder: Folder) -> None:
    folder.masks(np.uint8(MASK == 1))
    for name in "ab":
        folder.mask(name, np.uint8(MASK == 1) * np.uint8(255))
    (finding,) = (finding for finding in folder.check().findings if finding.kind == "mixed_masks")
    assert finding.severity == "warning"
    assert "c_mask.png holds 0 and 1" in finding.message and "a_mask.png 0 and 255" in finding.message


def test_one_class_left_because_255_is_ignored(folder: Folder) -> None:
    folder.masks(np.where(MASK == 1, 255, 0).astype(np.uint8))
    message = folder.only("one_class").message
    assert "only sky" in message and '"id": 255' in message


def test_255_as_a_class_beside_small_numbers(folder: Folder) -> None:
    names, colors = (*CLASSES.names, "class 255"), (*CLASSES.colors, (9, 9, 9))
    folder.classes = ClassSet(names, colors, CLASSES.values | {255: 3})
    assert "data.ignore=255" in folder.only("ignore_value_as_class", "warning").message
    folder.classes = ClassSet(("background", "foreground"), CLASSES.colors[:2], {0: 0, 255: 1})
    folder.masks(np.where(MASK == 1, 255, 0).astype(np.uint8))
    assert folder.check().findings == ()
    folder.classes = dataclasses.replace(CLASSES, values={0: 0, 128: 1, 255: 2})
    folder.masks(np.uint8([0, 128, 255])[MASK % 3])
    assert folder.check().findings == ()


def test_classes_that_never_occur_in_training(folder: Folder) -> None:
    for name in "abcd":
        folder.mask(name, np.where(MASK == 2, 0, MASK))
    finding = folder.only("absent_classes", "warning")
    assert "1 of 3" in finding.message and "road" in finding.message


def test_errors_come_first(folder: Folder) -> None:
    (folder.root / "b.png").write_bytes((folder.root / "a.png").read_bytes())
    folder.mask("c", MASK % 128 + 3)
    (folder.root / "d.png").write_bytes(b"")
    result = folder.check()
    assert [finding.severity for finding in result.findings] == ["error", "error", "warning"]
    assert (result.errors, result.warnings) == (2, 1)

"""The generated street scenes: reproducible, complete, in the Cityscapes layout, and with their scientific property."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
import zlib
from functools import cache
from pathlib import Path
from random import Random

import numpy as np
import pytest
from PIL import Image

from acfnet_tf.data.cityscapes import CITYSCAPES, LABEL_IDS, LABELS
from acfnet_tf.scenes import street_scenes
from acfnet_tf.scenes.layout import draw_street
from acfnet_tf.scenes.street_scenes import Scene, draw_scene, write_street_scenes
from acfnet_tf.scenes.styles import LOOK_ALIKES, draw_style

SCENES = 60


@cache
def scenes() -> list[Scene]:
    return [draw_scene(seed=0, index=index) for index in range(SCENES)]


def same(a: Scene, b: Scene) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_a_scene_is_a_function_of_seed_and_index() -> None:
    first = draw_scene(3, 5)
    draw_scene(3, 6)
    assert same(first, draw_scene(3, 5))
    for other in (draw_scene(3, 6), draw_scene(4, 5)):
        assert not np.array_equal(first.image, other.image)
        assert not np.array_equal(first.label_ids, other.label_ids)


def test_another_process_draws_the_same_scene() -> None:
    program = (
        "import zlib; from acfnet_tf.scenes.street_scenes import draw_scene;"
        "print(*(zlib.crc32(part.tobytes()) for part in draw_scene(3, 5, (64, 128))))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    expected = [zlib.crc32(part.tobytes()) for part in draw_scene(3, 5, (64, 128))]
    assert [int(checksum) for checksum in run.stdout.split()] == expected


@pytest.mark.parametrize("size", [(64, 128), (256, 512), (200, 333), (97, 97), (16, 9), (1024, 2048)])
def test_any_size(size: tuple[int, int]) -> None:
    scene = draw_scene(0, 1, size)
    assert scene.image.shape == (*size, 3) and scene.image.dtype == np.uint8
    assert scene.label_ids.shape == size and scene.label_ids.dtype == np.uint8
    assert scene.instance_ids.shape == size and scene.instance_ids.dtype == np.uint16
    assert not np.any(CITYSCAPES.table[scene.label_ids] == CITYSCAPES.unknown_label)


def test_another_size_shows_the_same_scene() -> None:
    small, large = draw_scene(0, 2, (256, 512)), draw_scene(0, 2, (1024, 2048))
    assert np.mean(large.label_ids[2::4, 2::4] == small.label_ids) > 0.97
    # The grain of the textures is relative to the picture: box-averaged, the large image is the small one.
    averaged = large.image.reshape(256, 4, 512, 4, 3).mean(axis=(1, 3))
    assert np.corrcoef(averaged.ravel(), small.image.ravel())[0, 1] > 0.95


def test_every_class_is_frequent_enough_to_be_learnt() -> None:
    labels = [CITYSCAPES.table[scene.label_ids] for scene in scenes()]
    counts = np.stack([np.bincount(label.ravel(), minlength=256) for label in labels])
    present = np.mean(counts[:, :19] >= 100, axis=0)  # at least 100 of 131,072 pixels
    for name, share in zip(CITYSCAPES.names, present, strict=True):
        assert share >= 0.25, f"{name} is in {share:.0%} of the scenes"
    pixels = counts[:, :19].sum(axis=0) / counts.sum()
    assert pixels.min() > 0.003
    void = counts[:, CITYSCAPES.ignore_label].sum() / counts.sum()
    assert 0.01 < void < 0.2
    seen = set(np.unique(np.stack([scene.label_ids for scene in scenes()])).tolist())
    assert {1, 3, 4, 5} <= seen  # ego vehicle, out of roi, static, dynamic


def test_instance_ids_belong_to_label_ids() -> None:
    for scene in scenes()[:20]:
        ids = scene.instance_ids.astype(int)
        assert np.array_equal(np.where(ids >= 1000, ids // 1000, ids), scene.label_ids)
        # As in Cityscapes, humans and vehicles (24–33) are counted, everything else is not.
        assert np.array_equal(ids >= 1000, scene.label_ids >= 24)


def test_labels_fit_the_image_to_the_pixel() -> None:
    """Before blur and texture the sky is one colour: no pixel labelled sky shows anything else, nor the reverse."""
    for seed in range(20):
        rng = Random(seed)
        style = draw_style(rng)
        canvas = draw_street(rng, style, (256, 512))
        is_sky_colored = (np.asarray(canvas.image) == style.colors["sky"]).all(axis=2)
        is_sky = canvas.ids() == 23
        inside = np.s_[2:-2, 2:-2]  # the border's label says nothing about its picture
        assert is_sky.any() and not np.any(is_sky & ~is_sky_colored)
        assert np.mean((is_sky_colored & ~is_sky)[inside]) < 1e-3  # another object may by chance have this colour


# ---- the scientific property ----------------------------------------------------------------------------------------


@cache
def looks() -> dict[str, list[tuple[np.ndarray, float]]]:
    """Class name → per scene its look: mean RGB (3,), and the spread of its patches' mean RGB within the scene.

    Patches are the class's pixels in the cells of a 16 × 16 grid: the scale at which a network sees a surface.
    """
    found: dict[str, list[tuple[np.ndarray, float] | None]] = {name: [] for name in CITYSCAPES.names}
    for scene in scenes()[:40]:
        train_ids = CITYSCAPES.table[scene.label_ids].astype(int)
        rows, columns = np.indices(train_ids.shape)
        cells = (rows // 16) * 32 + columns // 16
        for train_id, name in enumerate(CITYSCAPES.names):
            mask = train_ids == train_id
            cell, size = cells[mask], np.bincount(cells[mask], minlength=512)
            patches = np.stack([np.bincount(cell, scene.image[mask][:, c], 512) for c in range(3)], axis=1)
            patches = patches[size >= 24] / size[size >= 24, None]
            if len(patches) < 3:
                found[name].append(None)
                continue
            center = patches.mean(axis=0)
            found[name].append((center, float(np.mean(np.sum((patches - center) ** 2, axis=1)))))
    return found


@pytest.mark.parametrize(
    "group", [tuple(group.typical) for group in LOOK_ALIKES if "pole" not in group.typical], ids="/".join
)
def test_looks_vary_between_images_and_little_within(group: tuple[str, ...]) -> None:
    ratios = []
    for name in group:
        seen = [look for look in looks()[name] if look is not None]
        assert len(seen) >= 10
        between = np.var([center for center, _ in seen], axis=0).sum()
        within = np.mean([spread for _, spread in seen])
        ratios.append(between / within)
        assert ratios[-1] > 1.0, f"{name}: between images {between:.0f}, within {within:.0f}"
    assert np.mean(ratios) > 1.5


@pytest.mark.parametrize(
    "group", [tuple(group.typical) for group in LOOK_ALIKES if "pole" not in group.typical], ids="/".join
)
def test_look_alikes_overlap_across_images_but_not_within_one(group: tuple[str, ...]) -> None:
    overlaps = []
    for first, second in itertools.combinations(group, 2):
        a, b = looks()[first], looks()[second]
        both = [(x, y) for x, y in zip(a, b, strict=True) if x is not None and y is not None]
        # Within one image: the two looks are further apart than the patches of a class spread.
        distance = np.mean([np.linalg.norm(x[0] - y[0]) for x, y in both])
        spread = np.mean([np.sqrt((x[1] + y[1]) / 2) for x, y in both])
        assert distance > 1.2 * spread, f"{first}/{second}: distance {distance:.0f}, spread {spread:.0f}"
        # Across images: for most looks of the one class, some image shows the other class with a look as near as the
        # spread of one class within an image.
        centers_a = np.array([x[0] for x in a if x is not None])
        centers_b = np.array([y[0] for y in b if y is not None])
        nearest = np.linalg.norm(centers_a[:, None] - centers_b[None], axis=2).min(axis=1)
        overlaps.append(np.mean(nearest < distance / 2))
    assert np.mean(overlaps) > 0.5, overlaps


# ---- the written tree -----------------------------------------------------------------------------------------------


def test_the_tree_is_a_cityscapes_tree(tmp_path: Path) -> None:
    counts = {"train": 3, "val": 2, "test": 1}
    root = write_street_scenes(tmp_path / "scenes", **counts, size=(64, 128), seed=7)
    assert root == tmp_path / "scenes"
    pattern = re.compile(r"([a-z]+)_\d{6}_\d{6}_leftImg8bit\.png")
    pictures = set()
    for split, count in counts.items():
        images = sorted(root.glob(f"leftImg8bit/{split}/*/*_leftImg8bit.png"))
        assert len(images) == count
        for path in images:
            match = pattern.fullmatch(path.name)
            assert match is not None and match[1] == path.parent.name
            stem = root / "gtFine" / split / path.parent.name / path.name.removesuffix("_leftImg8bit.png")
            image, label_ids, instance_ids, color = (
                Image.open(name)
                for name in (path, *(f"{stem}_gtFine_{kind}.png" for kind in ("labelIds", "instanceIds", "color")))
            )
            assert (image.mode, label_ids.mode, color.mode) == ("RGB", "L", "RGB")
            assert instance_ids.mode.startswith("I")  # 16 bits
            assert image.size == label_ids.size == instance_ids.size == color.size == (128, 64)
            labels, instances = np.asarray(label_ids), np.asarray(instance_ids).astype(int)
            assert np.array_equal(np.where(instances >= 1000, instances // 1000, instances), labels)
            palette = np.array([label.color for label in LABELS])
            assert np.array_equal(palette[labels], np.asarray(color))
            # As in Cityscapes the test labels are withheld, the others are not.
            assert np.all(labels == 3) if split == "test" else len(np.intersect1d(labels, LABEL_IDS)) > 5
            pictures.add(np.asarray(image).tobytes())
    assert len(pictures) == sum(counts.values())  # no scene is in two splits
    first = np.asarray(Image.open(root / "leftImg8bit/train/streetville/streetville_000000_000019_leftImg8bit.png"))
    assert np.array_equal(first, draw_scene(7, 0, (64, 128)).image)
    assert [path.name for path in tmp_path.iterdir()] == ["scenes"]


def test_a_complete_tree_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = {"train": 1, "val": 1, "test": 0, "size": (32, 64)}
    root = write_street_scenes(tmp_path / "scenes", **wanted)
    monkeypatch.setattr(street_scenes, "draw_scene", lambda *_: pytest.fail("drew again"))
    assert write_street_scenes(str(root), **wanted) == root


def test_nothing_foreign_is_overwritten(tmp_path: Path) -> None:
    root = write_street_scenes(tmp_path / "scenes", train=1, val=0, test=0, size=(32, 64))
    with pytest.raises(FileExistsError, match="other street scenes"):
        write_street_scenes(root, train=2, val=0, test=0, size=(32, 64))
    recipe = next(file for file in root.iterdir() if file.is_file())
    recipe.write_text(recipe.read_text(encoding="utf-8")[:20], encoding="utf-8")
    with pytest.raises(FileExistsError, match="other street scenes"):
        write_street_scenes(root, train=1, val=0, test=0, size=(32, 64))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(FileExistsError, match="not written by"):
        write_street_scenes(tmp_path / "mine", train=1, val=0, test=0, size=(32, 64))
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "precious"


def test_an_interrupted_run_leaves_no_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(seed: int, index: int, size: tuple[int, int]) -> Scene:
        if index == 2:
            raise KeyboardInterrupt
        return draw_scene(seed, index, size)

    monkeypatch.setattr(street_scenes, "draw_scene", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_street_scenes(tmp_path / "scenes", train=5, val=0, test=0, size=(32, 64))
    assert list(tmp_path.iterdir()) == []

"""Generated street scenes: a small stand-in for Cityscapes that is drawn, not downloaded.

All 19 evaluated classes and void occur, in perspective, with texture, light, occlusion and sensor noise. The scenes
have one scientific property, the argument of the paper's Section 3.1.1: **the look of a class varies much between
images and little within one, and look-alike classes overlap across images but not within one**
(`styles.LOOK_ALIKES`: building/wall/fence, car/truck/bus/train, person/rider, vegetation/terrain, ...). In the
larger part of the images a class has its typical look, in the others any look of its group. A part of the objects
shows no tell-tale of its class — no windows, wheels, slats or sign face — and is settled by what its class looks like
in the rest of *this* image: what a class center holds.

`write_street_scenes` writes a tree in the Cityscapes layout, which the ordinary Cityscapes reader and the official
scripts read.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter
from tqdm import tqdm

from acfnet_tf.data.cityscapes import LABELS
from acfnet_tf.scenes.canvas import LABEL_ID
from acfnet_tf.scenes.layout import draw_street
from acfnet_tf.scenes.styles import Style, draw_style

GENERATOR_VERSION = 1
"""Raise it when the same (seed, index) gives another picture: trees written before are then refused, not mixed up."""

_CITIES = {"train": "streetville", "val": "pixelburg", "test": "nowhereham"}
_FIRST_INDEX = {"train": 0, "val": 1_000_000, "test": 2_000_000}
"""Splits use disjoint ranges of scene indices, so that no held-out look was seen in training."""

_RECIPE_FILE = "street_scenes.json"
_COLORS = np.zeros((256, 3), np.uint8)
for _label in LABELS:
    _COLORS[_label.label_id] = _label.color


class Scene(NamedTuple):
    """One labelled picture."""

    image: np.ndarray
    """(H, W, 3) uint8 RGB."""
    label_ids: np.ndarray
    """(H, W) uint8 Cityscapes labelIds."""
    instance_ids: np.ndarray
    """(H, W) uint16: labelId * 1000 + k for the k-th person or vehicle, else labelId."""


def draw_scene(seed: int, index: int, size: tuple[int, int] = (256, 512)) -> Scene:
    """Draws scene number `index` of the world `seed` at `size` (H, W).

    A pure function of its arguments, in any process and any order. Drawn at another size of the same aspect it is the
    same scene.
    """
    rng = Random(f"{seed}/{index}")
    noise = np.random.default_rng(rng.getrandbits(64))
    style = draw_style(rng)
    canvas = draw_street(rng, style, size)
    instance_ids = canvas.ids()
    label_ids = np.where(instance_ids >= 1000, instance_ids // 1000, instance_ids).astype(np.uint8)
    return Scene(_photograph(canvas.image, label_ids, style, noise), label_ids, instance_ids)


def _octave(noise: np.random.Generator, rows: int, size: tuple[int, int]) -> np.ndarray:
    """(H, W) float32 noise whose grain is 1/rows of the picture's height, whatever its size in pixels."""
    columns = max(1, round(rows * size[1] / size[0]))
    field = noise.standard_normal((rows, columns), np.float32)
    if field.shape == size:
        return field
    return np.asarray(Image.fromarray(field).resize(size[::-1], Image.Resampling.BILINEAR))


def _photograph(drawing: Image.Image, label_ids: np.ndarray, style: Style, noise: np.random.Generator) -> np.ndarray:
    """From flat colours to a picture: lens blur, the classes' textures, light, sensor noise. (H, W, 3) uint8."""
    size = label_ids.shape
    picture = np.asarray(drawing.filter(ImageFilter.BoxBlur(0.5 * size[0] / 256))).astype(np.float32)

    amplitudes = np.full((3, 256), 0.03, np.float32)
    slope = np.zeros(256, np.float32)
    for name, texture in style.textures.items():
        amplitudes[:, LABEL_ID[name]] = texture
    slope[LABEL_ID["sky"]] = 0.25
    gain = 1 + slope[label_ids] * np.linspace(-0.5, 1.0, size[0], dtype=np.float32)[:, None]
    for rows, amplitude in zip((16, 64, 256), amplitudes, strict=True):
        gain += amplitude[label_ids] * _octave(noise, rows, size)
    picture *= gain[..., None] * np.asarray(style.brightness, np.float32)
    picture += style.noise * noise.standard_normal(picture.shape, np.float32)
    return np.clip(picture, 0, 255).astype(np.uint8)


def _save(array: np.ndarray, path: Path, noisy: bool = False) -> None:
    # Searching a noisy picture for repetitions costs time and finds none: Huffman coding alone is faster and smaller.
    options = {"compress_type": Image.HUFFMAN_ONLY} if noisy else {}
    Image.fromarray(array).save(path, compress_level=1, **options)


def _write_scene(root: Path, split: str, number: int, size: tuple[int, int], seed: int) -> None:
    """Draws one scene and writes its four files."""
    city = _CITIES[split]
    stem = f"{city}_{number:06d}_000019"
    scene = draw_scene(seed, _FIRST_INDEX[split] + number, size)
    label_ids, instance_ids = scene.label_ids, scene.instance_ids
    if split == "test":  # Cityscapes withholds its test labels, too.
        label_ids = np.full_like(label_ids, LABEL_ID["out of roi"])
        instance_ids = label_ids.astype(np.uint16)
    _save(scene.image, root / "leftImg8bit" / split / city / f"{stem}_leftImg8bit.png", noisy=True)
    labels = root / "gtFine" / split / city / f"{stem}_gtFine_"
    _save(label_ids, Path(f"{labels}labelIds.png"))
    _save(instance_ids, Path(f"{labels}instanceIds.png"))
    _save(_COLORS[label_ids], Path(f"{labels}color.png"))


def write_street_scenes(
    root: Path | str, *, train: int, val: int, test: int, size: tuple[int, int] = (256, 512), seed: int = 0
) -> Path:
    """Writes a data set of generated scenes in the Cityscapes layout and returns its folder.

    The tree appears under `root` only when it is complete. If the same one is already there, nothing is done; anything
    else there is never touched: that is an error.
    """
    root = Path(root)
    counts = {"train": train, "val": val, "test": test}
    recipe = {"version": GENERATOR_VERSION, **counts, "size": list(size), "seed": seed}
    if _is_written(root, recipe):
        return root
    root.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{root.name}.partial-", dir=root.parent))
    try:
        for split, city in _CITIES.items():
            for kind in ("leftImg8bit", "gtFine"):
                (partial / kind / split / city).mkdir(parents=True)
        tasks = [(split, number) for split, count in counts.items() for number in range(count)]
        # These are threads, not processes: new processes would each import TensorFlow first, and NumPy and the PNG
        # encoder, where most of the time goes, run without the interpreter lock.
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            futures = [pool.submit(_write_scene, partial, split, number, size, seed) for split, number in tasks]
            try:
                for future in tqdm(futures, desc="Drawing street scenes", unit="scene"):
                    future.result()
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        (partial / _RECIPE_FILE).write_text(json.dumps(recipe, indent=2) + "\n", encoding="utf-8")
        partial.chmod(0o755)  # mkdtemp makes folders that only their owner can read.
        try:
            partial.rename(root)
        except OSError:  # Another process may have written the same tree meanwhile.
            if not _is_written(root, recipe):
                raise
        return root
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _is_written(root: Path, recipe: dict[str, object]) -> bool:
    """Whether `root` holds the scenes of this recipe; an error if it holds anything else."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    recipe_file = root / _RECIPE_FILE
    if not recipe_file.is_file():
        raise FileExistsError(f"{root} exists and was not written by write_street_scenes; choose another folder.")
    try:
        other = json.loads(recipe_file.read_text(encoding="utf-8"))
    except ValueError:  # The file is cut off, or somebody else's.
        other = f"{recipe_file.name} cannot be read"
    if other != recipe:
        text = f"{root} holds other street scenes: {other}, wanted {recipe}. Remove it or choose another."
        raise FileExistsError(text)
    return True

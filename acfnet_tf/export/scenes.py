"""The real scenes on which exported files are compared with the Keras model."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from acfnet_tf.data.classes import ClassSet
from acfnet_tf.data.reading import load_sample, read_image
from acfnet_tf.data.sample import Sample


@dataclass(frozen=True)
class Scene:
    """An image (H, W, 3) uint8, and its labels (H, W) if it has a mask."""

    name: str
    image: np.ndarray
    label: np.ndarray | None

    @property
    def size(self) -> str:
        """Height×width."""
        return "{}×{}".format(*self.image.shape[:2])

    def cropped(self, height: int, width: int) -> Scene:
        """Its upper left part, of at least a pixel."""
        rows, columns = slice(max(1, height)), slice(max(1, width))
        label = None if self.label is None else self.label[rows, columns]
        return dataclasses.replace(self, image=self.image[rows, columns], label=label)


def read_scenes(samples: Sequence[Sample], classes: ClassSet, max_pixels: int) -> Iterator[Scene]:
    """The scenes of some samples; what is above `max_pixels` is cropped.

    Raises:
        DataError: an image or a mask is bad.
    """
    for sample in samples:
        if sample.label is None:
            scene = Scene(sample.name, read_image(sample.image), None)
        else:
            scene = Scene(sample.name, *load_sample(sample, classes))
        height, width = scene.image.shape[:2]
        side = min(1.0, (max_pixels / (height * width)) ** 0.5)
        yield scene.cropped(int(side * height), int(side * width))


def at_two_sizes(scenes: Sequence[Scene]) -> list[Scene]:
    """Each scene as it is, and a part of it whose size is no multiple of the network's stride."""
    heights_widths = [scene.image.shape[:2] for scene in scenes]
    parts = [
        scene.cropped(3 * height // 4 - 3, 3 * width // 4 - 3)
        for scene, (height, width) in zip(scenes, heights_widths, strict=True)
    ]
    return [*scenes, *parts]

"""The real scenes on which exported files are compared with the Keras model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from acfnet_tf.data.classes import ClassSet
from acfnet_tf.data.sample import Sample
from acfnet_tf.pictures import Picture, read_picture


def read_scenes(samples: Sequence[Sample], classes: ClassSet, max_pixels: int) -> Iterator[Picture]:
    """The scenes of some samples; what is above `max_pixels` is cropped.

    Raises:
        DataError: an image or a mask is bad.
    """
    for sample in samples:
        scene = read_picture(sample, classes)
        height, width = scene.size
        side = min(1.0, (max_pixels / (height * width)) ** 0.5)
        yield _cropped(scene, int(side * height), int(side * width))


def at_two_sizes(scenes: Sequence[Picture]) -> list[Picture]:
    """Each scene as it is, and a part of it whose size is no multiple of the network's stride."""
    return [*scenes, *(_cropped(scene, *(3 * length // 4 - 3 for length in scene.size)) for scene in scenes)]


def _cropped(scene: Picture, height: int, width: int) -> Picture:
    """Its upper left part, of at least a pixel."""
    part = slice(max(1, height)), slice(max(1, width))
    return scene._replace(image=scene.image[part], label=None if scene.label is None else scene.label[part])

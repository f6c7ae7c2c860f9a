"""The camera and the canvas of the street-scene generator: metres in, pixels and labels out.

World coordinates are metres: x to the right of the camera, y up from the ground, z ahead. Everything is projected in
coordinates relative to the picture, so one scene drawn at two sizes is the same scene.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from acfnet_tf.data.cityscapes import LABELS
from acfnet_tf.scenes.styles import Color, Style

LABEL_ID = {label.name: label.label_id for label in LABELS}
FIRST_INSTANCE_LABEL = LABEL_ID["person"]
"""In Cityscapes the labels from here on (humans and vehicles) are told apart object by object."""

Point = tuple[float, float]


class Camera(NamedTuple):
    size: tuple[int, int]
    """(H, W) in pixels."""
    horizon: float
    """Row of the horizon, relative to H."""
    focal: float
    """Focal length, relative to H."""
    height: float
    """Metres above the ground."""

    def project(self, x: float, y: float, z: float) -> Point:
        """The pixel (column, row) where a point of the world is seen."""
        rows, columns = self.size
        scale = self.focal * rows / z
        return columns / 2 + scale * x, rows * self.horizon + scale * (self.height - y)

    def pixels(self, metres: float, z: float) -> float:
        """How many pixels a length facing the camera at distance z covers."""
        return self.focal * self.size[0] * metres / z

    def reach(self, z: float) -> float:
        """How far to the side (metres) the picture reaches at distance z."""
        return z * self.size[1] / (2 * self.focal * self.size[0])


class Panel(NamedTuple):
    """An upright rectangle in the world, addressed by fractions: u along its ground line, v upwards."""

    camera: Camera
    start: tuple[float, float, float]
    along: tuple[float, float]
    """(x, z) from one end of its ground line to the other."""
    height: float

    def point(self, u: float, v: float) -> Point:
        """The pixel where this point of the panel is seen."""
        x, y, z = self.start
        return self.camera.project(x + u * self.along[0], y + v * self.height, z + u * self.along[1])

    def quad(self, u0: float = 0.0, u1: float = 1.0, v0: float = 0.0, v1: float = 1.0) -> list[Point]:
        """The corners of an upright rectangle in the panel; by default all of it."""
        return [self.point(u0, v0), self.point(u1, v0), self.point(u1, v1), self.point(u0, v1)]

    def polygon(self, outline: Iterable[Point]) -> list[Point]:
        """The pixels where the points (u, v) of an outline are seen."""
        return [self.point(u, v) for u, v in outline]

    def disc(self, u: float, v: float, radius: float, corners: int = 12) -> list[Point]:
        """The corners of a circle of `radius` metres in the panel."""
        length = float(np.hypot(*self.along))
        angles = np.arange(corners) * (2 * np.pi / corners)
        return [
            self.point(u + radius * float(c) / length, v + radius * float(s) / self.height)
            for c, s in zip(np.cos(angles), np.sin(angles), strict=True)
        ]


class Canvas:
    """Draws every shape twice, with the same rasteriser: its colour into the image and its id into the labels.

    So the labels fit the image to the pixel. Ids are those of Cityscapes's instance images: `labelId`, or
    `labelId * 1000 + k` for the k-th person or vehicle.
    """

    def __init__(self, camera: Camera, style: Style) -> None:
        self.camera, self.project, self.pixels = camera, camera.project, camera.pixels
        self.style, self.shade = style, style.shade
        self.image = Image.new("RGB", camera.size[::-1])
        self._ids = Image.new("I", camera.size[::-1])
        self._image_pen, self._id_pen = ImageDraw.Draw(self.image), ImageDraw.Draw(self._ids)
        self._instances: Counter[str] = Counter()

    def new_object(self, name: str) -> int:
        """The id of a new object of class `name`."""
        label = LABEL_ID[name]
        if label < FIRST_INSTANCE_LABEL:
            return label
        self._instances[name] += 1
        return label * 1000 + self._instances[name] - 1

    def polygon(self, points: Sequence[Point], color: Color, identity: int) -> None:
        """Draws a filled shape with these corners (pixels)."""
        self._image_pen.polygon(points, fill=color)
        self._id_pen.polygon(points, fill=identity)

    def ellipse(self, center: Point, radius_x: float, radius_y: float, color: Color, identity: int) -> None:
        """Draws a filled ellipse; all measures are pixels."""
        x, y = center
        box = (x - radius_x, y - radius_y, x + radius_x, y + radius_y)
        self._image_pen.ellipse(box, fill=color)
        self._id_pen.ellipse(box, fill=identity)

    def line(self, points: Sequence[Point], width: float, color: Color, identity: int) -> None:
        """Draws a line through these pixels, at least one pixel wide."""
        pixels = max(1, round(width))
        self._image_pen.line(points, fill=color, width=pixels)
        self._id_pen.line(points, fill=identity, width=pixels)

    def _flat(self, x0: float, x1: float, z0: float, z1: float, y: float = 0) -> list[Point]:
        """The corners of a level rectangle, y above the ground."""
        return [self.project(x, y, z) for x, z in ((x0, z0), (x1, z0), (x1, z1), (x0, z1))]

    def ground(self, x0: float, x1: float, z0: float, z1: float, color: Color, identity: int) -> None:
        """Draws a rectangle that lies on the ground."""
        self.polygon(self._flat(x0, x1, z0, z1), color, identity)

    def shadow(self, x0: float, x1: float, z0: float, z1: float) -> None:
        """Darkens the ground under an object; ground keeps its label. To be called before objects are drawn."""
        self._image_pen.polygon(self._flat(x0, x1, z0, z1), self.shade(self.style.colors["road"], 0.55, z0))

    def box(
        self, x: float, z: float, size: tuple[float, float, float], y: float, color: Color, identity: int
    ) -> tuple[Panel, Panel | None]:
        """Draws a box of `size` (width, height, length) that stands y above the ground, its near left edge at (x, z).

        Returns its near panel and, where one is seen, its side panel.
        """
        width, height, length = size
        front = Panel(self.camera, (x, y, z), (width, 0.0), height)
        side = None
        if x > 0:
            side = Panel(self.camera, (x, y, z), (0.0, length), height)
        elif x + width < 0:
            side = Panel(self.camera, (x + width, y, z), (0.0, length), height)
        if side is not None:
            light = self.style.side_light[0 if x < 0 else 1]
            self.polygon(side.quad(), self.shade(color, light, z + length / 3), identity)
        self.polygon(front.quad(), self.shade(color, 1.0, z), identity)
        if y + height < self.camera.height:
            self.polygon(self._flat(x, x + width, z, z + length, y + height), self.shade(color, 1.1, z), identity)
        return front, side

    def relabel_border(self, width: int, identity: int) -> None:
        """Gives the outermost `width` pixels a new id; the image stays."""
        columns, rows = self._ids.size
        self._id_pen.rectangle((0, 0, columns - 1, rows - 1), outline=identity, width=width)

    def ids(self) -> np.ndarray:
        """(H, W) uint16 Cityscapes instance ids."""
        return np.asarray(self._ids).astype(np.uint16)

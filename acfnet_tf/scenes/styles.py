"""What the classes of one drawn street scene look like: the part of the generator that carries its scientific property.

The classes fall into look-alike groups. A class has a typical look, but in a large part of the images (see `TYPICAL`)
it draws its base colour from the broad distribution that it shares with its group, so that across images a colour only
suggests which member of the group it is. Within one image the members' colours are kept a minimal distance apart and
every object of a class has nearly the same colour, so that knowing what "wall" looks like *in this image* settles which
of the plain surfaces are walls.
"""

from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

Color = tuple[int, int, int]
Range = tuple[float, float]
Look = tuple[Range, Range, Range]
"""Ranges of hue, saturation and value in 0–1."""


class LookAlikes(NamedTuple):
    """Classes that share one distribution of looks. `distance` is Euclidean in RGB 0–255."""

    shared: Look
    typical: dict[str, Look]
    """Class name → the part of the shared distribution in which the class is seen most often."""
    distance: float
    roughness: Range
    """Range of the texture's amplitude, relative to the colour."""


LOOK_ALIKES = (
    LookAlikes(
        ((-0.04, 0.15), (0.05, 0.60), (0.32, 0.92)),
        {
            "building": ((0.05, 0.15), (0.05, 0.40), (0.40, 0.92)),
            "wall": ((-0.04, 0.04), (0.35, 0.60), (0.50, 0.80)),
            "fence": ((0.06, 0.12), (0.40, 0.60), (0.32, 0.50)),
        },
        62,
        (0.02, 0.07),
    ),
    LookAlikes(
        ((0.45, 1.02), (0.35, 0.95), (0.35, 1.00)),
        {
            "car": ((0.90, 1.02), (0.50, 0.95), (0.35, 1.00)),
            "truck": ((0.55, 0.66), (0.45, 0.95), (0.35, 1.00)),
            "bus": ((0.70, 0.88), (0.35, 0.90), (0.35, 1.00)),
            "train": ((0.45, 0.53), (0.35, 0.95), (0.35, 1.00)),
        },
        85,
        (0.01, 0.04),
    ),
    LookAlikes(
        ((0.0, 1.0), (0.30, 0.95), (0.25, 0.95)),
        {"person": ((0.60, 0.80), (0.40, 0.80), (0.30, 0.70)), "rider": ((0.08, 0.18), (0.75, 0.95), (0.75, 0.95))},
        95,
        (0.02, 0.05),
    ),
    LookAlikes(
        ((0.11, 0.40), (0.35, 0.80), (0.22, 0.72)),
        {
            "vegetation": ((0.26, 0.40), (0.45, 0.80), (0.25, 0.50)),
            "terrain": ((0.11, 0.20), (0.40, 0.75), (0.50, 0.72)),
        },
        55,
        (0.06, 0.18),
    ),
    LookAlikes(
        ((0.0, 1.0), (0.0, 0.12), (0.24, 0.70)),
        {"road": ((0.5, 0.8), (0.0, 0.12), (0.24, 0.42)), "sidewalk": ((0.0, 0.15), (0.0, 0.12), (0.45, 0.70))},
        42,
        (0.02, 0.05),
    ),
    LookAlikes(
        ((0.50, 0.70), (0.0, 0.20), (0.12, 0.92)),
        {
            "pole": ((0.50, 0.70), (0.0, 0.20), (0.45, 0.65)),
            "traffic light": ((0.50, 0.70), (0.0, 0.20), (0.12, 0.22)),
            "traffic sign": ((0.50, 0.70), (0.0, 0.20), (0.65, 0.92)),
        },
        60,
        (0.01, 0.04),
    ),
    LookAlikes(
        ((0.0, 1.0), (0.0, 0.50), (0.15, 0.95)),
        {"motorcycle": ((0.9, 1.1), (0.25, 0.50), (0.15, 0.35)), "bicycle": ((0.25, 0.65), (0.15, 0.50), (0.55, 0.95))},
        85,
        (0.02, 0.06),
    ),
)
"""The ranges overlap within a group; between groups they differ, as brick, paint and leaves do."""

TYPICAL = 0.6
"""The fraction of the images in which a class has its typical look. In the others it may look like any of its group."""

_LIGHTS = (
    ((0.54, 0.62), (0.20, 0.60), (0.75, 1.00), (0.90, 1.10), (-0.02, 0.04), (0.001, 0.003)),  # day
    ((0.50, 0.65), (0.00, 0.10), (0.65, 0.95), (0.80, 0.98), (-0.04, 0.02), (0.002, 0.005)),  # overcast
    ((0.00, 0.12), (0.10, 0.50), (0.65, 0.95), (0.70, 0.90), (0.02, 0.08), (0.001, 0.004)),  # dusk
)
"""Per light the ranges of the sky's hue, saturation and value, of the whole picture's brightness and warmth (red up,
blue down), and of the haze per metre."""


class Texture(NamedTuple):
    """Relative amplitudes of the three noise octaves, coarse to fine."""

    coarse: float
    middle: float
    fine: float


@dataclass(frozen=True)
class Style:
    """The look of one image."""

    colors: dict[str, Color]
    """Class name → base colour of its objects in this image."""
    textures: dict[str, Texture]
    haze_color: Color
    haze_per_metre: float
    side_light: tuple[float, float]
    """Brightness of surfaces left and right of the street: where the sun stands."""
    brightness: tuple[float, float, float]
    """Factor per RGB channel over the whole picture."""
    noise: float
    """Standard deviation of the sensor noise, in grey levels."""
    bare: float
    """Probability that an object shows no tell-tale of its class (no windows, wheels, slats, sign face, ...)."""

    def shade(self, color: Color, factor: float = 1.0, distance: float = 0.0) -> Color:
        """`color` made darker or brighter by `factor` and seen through `distance` metres of haze."""
        clear = math.exp(-self.haze_per_metre * distance)
        mixed = (clear * factor * part + (1 - clear) * haze for part, haze in zip(color, self.haze_color, strict=True))
        return tuple(min(255, max(0, round(part))) for part in mixed)  # type: ignore[return-value]


def _from_hsv(hue: float, saturation: float, value: float) -> Color:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return round(255 * red), round(255 * green), round(255 * blue)


def _distinct_colors(rng: Random, group: LookAlikes) -> list[Color]:
    """One colour per class of the group, at least `group.distance` apart.

    Whole sets are rejected, never single colours, which would favour the classes that are drawn first.
    """
    best, best_distance = [], -1.0
    for _ in range(200):
        looks = [typical if rng.random() < TYPICAL else group.shared for typical in group.typical.values()]
        colors = [_from_hsv(*(rng.uniform(*limits) for limits in look)) for look in looks]
        nearest = min(math.dist(a, b) for i, a in enumerate(colors) for b in colors[:i])
        if nearest > best_distance:
            best, best_distance = colors, nearest
        if nearest >= group.distance:
            break
    return best


def draw_style(rng: Random) -> Style:
    """Draws the look of one image: light, season, material, and one look per class."""
    colors: dict[str, Color] = {}
    textures: dict[str, Texture] = {}
    for group in LOOK_ALIKES:
        for name, color in zip(group.typical, _distinct_colors(rng, group), strict=True):
            colors[name] = color
            textures[name] = Texture(*(rng.uniform(*group.roughness) for _ in Texture._fields))

    hue, saturation, value, brightness, warmth, haze = rng.choices(_LIGHTS, weights=(5, 3, 2))[0]
    colors["sky"] = _from_hsv(rng.uniform(*hue), rng.uniform(*saturation), rng.uniform(*value))
    textures["sky"] = Texture(rng.uniform(0.0, 0.08), rng.uniform(0.0, 0.02), 0.0)
    light, warm = rng.uniform(*brightness), rng.uniform(*warmth)
    sun = rng.uniform(-0.08, 0.08)
    return Style(
        colors=colors,
        textures=textures,
        haze_color=colors["sky"],
        haze_per_metre=rng.uniform(*haze),
        side_light=(1 + sun, 1 - sun),
        brightness=(light * (1 + warm), light, light * (1 - warm)),
        noise=rng.uniform(2.0, 5.0),
        bare=rng.uniform(0.05, 0.25),
    )

"""What stands still in a generated street scene: buildings, walls, fences, plants, and poles with what hangs on them.

Every function takes the world position in metres and draws the object with all its labels. `bare` objects show no
tell-tale of their class: only their colour and texture, which they share with the others of the image, give them away.
"""

from __future__ import annotations

from random import Random
from typing import NamedTuple

import numpy as np

from acfnet_tf.scenes.canvas import Canvas, Panel
from acfnet_tf.scenes.styles import Color

_DEPTH = 12.0
"""How far (metres) buildings reach away from the street."""


class Lot(NamedTuple):
    """A piece of the roadside from z on, whose edge towards the street is at x, and what stands on it."""

    x: float
    side: int
    """−1 left of the street, +1 right of it."""
    z: float
    length: float
    height: float
    bare: bool


def _block(
    canvas: Canvas, rng: Random, lot: Lot, name: str, depth: float, variety: float
) -> tuple[int, Color, list[Panel]]:
    """Draws a box of this class, `depth` metres wide, on the whole lot: its id, its colour and its visible panels.

    The nearest panel is the first one; the second, where it is seen, is the one along the street.
    """
    identity = canvas.new_object(name)
    color = canvas.shade(canvas.style.colors[name], rng.uniform(1 - variety, 1 + variety))
    left = lot.x if lot.side > 0 else lot.x - depth
    panels = canvas.box(left, lot.z, (depth, lot.height, lot.length), 0.0, color, identity)
    return identity, color, [panel for panel in panels if panel is not None]


def draw_building(canvas: Canvas, rng: Random, lot: Lot) -> None:
    """A house whose facade lies along the street; its tell-tales are windows, doors and a roof."""
    identity, color, panels = _block(canvas, rng, lot, "building", _DEPTH, 0.05)
    glass = canvas.shade(color, rng.uniform(0.35, 0.6), lot.z)  # Rooms behind panes are dark.
    if lot.bare:
        return
    storeys = max(1, round(lot.height / 3.0))
    roof = canvas.shade(canvas.style.colors["building"], 0.7, lot.z)
    for panel in reversed(panels):
        count = max(1, round(float(np.hypot(*panel.along)) / 2.6))
        step_u, step_v = 1.0 / count, 1.0 / storeys
        for storey in range(storeys):
            low, high = (storey + 0.3) * step_v, (storey + 0.8) * step_v
            if lot.z > 38:  # Far away the windows of a storey merge into a band.
                canvas.polygon(panel.quad(0.03, 0.97, low, high), canvas.shade(glass, 1.4), identity)
                continue
            for column in range(count):
                left, right = (column + 0.27) * step_u, (column + 0.73) * step_u
                door = storey == 0 and column % 4 == 1
                canvas.polygon(panel.quad(left, right, 0.0 if door else low, high), glass, identity)
        canvas.polygon(panel.quad(0.0, 1.0, 1 - 0.25 / lot.height, 1.0), roof, identity)


def draw_wall(canvas: Canvas, rng: Random, lot: Lot) -> None:
    """A wall along the street; its tell-tales are courses of stone and a coping."""
    identity, color, panels = _block(canvas, rng, lot, "wall", 0.5, 0.04)
    courses = max(3, round(lot.height / 0.6))
    joint, coping = canvas.shade(color, 0.78, lot.z), canvas.shade(color, 1.3, lot.z)
    for panel in [] if lot.bare else panels:
        for course in range(1, courses):
            v = course / courses
            canvas.polygon(panel.quad(0, 1, v - 0.08 / lot.height, v), joint, identity)
        canvas.polygon(panel.quad(0, 1, 1 - 0.16 / lot.height, 1), coping, identity)


def draw_fence(canvas: Canvas, rng: Random, lot: Lot) -> None:
    """A fence along the street; its tell-tale is its slats. As in Cityscapes, the gaps belong to the fence."""
    identity, color, panels = _block(canvas, rng, lot, "fence", 0.12, 0.04)
    slats = max(4, round(lot.length / 0.9))
    for panel in [] if lot.bare else panels[1:]:
        for slat in range(slats):
            gap = panel.quad((slat + 0.55) / slats, (slat + 1.0) / slats, 0.04, 0.97)
            canvas.polygon(gap, canvas.shade(color, 0.55, lot.z + lot.length * slat / slats), identity)
        canvas.polygon(panel.quad(0, 1, 0.72, 0.78), canvas.shade(color, 0.9, lot.z), identity)


def _foliage(
    canvas: Canvas, rng: Random, x: float, y: float, z: float, radius: float, identity: int, clumps: int = 12
) -> None:
    """A crown: overlapping clumps of leaves, darker below, brighter above."""
    base = canvas.style.colors["vegetation"]
    clump = canvas.pixels(radius * 0.55, z)
    wide, high = canvas.pixels(radius * 0.85, z), canvas.pixels(radius * 0.8, z)
    canvas.ellipse(canvas.project(x, y, z), wide, high, canvas.shade(base, 0.9, z), identity)
    for _ in range(clumps):
        across, up = rng.uniform(-0.7, 0.7) * radius, rng.uniform(-0.6, 0.6) * radius
        light = 0.97 + 0.16 * up / radius + rng.uniform(-0.06, 0.06)
        center = canvas.project(x + across, y + up, z)
        canvas.ellipse(center, clump, clump * 0.85, canvas.shade(base, light, z), identity)


def draw_tree(canvas: Canvas, rng: Random, x: float, z: float) -> None:
    """A tree; Cityscapes counts its trunk as vegetation."""
    identity = canvas.new_object("vegetation")
    radius = rng.uniform(1.2, 2.3)
    crown = rng.uniform(1.8, 3.2) + radius
    width = max(canvas.pixels(rng.uniform(0.22, 0.4), z), 0.01 * canvas.camera.size[0])
    bark = canvas.shade(canvas.style.colors["vegetation"], 0.5, z)
    canvas.line([canvas.project(x, 0, z), canvas.project(x, crown, z)], width, bark, identity)
    _foliage(canvas, rng, x, crown, z, radius, identity)


def draw_bush(canvas: Canvas, rng: Random, x: float, z: float) -> None:
    """A low crown on the ground."""
    radius = rng.uniform(0.5, 1.1)
    _foliage(canvas, rng, x, 0.6 * radius, z, radius, canvas.new_object("vegetation"), clumps=7)


def draw_far_trees(canvas: Canvas, rng: Random, x: float, z: float) -> None:
    """A clump of trees on the horizon."""
    radius = rng.uniform(3, 5)
    _foliage(canvas, rng, x, 0.7 * radius, z, radius, canvas.new_object("vegetation"), clumps=6)


def draw_hedge(canvas: Canvas, rng: Random, lot: Lot) -> None:
    """A hedge along the street; its tell-tale is the uneven leafage (a bare one is trimmed flat)."""
    identity, _, _ = _block(canvas, rng, lot, "vegetation", 1.2, 0.05)
    steps = 0 if lot.bare else max(3, round(lot.length / 0.9))
    for step in reversed(range(steps)):
        z = lot.z + lot.length * step / steps
        _foliage(canvas, rng, lot.x + 0.3 * lot.side, lot.height, z, 0.65, identity, clumps=3)


def draw_bank(canvas: Canvas, rng: Random, lot: Lot) -> None:
    """A grass slope along the street, as high as a hedge; its tell-tale is the soft crest."""
    identity, color, _ = _block(canvas, rng, lot, "terrain", _DEPTH, 0.05)
    if lot.bare:
        return
    project, end = canvas.project, lot.z + lot.length
    foot = [project(lot.x - 0.9 * lot.side, 0, z) for z in (lot.z, end)]
    crest = [project(lot.x, lot.height, z) for z in (end, lot.z)]
    canvas.polygon(foot + crest, canvas.shade(color, 1.08, lot.z + lot.length / 3), identity)


def draw_pole(canvas: Canvas, x: float, z: float, height: float) -> Panel:
    """A post; returns the plane in which signs hang on it (one metre wide, centred on the post)."""
    # At least 2.4 % of the picture's height: below that a stride-8 network has nothing to see.
    width = max(canvas.pixels(0.24, z), 0.024 * canvas.camera.size[0])
    column, top = canvas.project(x, height, z)
    bottom = canvas.project(x, 0, z)[1]
    color = canvas.shade(canvas.style.colors["pole"], 1.0, z)
    left, right = column - width / 2, column + width / 2
    canvas.polygon([(left, top), (right, top), (right, bottom), (left, bottom)], color, canvas.new_object("pole"))
    return Panel(canvas.camera, (x - 0.5, 0.0, z), (1.0, 0.0), height)


def draw_lamp_post(canvas: Canvas, rng: Random, x: float, z: float) -> None:
    """A high post whose arm reaches over the street."""
    height = rng.uniform(4.5, 7.0)
    draw_pole(canvas, x, z, height)
    arm = [canvas.project(x, height, z), canvas.project(x - (1.4 if x > 0 else -1.4), height, z)]
    width = max(canvas.pixels(0.14, z), 0.01 * canvas.camera.size[0])
    canvas.line(arm, width, canvas.shade(canvas.style.colors["pole"], 1.0, z), canvas.new_object("pole"))


def draw_traffic_light(canvas: Canvas, rng: Random, x: float, z: float, bare: bool) -> None:
    """A post with a signal box; seen from behind (bare) the box shows no lamps."""
    height = rng.uniform(2.8, 3.6)
    panel = draw_pole(canvas, x, z, height)
    identity = canvas.new_object("traffic light")
    color = canvas.shade(canvas.style.colors["traffic light"], rng.uniform(0.95, 1.05), z)
    low = 1 - 1.3 / height
    canvas.polygon(panel.quad(0.12, 0.88, low, 1.0), color, identity)
    if bare:
        return
    lit = rng.randrange(3)
    for lamp, bright in enumerate(((60, 220, 110), (250, 190, 40), (240, 50, 40))):
        light = bright if lamp == lit else canvas.shade(color, 0.45)
        canvas.polygon(panel.disc(0.5, low + (0.23 + 0.42 * lamp) / height, 0.19), light, identity)


_FACES: tuple[tuple[Color, Color], ...] = (
    ((225, 225, 225), (200, 30, 35)),
    ((35, 75, 175), (230, 230, 230)),
    ((235, 195, 40), (240, 240, 240)),
    ((200, 30, 35), (235, 235, 235)),
)
"""(field, rim) of sign faces."""


def draw_traffic_sign(canvas: Canvas, rng: Random, x: float, z: float, bare: bool) -> None:
    """A post with a round, triangular or square sign; seen from behind (bare) it is plain metal."""
    height = rng.uniform(2.3, 3.2)
    panel = draw_pole(canvas, x, z, height)
    identity = canvas.new_object("traffic sign")
    metal = canvas.shade(canvas.style.colors["traffic sign"], rng.uniform(0.95, 1.05), z)
    field, rim = (canvas.shade(part, 0.9, z) for part in rng.choice(_FACES))
    radius = rng.uniform(0.55, 0.7)
    corners = rng.choice((3, 4, 14))
    center = 1 - radius / height
    if corners == 4 or bare:
        half = (0.8 if corners == 4 else 0.5) * radius
        outlines = [
            panel.quad(0.5 - s * half, 0.5 + s * half, center - s * radius / height, center + s * radius / height)
            for s in (1.0, 0.72)
        ]
    else:
        outlines = [panel.disc(0.5, center, s * radius, corners) for s in (1.0, 0.68)]
    if corners == 3 and not bare:  # A triangle points upwards.
        outlines = [
            [panel.point(0.5, center + s * radius / height)]
            + [panel.point(0.5 + d * s * radius, center - 0.7 * s * radius / height) for d in (1, -1)]
            for s in (1.0, 0.55)
        ]
    # The rim keeps the metal's look, so that faces and backs of one image have something in common.
    canvas.polygon(outlines[0], metal if bare else rim, identity)
    canvas.polygon(outlines[1], metal if bare else field, identity)
    plate = panel.quad(0.5 - radius * 0.7, 0.5 + radius * 0.7, center - 1.9 * radius / height, center - radius / height)
    canvas.polygon(plate, metal, identity)


def draw_clutter(canvas: Canvas, rng: Random, x: float, z: float) -> None:
    """A void object on the pavement: a bin or cabinet (static), a pram or trolley (dynamic)."""
    kind = rng.choice(("static", "static", "dynamic"))
    color = tuple(rng.randrange(40, 200) for _ in range(3))
    size = (rng.uniform(0.5, 0.9), rng.uniform(0.7, 1.3), 0.6)
    canvas.box(x - size[0] / 2, z, size, 0.0, color, canvas.new_object(kind))

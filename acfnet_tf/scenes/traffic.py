"""What moves in a generated street scene: cars, trucks, buses, trains, persons, riders and their cycles.

As in `surroundings`, `bare` objects show no tell-tale of their class, only its colour and texture in this image.
"""

from __future__ import annotations

from random import Random

from acfnet_tf.scenes.canvas import Canvas, Panel
from acfnet_tf.scenes.styles import Color

_TYRE: Color = (28, 28, 30)


BUILDS = {
    "car": ((1.75, 1.95), (1.45, 1.75), (3.9, 4.7)),
    "truck": ((2.4, 2.6), (2.8, 3.7), (6.5, 9.0)),
    "bus": ((2.45, 2.6), (2.9, 3.3), (8.5, 12.0)),
    "train": ((2.5, 2.8), (3.2, 3.8), (16.0, 28.0)),
}
"""The ranges of a vehicle's width, height and length in metres."""


def _glass(canvas: Canvas, color: Color, z: float) -> Color:
    """Window panes: dark, with the body's paint mirrored in them."""
    dark = (45, 55, 65)
    mixed = tuple(round(0.55 * pane + 0.4 * paint) for pane, paint in zip(dark, color, strict=True))
    return canvas.shade(mixed, 1.0, z)  # type: ignore[arg-type]


def _wheels(canvas: Canvas, panel: Panel, places: tuple[float, ...], radius: float, identity: int) -> None:
    """Wheels seen from the side. The panel may begin above the ground: wheels stand on the ground."""
    center = (radius - panel.start[1]) / panel.height
    for place in places:
        canvas.polygon(panel.disc(place, center, radius), _TYRE, identity)
        canvas.polygon(panel.disc(place, center, 0.5 * radius, 8), (120, 120, 125), identity)


def _wheels_ahead(canvas: Canvas, x: float, z: float, width: float, identity: int) -> None:
    """Wheels seen from behind, below a body that begins 0.35 m above the ground."""
    panel = Panel(canvas.camera, (x, 0.0, z), (width, 0.0), 0.4)
    for left in (0.06, 0.80):
        canvas.polygon(panel.quad(left, left + 0.14), _TYRE, identity)


def _car(canvas: Canvas, rng: Random, x: float, z: float, across: bool, bare: bool, color: Color) -> None:
    identity = canvas.new_object("car")
    width, height, length = (rng.uniform(*extent) for extent in BUILDS["car"])
    glass = _glass(canvas, color, z)
    if across:
        panel = Panel(canvas.camera, (x, 0.0, z), (length, 0.0), height)
        flip = rng.random() < 0.5
        outline = ((0, 0.17), (0, 0.52), (0.2, 0.6), (0.34, 1), (0.74, 1), (0.9, 0.6), (1, 0.55), (1, 0.17))
        window = ((0.25, 0.62), (0.37, 0.94), (0.72, 0.94), (0.85, 0.62))
        turned = [[(1 - u if flip else u, v) for u, v in shape] for shape in (outline, window)]
        canvas.polygon(panel.polygon(turned[0]), canvas.shade(color, 1.0, z), identity)
        if not bare:
            canvas.polygon(panel.polygon(turned[1]), glass, identity)
            canvas.polygon(panel.quad(0.53, 0.57, 0.6, 1.0), canvas.shade(color, 1.0, z), identity)
            _wheels(canvas, panel, (0.19, 0.8), 0.34, identity)
        return
    if not bare:
        _wheels_ahead(canvas, x, z, width, identity)
    base, waist = (0.12 if bare else 0.28), 0.58 * height
    front, side = canvas.box(x, z, (width, waist - base, length), base, color, identity)
    roof, panes = canvas.box(x + 0.12, z + 0.7, (width - 0.24, height - waist, length - 1.9), waist, color, identity)
    if bare:
        return
    canvas.polygon(roof.quad(0.06, 0.94, 0.12, 0.88), glass, identity)
    if panes is not None:
        canvas.polygon(panes.quad(0.05, 0.48, 0.12, 0.88), glass, identity)
        canvas.polygon(panes.quad(0.55, 0.95, 0.12, 0.88), glass, identity)
    lamp = rng.choice(((215, 35, 35), (245, 240, 215)))
    for left in (0.04, 0.8):
        canvas.polygon(front.quad(left, left + 0.16, 0.52, 0.75), lamp, identity)
    canvas.polygon(front.quad(0.36, 0.64, 0.2, 0.4), (215, 215, 210), identity)
    if side is not None:
        _wheels(canvas, side, (0.18, 0.8), 0.33, identity)


def _tall_vehicle(
    canvas: Canvas, rng: Random, name: str, x: float, z: float, across: bool, bare: bool, color: Color
) -> None:
    """A truck, bus or train: look-alike boxes, told apart by cab, windows and wheels, or by their colour."""
    identity = canvas.new_object(name)
    width, height, length = (rng.uniform(*extent) for extent in BUILDS[name])
    base = 0.15 if bare or name == "train" else 0.4
    extent = (length, height - base, width) if across else (width, height - base, length)
    if not bare and not across and name != "train":
        _wheels_ahead(canvas, x, z, width, identity)
    front, side = canvas.box(x, z, extent, base, color, identity)
    flank, end = (front, side) if across else (side, front)
    if bare:
        return
    glass = _glass(canvas, color, z)
    darker, brighter = canvas.shade(color, 0.75, z), canvas.shade(color, 1.25, z)
    if end is not None:
        if name == "truck":  # The load has doors.
            canvas.polygon(end.quad(0.48, 0.52, 0.05, 0.97), darker, identity)
            canvas.polygon(end.quad(0.0, 1.0, 0.0, 0.07), _TYRE, identity)
        else:
            canvas.polygon(end.quad(0.1, 0.9, 0.5, 0.84), glass, identity)
            canvas.polygon(end.quad(0.2, 0.8, 0.89, 0.97), (240, 190, 60), identity)
        for left in (0.04, 0.84):
            canvas.polygon(end.quad(left, left + 0.12, 0.1, 0.18), (220, 40, 35), identity)
    if flank is not None:
        if name == "truck":  # There is a cab at one end of the closed load.
            cab = rng.choice(((0.02, 0.18, 0.2), (0.82, 0.98, 0.8)))
            canvas.polygon(flank.quad(cab[0], cab[1], 0.5, 0.82), glass, identity)
            canvas.polygon(flank.quad(cab[2] - 0.012, cab[2] + 0.012, 0.0, 1.0), _TYRE, identity)
        else:
            count = max(4, round(length / (1.9 if name == "bus" else 2.6)))
            for window in range(count):
                low, left = (0.48 if name == "bus" else 0.54), (window + 0.12) / count
                canvas.polygon(flank.quad(left, left + 0.76 / count, low, 0.82), glass, identity)
            if name == "train":
                canvas.polygon(flank.quad(0, 1, 0.26, 0.36), brighter, identity)
        if name == "train":
            canvas.polygon(flank.quad(0, 1, 0, 0.07), _TYRE, identity)
        else:
            _wheels(canvas, flank, (0.14, 0.78), 0.5, identity)
    if name == "train":
        pantograph = [front.point(0.4, 1.0), front.point(0.6, 1.12), front.point(0.4, 1.22)]
        canvas.line(pantograph, canvas.pixels(0.1, z), darker, identity)


def draw_vehicle(canvas: Canvas, rng: Random, name: str, x: float, z: float, across: bool, bare: bool) -> None:
    """A car, truck, bus or train, its near left edge at (x, z), seen end-on or (`across`) from the side."""
    color = canvas.shade(canvas.style.colors[name], rng.uniform(0.94, 1.06))
    if name == "car":
        _car(canvas, rng, x, z, across, bare, color)
    else:
        _tall_vehicle(canvas, rng, name, x, z, across, bare, color)


def _skin(canvas: Canvas, rng: Random, z: float) -> Color:
    return canvas.shade((225, 175, 145), rng.uniform(0.4, 1.0), z)


def _hooded_figure(canvas: Canvas, x: float, z: float, low: float, height: float, color: Color, identity: int) -> None:
    """The silhouette that persons and riders share when nothing tells them apart."""
    panel = Panel(canvas.camera, (x - 0.33, low, z), (0.66, 0.0), height - low)
    outline = ((0.14, 0), (0.86, 0), (0.95, 0.55), (0.8, 0.82), (0.2, 0.82), (0.05, 0.55))
    canvas.polygon(panel.polygon(outline), canvas.shade(color, 1.0, z), identity)
    radius = canvas.pixels(0.15, z)
    canvas.ellipse(panel.point(0.5, 0.88), radius, radius * 1.15, canvas.shade(color, 0.97, z), identity)


def draw_person(canvas: Canvas, rng: Random, x: float, z: float, bare: bool) -> None:
    """A pedestrian; the tell-tales are walking legs and a separate head."""
    identity = canvas.new_object("person")
    height = rng.uniform(1.55, 1.95)
    color = canvas.shade(canvas.style.colors["person"], rng.uniform(0.93, 1.07))
    if bare:
        _hooded_figure(canvas, x, z, 0.0, height, color, identity)
        return
    panel = Panel(canvas.camera, (x - 0.36, 0.0, z), (0.72, 0.0), height)
    stride = rng.uniform(0.0, 0.2)
    trousers = canvas.shade(color, 0.7, z)
    for foot in (0.32 - stride, 0.68 + stride):
        leg = ((foot - 0.12, 0), (foot + 0.12, 0), (0.72, 0.5), (0.28, 0.5))
        canvas.polygon(panel.polygon(leg), trousers, identity)
    body = ((0.22, 0.44), (0.78, 0.44), (0.84, 0.6), (0.8, 0.83), (0.2, 0.83), (0.16, 0.6))
    canvas.polygon(panel.polygon(body), canvas.shade(color, 1.0, z), identity)
    for outer, inner in ((0.04, 0.2), (0.96, 0.8)):
        arm = ((outer, 0.46), (inner, 0.48), (inner, 0.82), ((outer + inner) / 2, 0.8))
        canvas.polygon(panel.polygon(arm), canvas.shade(color, 0.88, z), identity)
    radius = canvas.pixels(0.125, z)
    canvas.ellipse(panel.point(0.5, 0.91), radius, radius * 1.2, _skin(canvas, rng, z), identity)


def draw_cycle(canvas: Canvas, rng: Random, name: str, x: float, z: float, across: bool, bare: bool) -> None:
    """A bicycle or motorcycle centred at x. Its tell-tales are wheels and frame; a bare one is under a cover."""
    identity = canvas.new_object(name)
    color = canvas.shade(canvas.style.colors[name], rng.uniform(0.94, 1.06), z)
    tyre = canvas.shade(color, 0.5)  # Black would hide the colour of the cycle.
    motor = name == "motorcycle"
    height = 1.1
    if not across:
        panel = Panel(canvas.camera, (x - 0.4, 0.0, z), (0.8, 0.0), height)
        half = 0.17 if motor else 0.11
        canvas.polygon(panel.quad(0.5 - half, 0.5 + half, 0.0, 0.6), color if bare else tyre, identity)
        body = ((0.5 - 1.6 * half, 0.3), (0.5 + 1.6 * half, 0.3), (0.5 + 2.2 * half, 0.85), (0.5 - 2.2 * half, 0.85))
        canvas.polygon(panel.polygon(body), color, identity)
        canvas.polygon(panel.quad(0.05, 0.95, 0.84, 0.94), color if bare else canvas.shade(color, 0.7), identity)
        return
    panel = Panel(canvas.camera, (x - 0.95, 0.0, z), (1.9, 0.0), height)
    if bare:
        cover = ((0.02, 0.05), (0.06, 0.55), (0.25, 0.8), (0.7, 0.95), (0.92, 0.6), (0.98, 0.05))
        canvas.polygon(panel.polygon(cover), color, identity)
        return
    radius = 0.33 if motor else 0.36
    for place in (0.2, 0.8):
        # Cityscapes labels a bicycle's wheel as a disc, spokes and gaps alike.
        canvas.polygon(panel.disc(place, radius / height, radius), tyre, identity)
        hub = canvas.shade(color, 0.9)
        canvas.polygon(panel.disc(place, radius / height, radius * (0.65 if motor else 0.78)), hub, identity)
    if motor:
        body = ((0.2, 0.35), (0.06, 0.72), (0.4, 0.78), (0.6, 0.95), (0.78, 0.8), (0.72, 0.3), (0.4, 0.18))
        canvas.polygon(panel.polygon(body), color, identity)
        canvas.polygon(panel.quad(0.42, 0.58, 0.24, 0.4), tyre, identity)
    thick = max(canvas.pixels(0.09, z), 0.006 * canvas.camera.size[0])
    tubes = (((0.8, 0.33), (0.7, 0.98)), ((0.62, 1.0), (0.76, 0.98)))
    tubes += (((0.2, 0.33), (0.37, 0.85)), ((0.28, 0.87), (0.44, 0.87)))
    if not motor:
        tubes += (((0.2, 0.33), (0.48, 0.3)), ((0.48, 0.3), (0.72, 0.78)), ((0.37, 0.75), (0.72, 0.78)))
    for tube in tubes:
        canvas.line(panel.polygon(tube), thick, color, identity)


def draw_rider(canvas: Canvas, rng: Random, name: str, x: float, z: float, across: bool, bare: bool) -> None:
    """A person on a bicycle or motorcycle (`name`); the tell-tales are the bent posture and a helmet."""
    draw_cycle(canvas, rng, name, x, z, across, bare=False)
    identity = canvas.new_object("rider")
    color = canvas.shade(canvas.style.colors["rider"], rng.uniform(0.93, 1.07))
    shirt, trousers = canvas.shade(color, 1.0, z), canvas.shade(color, 0.7, z)
    if bare:
        _hooded_figure(canvas, x, z, 0.55, 1.85, color, identity)
        return
    if across:
        panel = Panel(canvas.camera, (x - 0.95, 0.0, z), (1.9, 0.0), 1.8)
        leg = ((0.3, 0.58), (0.46, 0.6), (0.62, 0.42), (0.54, 0.16), (0.45, 0.16), (0.49, 0.38))
        canvas.polygon(panel.polygon(leg), trousers, identity)
        canvas.polygon(panel.polygon(((0.3, 0.5), (0.46, 0.5), (0.64, 0.8), (0.46, 0.86))), shirt, identity)
        canvas.polygon(panel.polygon(((0.55, 0.8), (0.62, 0.74), (0.72, 0.56), (0.68, 0.54))), shirt, identity)
        head = panel.point(0.6, 0.91)
    else:
        panel = Panel(canvas.camera, (x - 0.36, 0.0, z), (0.72, 0.0), 1.8)
        for knee, foot in ((0.16, 0.28), (0.84, 0.72)):
            leg = ((0.5, 0.55), (knee, 0.42), (foot - 0.08, 0.16), (foot + 0.08, 0.16), (0.5, 0.42))
            canvas.polygon(panel.polygon(leg), trousers, identity)
        body = ((0.28, 0.44), (0.72, 0.44), (0.9, 0.6), (0.8, 0.84), (0.2, 0.84), (0.1, 0.6))
        canvas.polygon(panel.polygon(body), shirt, identity)
        head = panel.point(0.5, 0.92)
    radius = canvas.pixels(0.14, z)
    canvas.ellipse(head, radius, radius * 1.15, _skin(canvas, rng, z), identity)
    canvas.ellipse((head[0], head[1] - 0.35 * radius), radius * 1.05, radius * 0.8, canvas.shade(color, 0.8), identity)

"""Where things stand in a generated street scene: the ground, both roadsides, and the traffic, drawn far to near."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from acfnet_tf.scenes import surroundings, traffic
from acfnet_tf.scenes.canvas import LABEL_ID, Camera, Canvas
from acfnet_tf.scenes.styles import Style
from acfnet_tf.scenes.surroundings import Lot

_NEAR, _FAR = 1.2, 75.0
"""Metres ahead of the camera between which things stand."""

_LOW = {
    "wall": (surroundings.draw_wall, (1.9, 3.4)),
    "fence": (surroundings.draw_fence, (1.3, 2.4)),
    "hedge": (surroundings.draw_hedge, (0.9, 2.0)),
    "bank": (surroundings.draw_bank, (0.7, 1.8)),
}
"""What stands along the street and does not hide what is behind: how it is drawn, and its height in metres."""


def draw_street(rng: Random, style: Style, size: tuple[int, int]) -> Canvas:
    """Draws one street of `size` (H, W) in flat colours, without texture and noise."""
    camera = Camera(size, rng.uniform(0.42, 0.50), rng.uniform(1.2, 1.4), rng.uniform(1.5, 1.9))
    canvas = Canvas(camera, style)
    # The own lane is at x = 0, oncoming traffic on the left; these are the kerbs and the widths of the pavements.
    left, right = -rng.uniform(4.5, 8.0), rng.uniform(2.8, 5.5)
    pavements = rng.uniform(1.8, 4.0), rng.uniform(1.8, 4.0)
    verges = tuple(rng.uniform(1.0, 3.5) if rng.random() < 0.65 else 0.0 for _ in range(2))
    tram = rng.choices(("none", "along", "across"), weights=(55, 25, 20))[0]

    _draw_sky_and_ground(canvas, rng)
    objects = _Objects(canvas, rng)
    fronts = []
    for side, kerb, pavement, verge in zip((-1, 1), (left, right), pavements, verges, strict=True):
        edge = kerb + side * pavement
        front = edge + side * verge
        sidewalk = style.shade(style.colors["sidewalk"])
        canvas.ground(kerb, edge, _NEAR, 150, sidewalk, LABEL_ID["sidewalk"])
        if verge:
            canvas.ground(edge, front, _NEAR, 150, style.shade(style.colors["terrain"]), LABEL_ID["terrain"])
        fronts.append(front)
        objects.furnish(side, kerb, edge, front)
    _draw_road(canvas, rng, left, right, tram == "along")
    objects.add_traffic(left, right, tram)  # Its shadows fall on bare ground.
    for side, front in zip((-1, 1), fronts, strict=True):
        _draw_roadside(canvas, rng, side, front)
    objects.draw()
    _draw_borders(canvas, rng)
    return canvas


def _draw_sky_and_ground(canvas: Canvas, rng: Random) -> None:
    rows, columns = canvas.camera.size
    horizon, style = rows * canvas.camera.horizon, canvas.style
    canvas.polygon([(0, 0), (columns, 0), (columns, rows), (0, rows)], style.colors["sky"], LABEL_ID["sky"])
    name = rng.choice(("terrain", "terrain", "ground"))
    color = style.colors["terrain"] if name == "terrain" else style.shade(style.colors["sidewalk"], 0.85)
    canvas.polygon([(0, horizon), (columns, horizon), (columns, rows), (0, rows)], color, LABEL_ID[name])
    # Houses and trees behind the end of the street close the view.
    for _ in range(9):
        z = rng.uniform(80, 110)
        x = rng.uniform(-1, 1) * canvas.camera.reach(z)
        if rng.random() < 0.5:
            width = rng.uniform(10, 25)
            color = style.shade(style.colors["building"], rng.uniform(0.95, 1.05), z)
            canvas.box(x - width / 2, z, (width, rng.uniform(6, 18), 5.0), 0.0, color, LABEL_ID["building"])
        else:
            for _ in range(3):
                surroundings.draw_far_trees(canvas, rng, x + rng.uniform(-6, 6), z)


def _draw_road(canvas: Canvas, rng: Random, left: float, right: float, rails: bool) -> None:
    """The carriageway with its markings, perhaps a parking strip or tram rails (both void in the evaluation)."""
    style = canvas.style
    road = LABEL_ID["road"]
    canvas.ground(left, right, _NEAR, 150, style.shade(style.colors["road"]), road)
    paint = style.shade((225, 225, 220), 0.95)
    if rng.random() < 0.3:
        strip = style.shade(style.colors["road"], 0.88)
        canvas.ground(right - 2.1, right, _NEAR, 60, strip, LABEL_ID["parking"])
    dash, middle = rng.uniform(2.0, 4.0), -rng.uniform(1.5, 1.9)
    z = _NEAR
    while z < 60:
        canvas.ground(middle - 0.08, middle + 0.08, z, z + dash, paint, road)
        z += 2.4 * dash
    if rng.random() < 0.5:
        for edge in (left + 0.25, right - 0.35):
            canvas.ground(edge, edge + 0.12, _NEAR, 90, paint, road)
    if rng.random() < 0.35:
        z, x = rng.uniform(6, 16), left + 0.4
        while x < right - 0.4:
            canvas.ground(x, x + 0.5, z, z + 3, paint, road)
            x += 1.0
    if rails:
        bed = style.shade(style.colors["road"], 0.75)
        canvas.ground(left + 0.3, left + 2.9, _NEAR, 150, bed, LABEL_ID["rail track"])
        for x in (left + 0.8, left + 2.3):
            canvas.ground(x, x + 0.1, _NEAR, 150, (150, 150, 150), LABEL_ID["rail track"])


def _draw_roadside(canvas: Canvas, rng: Random, side: int, front: float) -> None:
    """One side of the street: a row of houses, walls, fences, hedges, banks; houses and trees behind the low ones."""
    bare = canvas.style.bare
    stretches: list[tuple[float, float, str]] = []
    z = _NEAR
    while z < _FAR:
        length = rng.uniform(6, 16)
        kind = rng.choices(("building", *_LOW, "trees"), weights=(32, 23, 23, 8, 9, 5))[0]
        stretches.append((z, length, kind))
        z += length
    for z, length, kind in reversed(stretches):  # What is near hides what is far.
        behind = front + side * rng.uniform(4, 9)
        if kind != "building":
            if rng.random() < 0.55:
                height = rng.uniform(4, 12)
                house = Lot(behind, side, z, length, height, rng.random() < bare)
                surroundings.draw_building(canvas, rng, house)
            for _ in range(rng.randrange(3)):
                tree = front + side * rng.uniform(2.0, 4.0), z + rng.random() * length
                surroundings.draw_tree(canvas, rng, *tree)
        plain = rng.random() < bare
        if kind == "building":
            # Some plain sheds are as low as a wall, some walls as high as a shed: geometry alone does not tell.
            height = rng.uniform(2.8, 4.0) if plain and rng.random() < 0.6 else rng.uniform(5, 15)
            surroundings.draw_building(canvas, rng, Lot(front, side, z, length, height, plain))
        elif kind in _LOW:
            draw, heights = _LOW[kind]
            draw(canvas, rng, Lot(front, side, z, length, rng.uniform(*heights), plain))
        else:
            surroundings.draw_bush(canvas, rng, front + side, z + length / 2)


class _Objects:
    """What stands on the ground one by one; collected first, so that it can be drawn from far to near."""

    def __init__(self, canvas: Canvas, rng: Random) -> None:
        self.canvas = canvas
        self.rng = rng
        self._waiting: list[tuple[float, Callable[[], None]]] = []
        self._told: set[str] = set()

    def _bare(self, name: str) -> bool:
        """Whether an object shows no tell-tale. The first of every class does: the image must explain itself."""
        if name not in self._told:
            self._told.add(name)
            return False
        return self.rng.random() < self.canvas.style.bare

    def _add(self, z: float, draw: Callable[..., None], *arguments: object) -> None:
        self._waiting.append((z, lambda: draw(self.canvas, self.rng, *arguments)))

    def draw(self) -> None:
        for _, draw in sorted(self._waiting, key=lambda item: -item[0]):
            draw()

    def furnish(self, side: int, kerb: float, edge: float, front: float) -> None:
        """Poles along the kerb; trees, people, parked cycles and clutter on the pavement and the verge."""
        rng = self.rng
        z = rng.uniform(4, 7)
        while z < 18:
            kind = rng.choice(("lamp", "light", "light", "sign", "sign"))
            x = kerb + side * 0.35
            if kind == "lamp":
                self._add(z, surroundings.draw_lamp_post, x, z)
            elif kind == "light":
                self._add(z, surroundings.draw_traffic_light, x, z, self._bare("traffic light"))
            else:
                self._add(z, surroundings.draw_traffic_sign, x, z, self._bare("traffic sign"))
            z += rng.uniform(4, 8)
        if rng.random() < 0.45:
            for _ in range(rng.randrange(1, 4)):
                z = rng.uniform(7, 30)
                self._add(z, surroundings.draw_tree, kerb + side * 0.9, z)
        if front != edge:
            for _ in range(rng.randrange(3)):
                z = rng.uniform(5, 18)
                self._add(z, surroundings.draw_bush, (edge + front) / 2, z)
        for _ in range(rng.randrange(1, 4)):
            z = rng.uniform(4, 11)
            self._add(z, traffic.draw_person, rng.uniform(kerb, edge), z, self._bare("person"))
        for name in ("bicycle", "motorcycle"):
            for _ in range(rng.choice((0, 1, 1, 2))):
                z, x = rng.uniform(4, 9), rng.uniform(kerb, edge) + side * 0.3
                self._add(z, traffic.draw_cycle, name, x, z, rng.random() < 0.7, self._bare(name))
        if rng.random() < 0.5:
            z = rng.uniform(5, 12)
            self._add(z, surroundings.draw_clutter, rng.uniform(kerb, edge), z)

    def _vehicle(self, name: str, x: float, z: float, across: bool = False) -> float:
        """Adds a vehicle centred at x and its shadow; returns the depth it takes."""
        long = {"car": 4.4, "truck": 8.0, "bus": 10.5, "train": 24.0}[name]
        wide = {"car": 1.85, "truck": 2.5, "bus": 2.5, "train": 2.6}[name]
        width, depth = (long, wide) if across else (wide, long)
        self.canvas.shadow(x - width / 2 - 0.1, x + width / 2 + 0.1, z - 0.3, z + depth)
        # A long vehicle beside the own lane hides what is behind its middle, not what is behind its tail.
        self._add(z + depth / 2, traffic.draw_vehicle, name, x - width / 2, z, across, self._bare(name))
        return depth

    def add_traffic(self, left: float, right: float, tram: str) -> None:
        """Vehicles on the lanes, along the kerbs and across the street, riders, and persons crossing."""
        rng = self.rng
        kinds, weights = ("car", "truck", "bus"), (6, 2.5, 2.5)
        oncoming = -3.3 if tram != "along" or left < -6.5 else None
        if tram == "along":
            self._vehicle("train", left + 1.6, rng.uniform(6, 13))
        elif tram == "across":
            self._vehicle("train", rng.uniform(-10, 10), rng.uniform(12, 20), across=True)
        for lane, start in ((rng.uniform(-0.2, 0.4), 7.0), (oncoming, 5.0), (right - 1.05, 4.0), (left + 1.05, 5.0)):
            if lane is None or (tram == "along" and lane < -3.4):
                continue
            z = start + rng.uniform(0, 7)
            while z < 24:
                if rng.random() < 0.5:
                    z += self._vehicle(rng.choices(kinds, weights)[0], lane, z)
                z += rng.uniform(3, 12)
        if rng.random() < 0.5:
            name = rng.choices(kinds, weights)[0]
            self._vehicle(name, rng.uniform(-7, 5), rng.uniform(8, 14), across=True)
        for _ in range(rng.choice((1, 1, 2, 3))):
            name = rng.choice(("bicycle", "motorcycle"))
            z = rng.uniform(4, 9)
            x = rng.choice((right - rng.uniform(0.4, 1.4), left + rng.uniform(0.6, 3.0), rng.uniform(left, right)))
            self._add(z, traffic.draw_rider, name, x, z, rng.random() < 0.5, self._bare("rider"))
        for _ in range(rng.choice((0, 0, 1, 2))):
            z = rng.uniform(5, 11)
            self._add(z, traffic.draw_person, rng.uniform(left, right), z, self._bare("person"))


def _draw_borders(canvas: Canvas, rng: Random) -> None:
    """The own car's bonnet and the border that rectification leaves: void, as in Cityscapes."""
    rows, columns = canvas.camera.size
    if rng.random() < 0.8:
        top = rows * (1 - rng.uniform(0.03, 0.08))
        color = (rng.randrange(20, 90),) * 3
        bonnet = [(-0.02, 1.0), (0.1, 0.35), (0.3, 0.06), (0.5, 0.0), (0.7, 0.06), (0.9, 0.35), (1.02, 1.0)]
        points = [(u * columns, top + v * (rows - top)) for u, v in bonnet]
        canvas.polygon([*points, (columns, rows + 1), (0, rows + 1)], color, LABEL_ID["ego vehicle"])
    if rng.random() < 0.5:
        canvas.relabel_border(max(1, round(0.006 * rows)), LABEL_ID["out of roi"])

"""Drawing a landscape in reflectances: fields, woods, a river, a highway and a small town."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np

from ksdiff.synthetic.canvas import Canvas, Point, inside, moved

_BLOCK = (150.0, 92.0)  # pixels between streets


def draw_landscape(
    rng: np.random.Generator, size: int, wavelengths: list[np.ndarray]
) -> np.ndarray:
    """Draw a landscape as a sensor without blur and noise would see it at noon.

    Args:
        rng: decides everything.
        size: side in pixels, of about half a metre.
        wavelengths: [C] arrays of nm; each channel averages the reflectance over its own.

    Returns:
        [C, size, size] float32 reflectances.
    """
    canvas = Canvas(rng, size, wavelengths)
    _draw_fields(canvas)
    woods = _draw_woods(canvas)
    river = _draw_river(canvas)
    highway = _draw_highway(canvas)
    town = _draw_town(canvas, (river > 34) & (highway > 22))
    _plant_woods(canvas, woods & ~town & (river > 12) & (highway > 22))
    return canvas.image * (0.94 + 0.12 * canvas.noise(size // 3))


def _draw_fields(canvas: Canvas) -> None:
    rng, size = canvas.rng, canvas.size
    u, v = canvas.axes(rng.uniform(-0.6, 0.6))
    reach = 0.75 * size + 200
    label = np.zeros((size, size), dtype=np.int64)
    edge = np.full((size, size), np.inf, dtype=np.float32)
    fields: list[tuple[np.ndarray, float, float, int]] = []
    position = -reach
    while position < reach:
        width = rng.uniform(70, 170)
        strip = (u >= position) & (u < position + width)
        cuts = np.cumsum(rng.uniform(90, 320, int(2 * reach / 90) + 2)) - reach
        cell = np.searchsorted(cuts, v[strip])
        label[strip] = len(fields) + cell
        ends = cuts[np.clip([cell, cell - 1], 0, len(cuts) - 1)]
        sides = np.minimum(u[strip] - position, position + width - u[strip])
        edge[strip] = np.minimum(np.abs(v[strip] - ends).min(0), sides)
        for _ in range(len(cuts) + 1):
            crop = rng.choice(("crop", "grass", "stubble", "soil"), p=(0.34, 0.26, 0.22, 0.18))
            colour = canvas.spectra[crop] * rng.uniform(0.78, 1.2)
            rows = rng.uniform(4.5, 9.0), rng.uniform(0.0, 0.10), int(rng.integers(2))
            fields.append((colour, *rows))
        position += width
    colours, *rows_of = zip(*fields, strict=True)
    canvas.image[:] = np.moveaxis(np.stack(colours)[label], 2, 0)
    spacing, depth, along = (np.array(column, dtype=np.float32)[label] for column in rows_of)
    furrows = 1 + depth * np.sin(2 * np.pi * np.where(along > 0, u, v) / spacing)
    clouds = 0.86 + 0.28 * canvas.noise(60)
    canvas.image *= furrows * clouds * (1 + 0.03 * rng.standard_normal(u.shape, dtype=np.float32))
    canvas.paint(inside(edge - 1.6) * 0.85, "soil", 1.25)


def _draw_woods(canvas: Canvas) -> np.ndarray:
    """Paint the ground of the woods; return where they are, [size, size]."""
    field = canvas.noise(canvas.size * 0.35, 4)
    above = field - np.quantile(field, 0.84)
    canvas.paint(np.clip(above * 60, 0, 1), "tree", 0.6)
    return above > 0


def _draw_river(canvas: Canvas) -> np.ndarray:
    """Paint the river; return the distance [size, size] from its bank, negative in the water."""
    rng, size = canvas.rng, canvas.size
    t = np.arange(size) / size
    course = np.full(size, rng.uniform(0.12, 0.30) * size)
    for turn in range(1, 4):
        course += size * 0.07 / turn * np.sin(2 * np.pi * (turn * t + rng.random()))
    if rng.random() < 0.5:
        course = size - course
    slope = np.hypot(1, np.gradient(course))
    width = rng.uniform(16, 30) * (1 + 0.2 * np.sin(2 * np.pi * (2 * t + rng.random())))
    y, x = (canvas.y, canvas.x) if rng.random() < 0.5 else (canvas.x, canvas.y)
    row = y.astype(np.int64)
    distance = np.abs(x - course[row]) / slope[row] - width[row]
    distance = (distance + 5 * (canvas.noise(40) - 0.5)).astype(np.float32)
    canvas.paint(np.clip((14 - distance) / 10, 0, 1), "grass", 0.75 + 0.4 * canvas.noise(12))
    canvas.paint(inside((distance - 3.5) / 2), "sand", 0.6 + 0.3 * canvas.noise(10))
    depth = np.clip(-distance / 18, 0, 1)
    canvas.paint(inside(distance), "water", 1.5 - 0.6 * depth + 0.05 * canvas.noise(8))
    return distance


def _draw_highway(canvas: Canvas) -> np.ndarray:
    """Paint the highway; return the distance [size, size] from its middle."""
    rng, size = canvas.rng, canvas.size
    angle = rng.uniform(0.2, 1.3)
    u, v = canvas.axes(angle)
    v = v - (size * rng.uniform(-0.3, 0.3) + 0.04 * size * np.sin(u / size * 4))
    across = np.abs(v)
    canvas.paint(inside(across - 16), "grass", 0.9)
    canvas.paint(inside(across - 12), "asphalt", 1.0 + 0.1 * canvas.noise(90))
    canvas.paint(inside(across - 1.2), "concrete", 0.9)
    canvas.paint(inside(np.abs(across - 11.0) - 0.3), "metal", 0.9)
    canvas.paint(inside(np.abs(across - 6.5) - 0.3) * ((u % 24) < 9), "metal", 0.9)
    spots = np.argwhere(np.abs(across - 4) < 0.5)
    for y, x in spots[rng.choice(len(spots), min(len(spots), size // 12), replace=False)]:
        side = -2.4 if rng.random() < 0.5 else 2.4
        away = np.sign(v[y, x]) * (4 + side) - v[y, x]
        canvas.car(moved((y, x), angle, 0, away), angle)
    return across


def _plant_woods(canvas: Canvas, where: np.ndarray) -> None:
    rng, size, spacing = canvas.rng, canvas.size, 7.0
    ys, xs = np.meshgrid(*(np.arange(0, size, spacing),) * 2, indexing="ij")
    spots: np.ndarray = np.stack((ys, xs), -1).reshape(-1, 2)
    spots = spots + rng.uniform(-0.45, 0.45, spots.shape) * spacing
    cells = np.clip(spots.astype(np.int64), 0, size - 1)
    for at in spots[where[cells[:, 0], cells[:, 1]] & (rng.random(len(spots)) < 0.95)]:
        canvas.tree(at, rng.uniform(3.0, 5.5))


def _draw_town(canvas: Canvas, free: np.ndarray) -> np.ndarray:
    """Build a town where there is room; return where it is, [size, size]."""
    rng, size = canvas.rng, canvas.size
    density = canvas.noise(size * 0.6, 2) - 1.1 * np.hypot(
        canvas.y / size - rng.uniform(0.35, 0.65), canvas.x / size - rng.uniform(0.35, 0.65)
    )
    town = (density > np.quantile(density, 0.55)) & free
    angle = rng.uniform(-0.5, 0.5)
    u, v = canvas.axes(angle)
    streets = (np.abs((a / b + 0.5) % 1 - 0.5) * b for a, b in zip((u, v), _BLOCK, strict=True))
    street = np.minimum(*streets)
    canvas.paint(town.astype(np.float32), "grass", 0.55 + 0.6 * canvas.noise(26))
    canvas.paint(town * np.clip((canvas.noise(18) - 0.62) * 8, 0, 0.8), "soil", 0.9)
    canvas.paint(town * inside(street - 7.5), "concrete", 0.85)
    canvas.paint(town * inside(street - 5.5), "asphalt", 0.95 + 0.15 * canvas.noise(40))
    canvas.paint(town * inside(street - 0.25) * ((u + v) % 14 < 6), "metal", 0.8)

    def place(pu: float, pv: float) -> Point | None:
        """A point of the town by its coordinates along the streets; None outside the town."""
        y, x = moved((size / 2, size / 2), angle, pu, pv)
        in_town = 0 <= y < size and 0 <= x < size and town[int(y), int(x)]
        return (y, x) if in_town else None

    cells = int(0.75 * size / _BLOCK[1]) + 2
    for corner in itertools.product(range(-cells, cells), repeat=2):
        middle, *corners = (
            place(*((at + by) * side for at, by, side in zip(corner, of, _BLOCK, strict=True)))
            for of in ((0.5, 0.5), (0.05, 0.05), (0.05, 0.95), (0.95, 0.05), (0.95, 0.95))
        )
        if middle is None:
            continue
        kind = rng.choice(("houses", "halls", "park"), p=(0.66, 0.24, 0.10))
        if kind == "park":
            for _ in range(40):
                away = rng.uniform(-34, 34, 2)
                canvas.tree((middle[0] + away[0], middle[1] + away[1]), rng.uniform(2.5, 5.0))
        elif kind == "halls" and None not in corners:
            _draw_halls(canvas, middle, angle)
        else:
            _draw_houses(canvas, place, corner, angle)
    for along, near in rng.uniform(-0.75 * size, 0.75 * size, (size // 3, 2)):
        lane = np.round(near / _BLOCK[1]) * _BLOCK[1] + rng.choice((-3.0, 3.0))
        if (at := place(along, lane)) is not None:
            canvas.car(at, angle)
    return town


def _draw_houses(
    canvas: Canvas,
    place: Callable[[float, float], Point | None],
    corner: tuple[int, ...],
    angle: float,
) -> None:
    rng = canvas.rng
    roofs = {"tile": 0.6, "slate": 0.24, "concrete": 0.11, "metal": 0.05}
    for row in (0.27, 0.73):
        along = 20.0
        while along < _BLOCK[0] - 18:
            down = corner[1] * _BLOCK[1] + row * _BLOCK[1] + rng.uniform(-4, 4)
            at = place(corner[0] * _BLOCK[0] + along, down)
            step = rng.uniform(23, 34)
            if at is not None and rng.random() < 0.92:
                roof = str(rng.choice([*roofs], p=[*roofs.values()]))
                turned = angle + (np.pi / 2 if rng.random() < 0.3 else 0)
                sides = rng.uniform(14, 20), rng.uniform(10, 14), rng.uniform(5, 9)
                canvas.box(at, turned, sides, roof, rng.uniform(0.75, 1.2), gable=True)
                for _ in range(rng.integers(0, 3)):
                    away = rng.uniform(11, 16, 2) * rng.choice((-1, 1), 2)
                    canvas.tree((at[0] + away[0], at[1] + away[1]), rng.uniform(2.0, 4.0))
            along += step


def _draw_halls(canvas: Canvas, middle: Point, angle: float) -> None:
    """A hall on a yard, with skylights and a car park."""
    rng = canvas.rng
    yard = _BLOCK[0] - 24, _BLOCK[1] - 24, 0
    canvas.box(middle, angle, yard, "asphalt", rng.uniform(1.1, 1.4))
    side = int(rng.choice((-1, 1)))
    hall = moved(middle, angle, side * _BLOCK[0] * 0.2)
    roof = rng.choice(("metal", "concrete", "blue roof", "slate"), p=(0.5, 0.25, 0.15, 0.1))
    canvas.box(hall, angle, (70, 54, rng.uniform(8, 14)), roof, rng.uniform(0.8, 1.1))
    for skylight in range(-24, 25, 12):
        canvas.box(moved(hall, angle, skylight), angle, (4, 3, 2), "slate", 1.0)
    for down, along in itertools.product((-22, -12, 4, 14), np.arange(-18, 19, 3.6).tolist()):
        if rng.random() < 0.6:
            at = moved(middle, angle, along - side * _BLOCK[0] * 0.24, down)
            canvas.car(at, angle + np.pi / 2)

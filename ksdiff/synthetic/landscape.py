"""Drawing a landscape in reflectances: fields, woods, a river, a highway and a small town."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F

_KNOTS = (425, 480, 545, 605, 660, 725, 832, 950, 1610, 2200)  # nm, of the spectra below
_SPECTRA = {
    "water": (0.060, 0.062, 0.058, 0.042, 0.032, 0.022, 0.012, 0.010, 0.004, 0.003),
    "grass": (0.030, 0.036, 0.080, 0.054, 0.042, 0.240, 0.420, 0.430, 0.240, 0.120),
    "crop": (0.024, 0.030, 0.070, 0.040, 0.030, 0.270, 0.540, 0.560, 0.220, 0.100),
    "tree": (0.018, 0.023, 0.050, 0.032, 0.025, 0.180, 0.350, 0.370, 0.160, 0.070),
    "stubble": (0.085, 0.110, 0.170, 0.215, 0.240, 0.290, 0.340, 0.360, 0.390, 0.280),
    "soil": (0.075, 0.092, 0.125, 0.165, 0.190, 0.220, 0.260, 0.280, 0.350, 0.310),
    "sand": (0.160, 0.200, 0.260, 0.310, 0.335, 0.355, 0.380, 0.400, 0.450, 0.410),
    "asphalt": (0.085, 0.090, 0.098, 0.103, 0.107, 0.110, 0.115, 0.120, 0.130, 0.125),
    "concrete": (0.170, 0.200, 0.240, 0.265, 0.280, 0.290, 0.300, 0.310, 0.320, 0.300),
    "tile": (0.055, 0.065, 0.095, 0.180, 0.235, 0.265, 0.295, 0.315, 0.330, 0.300),
    "slate": (0.095, 0.100, 0.108, 0.110, 0.112, 0.115, 0.120, 0.125, 0.130, 0.125),
    "metal": (0.400, 0.430, 0.450, 0.460, 0.460, 0.455, 0.450, 0.440, 0.400, 0.360),
    "blue roof": (0.150, 0.250, 0.200, 0.130, 0.115, 0.140, 0.200, 0.220, 0.240, 0.200),
    "red paint": (0.040, 0.045, 0.050, 0.120, 0.330, 0.400, 0.420, 0.430, 0.350, 0.300),
}
_SUN = (-0.6, 0.8)  # where shadows fall, in pixels (y, x) per pixel of height


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
    canvas = _Canvas(size, _spectra(wavelengths), rng)
    _draw_everything(canvas)
    return canvas.image * (0.94 + 0.12 * canvas.noise(size // 3))


def _spectra(wavelengths: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Reflectances [C] per material."""
    return {
        name: np.array(
            [np.interp(channel, _KNOTS, values).mean() for channel in wavelengths],
            dtype=np.float32,
        )
        for name, values in _SPECTRA.items()
    }


class _Canvas:
    """Reflectances [C, size, size] and the brushes to paint them."""

    def __init__(self, size: int, spectra: dict[str, np.ndarray], rng: np.random.Generator):
        self.size, self.spectra, self.rng = size, spectra, rng
        self.image = np.empty((len(spectra["soil"]), size, size), dtype=np.float32)
        self.y, self.x = np.mgrid[:size, :size].astype(np.float32)
        self.shadow = np.linspace(0.50, 0.36, self.image.shape[0], dtype=np.float32)[:, None, None]

    def noise(self, scale: float, octaves: int = 4) -> np.ndarray:
        """Cloudy noise [size, size] in 0..1 whose largest features measure ``scale`` pixels."""
        total = np.zeros((self.size, self.size), dtype=np.float32)
        for octave in range(octaves):
            step = max(scale / 2**octave, 1)
            side = min(self.size, int(self.size / step) + 3)
            grid = torch.from_numpy(self.rng.random((1, 1, side, side), dtype=np.float32))
            fine = F.interpolate(grid, size=total.shape, mode="bicubic", align_corners=True)
            total += fine[0, 0].numpy() / 2**octave
        low, high = total.min(), total.max()
        return (total - low) / max(high - low, 1e-6)

    def grain(self) -> np.ndarray:
        return self.rng.standard_normal((self.size, self.size), dtype=np.float32)

    def paint(self, cover: np.ndarray, material: str, brightness: float | np.ndarray = 1.0) -> None:
        """Lay a material over the whole image with opacity ``cover`` [size, size]."""
        colour = self.spectra[material][:, None, None] * brightness
        self.image += cover * (colour - self.image)

    def patch(
        self, y: float, x: float, reach: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """A view [C, h, w] around (y, x) and its coordinates; None outside the image."""
        top, left = max(int(y - reach), 0), max(int(x - reach), 0)
        bottom, right = min(int(y + reach) + 2, self.size), min(int(x + reach) + 2, self.size)
        if top >= bottom or left >= right:
            return None
        area = (slice(top, bottom), slice(left, right))
        return self.image[(slice(None), *area)], self.y[area] - y, self.x[area] - x


def _inside(distance: np.ndarray) -> np.ndarray:
    """Opacity of a shape from the signed distance to its edge, negative inside."""
    return np.clip(0.5 - distance, 0, 1)


def _rotated(y: np.ndarray, x: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray]:
    cos, sin = np.cos(angle), np.sin(angle)
    return x * cos + y * sin, y * cos - x * sin


def _draw_everything(canvas: _Canvas) -> None:
    rng, size = canvas.rng, canvas.size
    _draw_fields(canvas, rng.uniform(-0.6, 0.6))
    woods = _draw_woods(canvas)
    river = _draw_river(canvas)
    highway = _draw_highway(canvas)
    town = canvas.noise(size * 0.6, 2) - 1.1 * np.hypot(
        canvas.y / size - rng.uniform(0.35, 0.65), canvas.x / size - rng.uniform(0.35, 0.65)
    )
    town = (town > np.quantile(town, 0.55)) & (river > 34) & (highway > 22)
    _draw_town(canvas, town, rng.uniform(-0.5, 0.5))
    _plant(
        canvas,
        woods & ~town & (river > 12) & (highway > 22),
        spacing=7.0,
        radius=(3.0, 5.5),
        share=0.95,
    )


def _draw_fields(canvas: _Canvas, angle: float) -> None:
    rng, size = canvas.rng, canvas.size
    u, v = _rotated(canvas.y - size / 2, canvas.x - size / 2, angle)
    reach = 0.75 * size + 200
    label = np.zeros((size, size), dtype=np.int64)
    edge = np.full((size, size), np.inf, dtype=np.float32)
    materials: list[str] = []
    brightness: list[float] = []
    rows: list[tuple[float, float, int]] = []
    position = -reach
    while position < reach:
        width = rng.uniform(70, 170)
        strip = (u >= position) & (u < position + width)
        cuts = np.cumsum(rng.uniform(90, 320, int(2 * reach / 90) + 2)) - reach
        cell = np.searchsorted(cuts, v[strip])
        label[strip] = len(materials) + cell
        between = np.minimum(
            np.abs(v[strip] - cuts[np.clip(cell, 0, len(cuts) - 1)]),
            np.abs(v[strip] - cuts[np.clip(cell - 1, 0, len(cuts) - 1)]),
        )
        sides = np.minimum(u[strip] - position, position + width - u[strip])
        edge[strip] = np.minimum(between, sides)
        kinds = ("crop", "grass", "stubble", "soil")
        for _ in range(len(cuts) + 1):
            materials.append(rng.choice(kinds, p=(0.34, 0.26, 0.22, 0.18)))
            brightness.append(rng.uniform(0.78, 1.2))
            rows.append((rng.uniform(4.5, 9.0), rng.uniform(0.0, 0.10), int(rng.integers(2))))
        position += width
    table = np.stack([canvas.spectra[m] * b for m, b in zip(materials, brightness, strict=True)])
    canvas.image[:] = np.moveaxis(table[label], 2, 0)
    spacing, depth, along = (
        np.array(column, dtype=np.float32)[label] for column in zip(*rows, strict=True)
    )
    furrows = 1 + depth * np.sin(2 * np.pi * np.where(along > 0, u, v) / spacing)
    canvas.image *= furrows * (0.86 + 0.28 * canvas.noise(60)) * (1 + 0.03 * canvas.grain())
    canvas.paint(_inside(edge - 1.6) * 0.85, "soil", 1.25)


def _draw_woods(canvas: _Canvas) -> np.ndarray:
    field = canvas.noise(canvas.size * 0.35, 4)
    woods = field > np.quantile(field, 0.84)
    ground = np.clip((field - np.quantile(field, 0.84)) * 60, 0, 1)
    canvas.paint(ground, "tree", 0.6)
    return woods


def _draw_river(canvas: _Canvas) -> np.ndarray:
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
    canvas.paint(_inside((distance - 3.5) / 2), "sand", 0.6 + 0.3 * canvas.noise(10))
    depth = np.clip(-distance / 18, 0, 1)
    canvas.paint(_inside(distance), "water", 1.5 - 0.6 * depth + 0.05 * canvas.noise(8))
    return distance


def _draw_highway(canvas: _Canvas) -> np.ndarray:
    """Paint the highway; return the distance [size, size] from its middle."""
    rng, size = canvas.rng, canvas.size
    angle = rng.uniform(0.2, 1.3)
    u, v = _rotated(canvas.y - size / 2, canvas.x - size / 2, angle)
    middle = size * rng.uniform(-0.3, 0.3) + 0.04 * size * np.sin(u / size * 4)
    v = v - middle
    across = np.abs(v)
    canvas.paint(_inside(across - 16), "grass", 0.9)
    canvas.paint(_inside(across - 12), "asphalt", 1.0 + 0.1 * canvas.noise(90))
    canvas.paint(_inside(across - 1.2), "concrete", 0.9)
    for lane, dashed in ((11.0, False), (6.5, True)):
        paint = _inside(np.abs(across - lane) - 0.3)
        if dashed:
            paint = paint * ((u % 24) < 9)
        canvas.paint(paint, "metal", 0.9)
    ys, xs = np.nonzero(np.abs(across - 4) < 0.5)
    chosen = rng.choice(len(ys), size=min(len(ys), size // 12), replace=False)
    for at in chosen:
        side = -2.4 if rng.random() < 0.5 else 2.4
        away = np.sign(v[ys[at], xs[at]]) * (4 + side) - v[ys[at], xs[at]]
        y = ys[at] + away * np.cos(angle)
        x = xs[at] - away * np.sin(angle)
        _draw_car(canvas, y, x, angle)
    return across


def _draw_car(canvas: _Canvas, y: float, x: float, angle: float) -> None:
    rng = canvas.rng
    colour = rng.choice(("metal", "slate", "red paint", "blue roof", "asphalt", "concrete"))
    long = rng.uniform(4.0, 5.0) if rng.random() < 0.85 else rng.uniform(10, 16)
    _draw_box(canvas, y, x, angle, long, 2.0, 1.5, str(colour), rng.uniform(0.7, 1.2))


def _draw_box(
    canvas: _Canvas,
    y: float,
    x: float,
    angle: float,
    length: float,
    width: float,
    height: float,
    material: str,
    brightness: float,
    gable: bool = False,
) -> None:
    """A rectangular body with its shadow; a gable roof has a sunny and a shady side."""
    reach = 0.5 * np.hypot(length, width) + height + 2
    found = canvas.patch(y, x, reach)
    if found is None:
        return
    view, dy, dx = found
    shadow = np.zeros(dy.shape, dtype=np.float32)
    for step in np.linspace(0, 1, max(2, int(height / 2))):
        u, v = _rotated(dy - step * height * _SUN[0], dx - step * height * _SUN[1], angle)
        edge = np.maximum(np.abs(u) - length / 2, np.abs(v) - width / 2)
        shadow = np.maximum(shadow, _inside(edge))
    view *= 1 - shadow * (1 - canvas.shadow)
    u, v = _rotated(dy, dx, angle)
    cover = _inside(np.maximum(np.abs(u) - length / 2, np.abs(v) - width / 2))
    tone = np.full(dy.shape, brightness, dtype=np.float32)
    if gable:
        normal = np.cos(angle) * -_SUN[0] + np.sin(angle) * _SUN[1]
        tone *= np.where(v > 0, 1 + 0.22 * normal, 1 - 0.22 * normal)
        tone *= 1 + 0.12 * _inside(np.abs(v) - 0.4)
    tone *= 1 + 0.04 * canvas.rng.standard_normal(dy.shape, dtype=np.float32)
    colour = canvas.spectra[material][:, None, None] * tone
    view += cover * (colour - view)


def _draw_tree(canvas: _Canvas, y: float, x: float, radius: float) -> None:
    rng = canvas.rng
    found = canvas.patch(y, x, 2.2 * radius + 1)
    if found is None:
        return
    view, dy, dx = found
    fallen = _inside(np.hypot(dy - radius * _SUN[0], dx - radius * _SUN[1]) - radius)
    view *= 1 - 0.8 * fallen * (1 - canvas.shadow)
    lit = 1 - 0.42 * (dy * _SUN[0] + dx * _SUN[1]) / radius
    tone = lit * rng.uniform(0.7, 1.25) + 0.12 * rng.standard_normal(dy.shape, dtype=np.float32)
    cover = _inside(np.hypot(dy, dx) - radius)
    colour = canvas.spectra["tree"][:, None, None] * np.clip(tone, 0.3, 1.7)
    view += cover * (colour - view)


def _plant(
    canvas: _Canvas, where: np.ndarray, spacing: float, radius: tuple[float, float], share: float
) -> None:
    rng, size = canvas.rng, canvas.size
    ys, xs = np.meshgrid(*(np.arange(0, size, spacing),) * 2, indexing="ij")
    spots = np.stack((ys, xs), -1).reshape(-1, 2)
    spots = spots + rng.uniform(-0.45, 0.45, spots.shape) * spacing
    cells = np.clip(spots.astype(np.int64), 0, size - 1)
    keep = where[cells[:, 0], cells[:, 1]] & (rng.random(len(spots)) < share)
    for y, x in spots[keep]:
        _draw_tree(canvas, y, x, rng.uniform(*radius))


def _draw_town(canvas: _Canvas, town: np.ndarray, angle: float) -> None:
    rng, size = canvas.rng, canvas.size
    u, v = _rotated(canvas.y - size / 2, canvas.x - size / 2, angle)
    block = (150.0, 92.0)
    across_u = np.abs((u / block[0] + 0.5) % 1 - 0.5) * block[0]
    across_v = np.abs((v / block[1] + 0.5) % 1 - 0.5) * block[1]
    street = np.minimum(across_u, across_v)
    patchwork = canvas.noise(26)
    canvas.paint(town.astype(np.float32), "grass", 0.55 + 0.6 * patchwork)
    canvas.paint(town * np.clip((canvas.noise(18) - 0.62) * 8, 0, 0.8), "soil", 0.9)
    canvas.paint(town * _inside(street - 7.5), "concrete", 0.85)
    canvas.paint(town * _inside(street - 5.5), "asphalt", 0.95 + 0.15 * canvas.noise(40))
    canvas.paint(town * _inside(street - 0.25) * ((u + v) % 14 < 6), "metal", 0.8)

    def place(pu: float, pv: float) -> tuple[float, float] | None:
        y = size / 2 + pu * np.sin(angle) + pv * np.cos(angle)
        x = size / 2 + pu * np.cos(angle) - pv * np.sin(angle)
        inside = 0 <= y < size and 0 <= x < size and town[int(y), int(x)]
        return (y, x) if inside else None

    cells = int(0.75 * size / block[1]) + 2
    for i in range(-cells, cells):
        for j in range(-cells, cells):
            middle = place((i + 0.5) * block[0], (j + 0.5) * block[1])
            if middle is None:
                continue
            kind = rng.choice(("houses", "halls", "park"), p=(0.66, 0.24, 0.10))
            corners = [
                place((i + 0.5 + du) * block[0], (j + 0.5 + dv) * block[1])
                for du in (-0.45, 0.45)
                for dv in (-0.45, 0.45)
            ]
            if kind == "halls" and None in corners:
                kind = "houses"
            if kind == "houses":
                _draw_houses(canvas, place, i * block[0], j * block[1], block, angle)
            elif kind == "halls":
                _draw_halls(canvas, *middle, block, angle)
            else:
                _plant_around(canvas, *middle, 34, 40)
    for spot in rng.uniform(-0.75 * size, 0.75 * size, (size // 3, 2)):
        on_street = np.round(spot[1] / block[1]) * block[1] + rng.choice((-3.0, 3.0))
        at = place(spot[0], on_street)
        if at is not None:
            _draw_car(canvas, *at, angle)


def _draw_houses(
    canvas: _Canvas,
    place: Callable[[float, float], tuple[float, float] | None],
    u0: float,
    v0: float,
    block: Sequence[float],
    angle: float,
) -> None:
    rng = canvas.rng
    for row in (0.27, 0.73):
        along = 20.0
        while along < block[0] - 18:
            at = place(u0 + along, v0 + row * block[1] + rng.uniform(-4, 4))
            step = rng.uniform(23, 34)
            if at is not None and rng.random() < 0.92:
                material = str(
                    rng.choice(("tile", "slate", "concrete", "metal"), p=(0.6, 0.24, 0.11, 0.05))
                )
                turned = angle + (np.pi / 2 if rng.random() < 0.3 else 0)
                _draw_box(
                    canvas,
                    at[0],
                    at[1],
                    turned,
                    rng.uniform(14, 20),
                    rng.uniform(10, 14),
                    rng.uniform(5, 9),
                    material,
                    rng.uniform(0.75, 1.2),
                    gable=True,
                )
                for _ in range(rng.integers(0, 3)):
                    away = rng.uniform(11, 16, 2) * rng.choice((-1, 1), 2)
                    _draw_tree(canvas, at[0] + away[0], at[1] + away[1], rng.uniform(2.0, 4.0))
            along += step


def _draw_halls(canvas: _Canvas, y: float, x: float, block: Sequence[float], angle: float) -> None:
    rng = canvas.rng
    _draw_box(
        canvas, y, x, angle, block[0] - 24, block[1] - 24, 0, "asphalt", rng.uniform(1.1, 1.4)
    )
    side = rng.choice((-1, 1)) * block[0] * 0.2
    cy, cx = y + side * np.sin(angle), x + side * np.cos(angle)
    roof = str(rng.choice(("metal", "concrete", "blue roof", "slate"), p=(0.5, 0.25, 0.15, 0.1)))
    _draw_box(canvas, cy, cx, angle, 70, 54, rng.uniform(8, 14), roof, rng.uniform(0.8, 1.1))
    for du in np.arange(-24, 25, 12):
        _draw_box(
            canvas, cy + du * np.sin(angle), cx + du * np.cos(angle), angle, 4, 3, 2, "slate", 1.0
        )
    for pv in (-22, -12, 4, 14):
        for along in np.arange(-18, 19, 3.6):
            if rng.random() < 0.6:
                pu = along - np.sign(side) * block[0] * 0.24
                _draw_car(
                    canvas,
                    y + pu * np.sin(angle) + pv * np.cos(angle),
                    x + pu * np.cos(angle) - pv * np.sin(angle),
                    angle + np.pi / 2,
                )


def _plant_around(canvas: _Canvas, y: float, x: float, reach: float, count: int) -> None:
    for _ in range(count):
        away = canvas.rng.uniform(-reach, reach, 2)
        _draw_tree(canvas, y + away[0], x + away[1], canvas.rng.uniform(2.5, 5.0))

"""A canvas of reflectances, and bodies with shadows to paint on it."""

from __future__ import annotations

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
Point = tuple[float, float]  # y, x


class Canvas:
    """Reflectances [C, size, size], and what is painted on them."""

    def __init__(self, rng: np.random.Generator, size: int, wavelengths: list[np.ndarray]) -> None:
        self.rng, self.size = rng, size
        self.spectra = {
            name: np.array([np.interp(w, _KNOTS, values).mean() for w in wavelengths], np.float32)
            for name, values in _SPECTRA.items()
        }  # reflectances [C] per material
        self.image = np.empty((len(wavelengths), size, size), dtype=np.float32)
        self.y, self.x = np.mgrid[:size, :size].astype(np.float32)
        self.shade = np.linspace(0.50, 0.36, len(wavelengths), dtype=np.float32)[:, None, None]

    def axes(self, angle: float) -> tuple[np.ndarray, np.ndarray]:
        """Coordinates [size, size] of all pixels along and across ``angle``, from the middle."""
        return _rotated(self.y - self.size / 2, self.x - self.size / 2, angle)

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
        return (total - low) / max(float(high - low), 1e-6)

    def paint(
        self,
        cover: np.ndarray,
        material: str,
        tone: float | np.ndarray = 1.0,
        area: tuple[slice, ...] = (),
    ) -> None:
        """Lay a material of brightness ``tone`` over an area with opacity ``cover`` [h, w]."""
        view = self.image[_in_all_bands(area)]
        view += cover * (self.spectra[material][:, None, None] * tone - view)

    def darken(self, shadow: np.ndarray, area: tuple[slice, ...]) -> None:
        self.image[_in_all_bands(area)] *= 1 - shadow * (1 - self.shade)

    def around(self, at: Point, reach: float) -> tuple[slice, slice]:
        """The area within ``reach`` of a point, as far as it lies in the image."""
        first = (max(int(middle - reach), 0) for middle in at)
        last = (max(min(int(middle + reach) + 2, self.size), 0) for middle in at)
        rows, columns = (slice(*ends) for ends in zip(first, last, strict=True))
        return rows, columns

    def box(
        self,
        at: Point,
        angle: float,
        sides: tuple[float, float, float],
        material: str,
        brightness: float,
        gable: bool = False,
    ) -> None:
        """A body of length, width and height with its shadow; a gable has a sunny side."""
        length, width, height = sides
        area = self.around(at, 0.5 * np.hypot(length, width) + height + 2)
        dy, dx = self.y[area] - at[0], self.x[area] - at[1]
        if not dy.size:
            return

        def cover(by: float) -> np.ndarray:
            u, v = _rotated(dy - by * _SUN[0], dx - by * _SUN[1], angle)
            return inside(np.maximum(np.abs(u) - length / 2, np.abs(v) - width / 2))

        steps = np.linspace(0, 1, max(2, int(height / 2)))
        self.darken(np.max([cover(step * height) for step in steps], 0), area)
        tone = np.full(dy.shape, brightness, dtype=np.float32)
        if gable:
            v = _rotated(dy, dx, angle)[1]
            sunny = np.cos(angle) * -_SUN[0] + np.sin(angle) * _SUN[1]
            tone *= np.where(v > 0, 1 + 0.22 * sunny, 1 - 0.22 * sunny)
            tone *= 1 + 0.12 * inside(np.abs(v) - 0.4)
        tone *= 1 + 0.04 * self.rng.standard_normal(dy.shape, dtype=np.float32)
        self.paint(cover(0), material, tone, area)

    def car(self, at: Point, angle: float) -> None:
        kind = self.rng.choice(("metal", "slate", "red paint", "blue roof", "asphalt", "concrete"))
        long = (4.0, 5.0) if self.rng.random() < 0.85 else (10, 16)
        sides = self.rng.uniform(*long), 2.0, 1.5
        self.box(at, angle, sides, kind, self.rng.uniform(0.7, 1.2))

    def tree(self, at: Point, radius: float) -> None:
        area = self.around(at, 2.2 * radius + 1)
        dy, dx = self.y[area] - at[0], self.x[area] - at[1]
        if not dy.size:
            return
        fallen = inside(np.hypot(dy - radius * _SUN[0], dx - radius * _SUN[1]) - radius)
        self.darken(0.8 * fallen, area)
        tone = (1 - 0.42 * (dy * _SUN[0] + dx * _SUN[1]) / radius) * self.rng.uniform(0.7, 1.25)
        tone += 0.12 * self.rng.standard_normal(dy.shape, dtype=np.float32)
        self.paint(inside(np.hypot(dy, dx) - radius), "tree", np.clip(tone, 0.3, 1.7), area)


def inside(distance: np.ndarray) -> np.ndarray:
    """Opacity of a shape from the signed distance to its edge, negative inside."""
    return np.clip(0.5 - distance, 0, 1)


def _in_all_bands(area: tuple[slice, ...]) -> tuple[slice, ...]:
    return (slice(None), *area)


def _rotated(y: np.ndarray, x: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates along and across ``angle``."""
    cos, sin = np.cos(angle), np.sin(angle)
    return x * cos + y * sin, y * cos - x * sin


def moved(at: Point, angle: float, u: float, v: float = 0.0) -> Point:
    """The point ``u`` along and ``v`` across ``angle`` from another."""
    cos, sin = np.cos(angle), np.sin(angle)
    return at[0] + u * sin + v * cos, at[1] + u * cos - v * sin

"""Drawn scenes whose PAN lies off the MS by something known."""

from collections.abc import Callable

import numpy as np
import torch

from ksdiff.images.resample import displaced
from ksdiff.synthetic.scene import procedural_scene

PHASE = (2.0, 2.0)  # of drawn scenes

Shifts = Callable[[np.ndarray], np.ndarray]  # [N, 2] at places [N, 2], in pixels


def drawn(seed: int, size: int, bands: int = 4, ratio: int = 4) -> tuple[torch.Tensor, ...]:
    """pan [1, size, size] and ms [bands, size / ratio, size / ratio], float, together."""
    pan, ms, _ = procedural_scene(seed=seed, size=size, bands=bands, ratio=ratio)
    return torch.from_numpy(pan.astype("float32")), torch.from_numpy(ms.astype("float32"))


def smooth_shifts(seed: int, size: int, largest: float) -> Shifts:
    """A plane and a wave, from half a pixel to ``largest`` over a scene, in either direction."""
    rng = np.random.default_rng(seed)
    slopes, angles, turns = rng.uniform(0, 2 * np.pi, (3, 2))
    signs = rng.choice((-1, 1), 2)
    grid = np.stack(np.meshgrid(*[np.linspace(0, size, 33)] * 2, indexing="ij"), -1).reshape(-1, 2)

    def part(places: np.ndarray, axis: int) -> np.ndarray:
        y, x = places.T / size
        plane = np.cos(slopes[axis]) * y + np.sin(slopes[axis]) * x
        along = np.cos(angles[axis]) * y + np.sin(angles[axis]) * x
        return plane + 0.2 * np.sin(np.pi * along + turns[axis])

    lowest, highest = zip(
        *[(p.min(), p.max()) for p in (part(grid, 0), part(grid, 1))], strict=True
    )

    def shifts(places: np.ndarray) -> np.ndarray:
        share = [
            (part(places, axis) - lowest[axis]) / (highest[axis] - lowest[axis]) for axis in (0, 1)
        ]
        return signs * (0.5 + (largest - 0.5) * np.stack(share, 1))

    return shifts


def warped(pan: torch.Tensor, shifts: Shifts) -> torch.Tensor:
    """PAN [1, H, W] whose pixels come from where ``shifts`` point."""
    height, width = pan.shape[1:]
    places = np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij"), -1)
    down, right = shifts(places.reshape(-1, 2).astype(float)).reshape(height, width, 2).T
    return displaced(
        pan[None], *(torch.from_numpy(part.T.copy()).float() for part in (down, right))
    )[0]


def undoing(shifts: Shifts, places: np.ndarray) -> np.ndarray:
    """By how much content that belongs at ``places`` lies off after `warped`, [N, 2]."""
    found = np.zeros_like(places)
    for _ in range(20):
        found = -shifts(places + found)
    return found

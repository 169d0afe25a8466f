"""Smooth fields of shifts over a scene, fitted to shifts measured in windows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

KINDS = ("constant", "affine", "quadratic", "thin-plate")
_LEAST_WINDOWS = {"constant": 1, "affine": 6, "quadratic": 12, "thin-plate": 16}
_SMOOTHING = (1e-3, 1e-2, 1e-1, 1.0)  # of thin plates, tried
_WORTH = 0.9  # of the error left by a simpler field: a richer one must leave less
_FARTHEST = 1.0  # PAN pixels: a window that is left out counts as missed by so much at most
_OUTLYING = 4.0  # standard deviations beyond which a window is not believed
_FLOOR = 0.03  # PAN pixels: no window is right to less, whatever its own error says
_BEYOND = 0.2  # of the range that windows show: how far the field may go beyond it between them
_ROUNDS = 6
_STEP = 32  # PAN pixels between the points at which a field is computed; linear between them

_Predict = Callable[[np.ndarray], np.ndarray]  # shifts [N, 2] at places [N, 2]


@dataclass(frozen=True)
class Field:
    """A shift (dy, dx) in PAN pixels for every place of a scene."""

    kind: str  # one of KINDS
    left_out: float  # PAN pixels by which a window is missed that the fit has not seen, the mean
    believed: np.ndarray  # [N] bool, the windows that lie on the field
    spread: tuple[tuple[float, float], tuple[float, float]]  # least and largest dy, and dx
    _predict: _Predict
    _scale: float
    _bounds: np.ndarray  # [2, 2], lowest and highest places where the field is more than a guess
    _limits: np.ndarray  # [2, 2], least and largest (dy, dx)

    def at(self, places: np.ndarray) -> np.ndarray:
        """Shifts [N, 2] at places [N, 2], (y, x) in PAN pixels of the scene.

        Far from the windows it was fitted to, the field goes on as it is beside them.
        """
        places = np.clip(places, *self._bounds) / self._scale
        return np.clip(self._predict(places), *self._limits)

    def over(self, top: int, left: int, height: int, width: int) -> tuple[Tensor, Tensor]:
        """dy and dx, [height, width] each, of the window at (top, left).

        Any two windows agree on the pixels they share.
        """
        axes, taps = [], []
        for start, length in ((top, height), (left, width)):
            first = start // _STEP
            points = np.arange(first, (start + length - 1) // _STEP + 2)
            at = np.arange(start, start + length) / _STEP - first
            below = np.floor(at).astype(int)
            axes.append(points * _STEP + 0.0)
            weights = np.zeros((length, len(points)))
            weights[np.arange(length), below] = 1 - (at - below)
            weights[np.arange(length), below + 1] = at - below
            taps.append(weights)
        nodes = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
        values = self.at(nodes.reshape(-1, 2)).reshape(nodes.shape)
        down, right = (taps[0] @ values[..., axis] @ taps[1].T for axis in (0, 1))
        return torch.from_numpy(down).float(), torch.from_numpy(right).float()


def fit_field(
    places: np.ndarray,
    shifts: np.ndarray,
    errors: np.ndarray,
    shape: tuple[int, int],
    side: float,
    largest: float,
) -> Field:
    """The simplest field that windows support.

    Polynomials up to the second degree and thin plates are fitted by robust least squares, windows
    weighted by their errors. Each is judged by its error at windows that are left out of the fit.
    Of those near the least error, the simplest is chosen.

    Args:
        places: [N, 2] (y, x) in PAN pixels, N at least 1.
        shifts: [N, 2] (dy, dx) in PAN pixels.
        errors: [N] standard errors of the shifts.
        shape: of the scene in PAN pixels.
        side: of a window in PAN pixels; the field is trusted that far beyond their centres.
        largest: bound of absolute shifts in PAN pixels.
    """
    scale = float(max(shape))
    unit = places / scale
    weights = 1 / (np.square(errors) + _FLOOR**2)
    best: tuple[float, str, _Predict, np.ndarray] | None = None
    for kind in KINDS:
        if len(places) < _LEAST_WINDOWS[kind]:
            break
        for smoothing in _SMOOTHING[::-1] if kind == "thin-plate" else (0.0,):
            predict, left_out, believed = _robust(kind, smoothing, unit, shifts, weights)
            if best is None or left_out < _WORTH * best[0]:
                best = left_out, kind, predict, believed
    assert best is not None
    left_out, kind, predict, believed = best
    kept = places[believed] if believed.any() else places
    bounds = np.stack((kept.min(0) - side, kept.max(0) + side))
    on = predict(kept / scale)
    room = _BEYOND * np.ptp(on, 0)
    limits = np.clip(np.stack((on.min(0) - room, on.max(0) + room)), -largest, largest)
    field = Field(kind, left_out, believed, ((0.0, 0.0),) * 2, predict, scale, bounds, limits)
    grid = np.stack(
        np.meshgrid(*(np.linspace(0, length, 17) for length in shape), indexing="ij"), -1
    )
    over = field.at(grid.reshape(-1, 2))
    (top, left), (bottom, right) = over.min(0).tolist(), over.max(0).tolist()
    return replace(field, spread=((top, bottom), (left, right)))


def constant_error(places: np.ndarray, shifts: np.ndarray, errors: np.ndarray) -> float:
    """`Field.left_out` of one shift for all windows."""
    weights = 1 / (np.square(errors) + _FLOOR**2)
    return _robust("constant", 0.0, places, shifts, weights)[1]


def _robust(
    kind: str, smoothing: float, places: np.ndarray, shifts: np.ndarray, weights: np.ndarray
) -> tuple[_Predict, float, np.ndarray]:
    """The fit, its mean error at windows left out, and the windows that lie on it.

    Weights decrease with a window's error (Cauchy); finally, windows beyond four deviations have
    none.
    """
    robust: np.ndarray = np.ones(len(places))
    for turn in range(_ROUNDS):
        smoother = _smoother(kind, smoothing, places, weights * robust)
        missed = shifts - smoother @ shifts
        alone = missed / np.clip(1 - np.diag(smoother), 1e-3, None)[:, None]
        distance = np.abs(alone).max(1)
        deviation = max(1.48 * float(np.median(distance)), _FLOOR)
        if turn < _ROUNDS - 2:
            robust = 1 / (1 + np.square(distance / deviation))
        else:
            robust = np.where(distance > _OUTLYING * deviation, 1e-6, 1.0)
    return (
        _predictor(kind, smoothing, places, shifts, weights * robust),
        float(np.minimum(distance, _FARTHEST).mean()),
        robust == 1.0,
    )


def _smoother(kind: str, smoothing: float, places: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """[N, N]: from the shifts at all windows to the fit at each."""
    if kind == "thin-plate":
        return _predictor(kind, smoothing, places, np.eye(len(places)), weights)(places)
    terms = _terms(kind, places)
    return terms @ np.linalg.pinv(np.sqrt(weights)[:, None] * terms) * np.sqrt(weights)


def _predictor(
    kind: str, smoothing: float, places: np.ndarray, values: np.ndarray, weights: np.ndarray
) -> _Predict:
    if kind == "thin-plate":
        from scipy.interpolate import RBFInterpolator  # it takes long to import

        stiffness = smoothing * np.median(weights) / weights
        return RBFInterpolator(places, values, smoothing=stiffness, degree=1)
    terms = _terms(kind, places)
    coefficients = np.linalg.pinv(np.sqrt(weights)[:, None] * terms) @ (
        np.sqrt(weights)[:, None] * values
    )
    return _Polynomial(kind, coefficients)


@dataclass(frozen=True)
class _Polynomial:
    kind: str
    coefficients: np.ndarray

    def __call__(self, places: np.ndarray) -> np.ndarray:
        return _terms(self.kind, places) @ self.coefficients


def _terms(kind: str, places: np.ndarray) -> np.ndarray:
    y, x = places.T
    terms = {"constant": [], "affine": [y, x], "quadratic": [y, x, y * y, y * x, x * x]}[kind]
    return np.stack([np.ones_like(y), *terms], 1)

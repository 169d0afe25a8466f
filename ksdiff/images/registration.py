"""Measures the offset of PAN from the MS: one shift for a scene, or a field over it."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from torch import Tensor

from ksdiff.images.fields import Field, constant_error, fit_field
from ksdiff.images.placement import Move
from ksdiff.images.search import REACH, search_shift
from ksdiff.images.shifts import fit_shift
from ksdiff.runtime import alone_if_small

_LEAST_SIDE = 192  # PAN pixels: a smaller image does not determine the shift well enough
_LEAST_SHIFT = 0.1  # PAN pixels: the estimate's own uncertainty
_MOST_DISAGREEMENT = 0.3  # PAN pixels, median distance of the windows' estimates from their median
_TOLD_RIM = 6.0  # PAN pixels: so much of a rim without PAN is worth a word
_LEAST_SHARE = 0.6  # of PAN's detail that the bands explain where PAN lies; wrong places: under 0.3
_MOST_ERROR = 0.3  # PAN pixels
_LEAST_PEAK = 0.3  # the share at the nearest whole MS pixel
_DISTINCT = 2.0  # times the share at any other place
_LEAST_LOCAL = 6  # windows: fewer show no field
_LOCAL_GAIN = 1.5  # times the error of a field is that of one shift where the field is worth it
_LEAST_GAIN = 0.1  # PAN pixels between the two errors


class Located(NamedTuple):
    """The offset measured in a window, in PAN pixels of the scene."""

    y: float  # where its detail lies
    x: float
    dy: float  # by which PAN's content lies further down than the MS's
    dx: float
    error: float  # standard error; infinite where the window shows nothing
    share: float  # of the variance of PAN's detail that the bands explain
    trusted: bool


@dataclass(frozen=True)
class Registration:
    """The offset of PAN from the MS of a scene, where it could be measured."""

    shift: tuple[float, float] = (0.0, 0.0)  # (dy, dx) in PAN pixels; the field's middle
    field: Field | None = None  # where it varies
    windows: tuple[Located, ...] = ()
    note: str | None = None  # what was not found or not believed

    @property
    def move(self) -> Move | None:
        """The shift or field that is applied to PAN; None where there is none."""
        if self.field is not None:
            return self.field
        return self.shift if any(self.shift) else None

    @property
    def remaining(self) -> float | None:
        """Error that may remain, in PAN pixels; None where it is not known."""
        if self.note is not None:
            return None
        if self.field is not None:
            return float(self.field.left_out)
        errors = [window.error for window in self.windows if window.trusted]
        return statistics.median(errors) if errors else None

    @property
    def told(self) -> str | None:
        """A sentence that says what was done."""
        if self.field is None:
            if not any(self.shift):
                return None
            dy, dx = self.shift
            text = f"PAN was off the MS by {dy:.2f} rows, {dx:.2f} columns: corrected"
            if max(abs(dy), abs(dx)) > _TOLD_RIM:
                text += "; that far from the border, PAN is missing and is mirrored"
            return text
        (top, bottom), (left, right) = self.field.spread
        return (
            f"PAN was off the MS by {top:.2f} to {bottom:.2f} rows, {left:.2f} to {right:.2f} "
            f"columns over the scene: corrected by a field ({self.field.kind}) fitted to "
            f"{int(self.field.believed.sum())} of {len(self.windows)} windows, with an error of "
            f"{self.field.left_out:.2f} pixels at windows left out"
        )


class View(NamedTuple):
    """A window of a scene, without holes."""

    top: int  # PAN pixels of the scene
    left: int
    pan: Tensor  # [1, 1, H, W] as delivered
    ms: Tensor  # [1, C, H / ratio, W / ratio], its bands together
    moved_back: Callable[[Move], Tensor]  # PAN moved


@dataclass(frozen=True)
class Scenery:
    """The view of a scene that registration uses."""

    views: Sequence[View]  # a few that stand for the scene, of one size
    more: Callable[[], Sequence[View]]  # many, for a field
    gains: tuple[float, ...]  # [C] MTF gains at Nyquist
    phase: tuple[float, float]  # PAN coordinate (y, x) of the centre of MS pixel (0, 0)
    shape: tuple[int, int]  # PAN pixels

    def located(self, view: View, off: tuple[float, float] = (0.0, 0.0)) -> Located:
        """The offset in a window, by a fit that starts at ``off``."""
        pan = view.moved_back(off) if any(off) else view.pan
        fit = fit_shift(pan, view.ms, self.gains, self.phase)
        if fit is None:
            height, width = pan.shape[-2:]
            return Located(view.top + height / 2, view.left + width / 2, *_NOTHING)
        y, x = view.top + fit.centre[0], view.left + fit.centre[1]
        trusted = fit.share >= _LEAST_SHARE and fit.error <= _MOST_ERROR
        return Located(y, x, off[0] + fit.dy, off[1] + fit.dx, fit.error, fit.share, trusted)

    def searched(self, views: Sequence[View]) -> tuple[float, float] | None:
        """The offset in all windows together, to an MS pixel; None where no peak stands out."""
        peak = search_shift([(view.pan, view.ms) for view in views], self.gains, self.phase)
        if peak is None or peak.share < max(_LEAST_PEAK, _DISTINCT * peak.rival):
            return None
        return peak.dy, peak.dx


_NOTHING = (0.0, 0.0, float("inf"), 0.0, False)


def register(scene: Scenery, mode: str) -> Registration:
    """Measure one shift or a field of them.

    Args:
        mode: ``off``; ``shift``, one for the scene; ``local``, a field; ``auto``, a field where
            windows disagree on one shift and clearly show a field.
    """
    if mode == "off":
        return Registration()
    pan = scene.views[0].pan
    if min(pan.shape[-2:]) < _LEAST_SIDE:
        side = min(scene.shape)
        return Registration(
            note=f"the offset of PAN from the MS was not measured: the scene is {side} PAN pixels "
            f"across, at least {_LEAST_SIDE} are needed"
        )
    with alone_if_small(pan):
        one, agree = _one_shift(scene)
        if mode == "shift" or (mode == "auto" and agree):
            return one
        return _local(scene, one, mode)


def _one_shift(scene: Scenery) -> tuple[Registration, bool]:
    """The median of windows, and whether it fits all of them."""
    found = [scene.located(view) for view in scene.views]
    if 2 * sum(each.trusted for each in found) < len(found):
        off = scene.searched(scene.views)
        if off is not None:
            found = [scene.located(view, off) for view in scene.views]
    believed = [each for each in found if each.trusted]
    if 2 * len(believed) < len(found):
        return Registration(windows=tuple(found), note=_unseen(found, scene)), False
    downs, rights = [each.dy for each in believed], [each.dx for each in believed]
    dy, dx = statistics.median(downs), statistics.median(rights)
    spread = statistics.median(max(abs(a.dy - dy), abs(a.dx - dx)) for a in believed)
    if spread > _MOST_DISAGREEMENT:
        return Registration(
            windows=tuple(found),
            note=f"PAN is off the MS by {min(downs):.2f} to {max(downs):.2f} rows, "
            f"{min(rights):.2f} to {max(rights):.2f} columns in {len(believed)} windows: no "
            "single shift fits, PAN is not moved",
        ), False
    if max(abs(dy), abs(dx)) > REACH:
        return Registration(
            windows=tuple(found),
            note=f"PAN is off the MS by {dy:.1f} rows, {dx:.1f} columns, more than {REACH:.0f} "
            "PAN pixels: PAN is not moved; do both images show the same place?",
        ), True
    if max(abs(dy), abs(dx)) < _LEAST_SHIFT:
        return Registration(windows=tuple(found)), True
    return Registration((dy, dx), windows=tuple(found)), True


def _unseen(found: Sequence[Located], scene: Scenery) -> str:
    seen = sum(each.trusted for each in found)
    share = statistics.median(each.share for each in found)
    return (
        f"the offset of PAN from the MS was not found within {REACH:.0f} PAN pixels: {seen} of "
        f"{len(found)} windows show it, the bands explain {share:.0%} of PAN's detail in the "
        f"median window, of at least {_LEAST_SHARE:.0%} needed; PAN is not moved"
    )


def _local(scene: Scenery, one: Registration, mode: str) -> Registration:
    """The field that windows show, or ``one`` shift where they show none."""
    views = scene.more()
    side = max(views[0].pan.shape[-2:])
    known = [each for each in one.windows if each.trusted]
    begin = _whole(*(np.median([each[2:4] for each in known], 0) if known else (0.0, 0.0)))
    found = [_searching(scene, view, begin) for view in views]
    fitted = _fitted(scene, found, side)
    if fitted is not None:
        # Again from the field's values: windows whose fits went astray can recover.
        at = fitted[0].at(np.array([[view.top + side / 2, view.left + side / 2] for view in views]))
        found = [scene.located(view, _whole(*step)) for view, step in zip(views, at, strict=True)]
        fitted = _fitted(scene, found, side)
    if fitted is None:
        note = one.note if mode == "auto" else _too_few(found)
        return Registration(one.shift, None, one.windows, note)
    field, still = fitted
    clear = still > max(_LOCAL_GAIN * field.left_out, field.left_out + _LEAST_GAIN)
    if mode == "auto" and not clear:
        return one
    dy, dx = (float(at) for at in np.median([each[2:4] for each in found if each.trusted], 0))
    if field.kind != "constant":
        seen = iter(field.believed.tolist())
        marked = [each._replace(trusted=each.trusted and next(seen)) for each in found]
        return Registration((dy, dx), field, tuple(marked))
    moves = max(abs(dy), abs(dx)) >= _LEAST_SHIFT
    return Registration((dy, dx) if moves else (0.0, 0.0), None, tuple(found))


def _searching(scene: Scenery, view: View, begin: tuple[float, float]) -> Located:
    found = scene.located(view, begin)
    if found.trusted:
        return found
    off = scene.searched([view])
    return found if off is None else scene.located(view, off)


def _fitted(scene: Scenery, found: Sequence[Located], side: float) -> tuple[Field, float] | None:
    """The field, and the error of one shift; None where too few windows show anything."""
    believed = [each for each in found if each.trusted]
    if len(believed) < _LEAST_LOCAL:
        return None
    seen = np.array([each[:5] for each in believed])
    places, shifts, errors = seen[:, :2], seen[:, 2:4], seen[:, 4]
    field = fit_field(places, shifts, errors, scene.shape, side, REACH)
    return field, constant_error(places, shifts, errors)


def _whole(dy: float, dx: float) -> tuple[float, float]:
    """Whole pixels, whose moves need no filter."""
    return float(round(dy)), float(round(dx))


def _too_few(found: Sequence[Located]) -> str:
    seen = sum(each.trusted for each in found)
    return (
        f"no field of shifts was found: {seen} of {len(found)} windows show the offset of "
        f"PAN, at least {_LEAST_LOCAL} are needed; one shift was tried for all"
    )

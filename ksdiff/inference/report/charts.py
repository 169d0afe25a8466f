"""Charts of a report as SVG, which need no script."""

from __future__ import annotations

import math

import numpy as np

from ksdiff.images.registration import Registration
from ksdiff.inference.report.gather import Histogram

_WIDTH, _HEIGHT = 240, 90  # of a histogram
_SIDE = 300  # of the scene with arrows, the longer one
_LONGEST = 45  # arrow


def histogram(name: str, of: Histogram) -> str:
    """Two outlines: MS before, fused after; each as shares of its pixels."""
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = np.nan_to_num(of.counts / of.counts.sum(1, keepdims=True))
    top = shares.max() or 1.0
    (mean, spread), (fused_mean, fused_spread) = of.moments
    label = (
        f"{name}: MS mean {mean:.4g}, deviation {spread:.4g}; "
        f"fused mean {fused_mean:.4g}, deviation {fused_spread:.4g}"
    )
    lines = "".join(
        f'<path class="{kind}" d="{_outline(row / top)}"/>'
        for kind, row in zip(("before", "after"), shares, strict=True)
    )
    axis = (
        f'<line class="axis" x1="0" y1="{_HEIGHT}" x2="{_WIDTH}" y2="{_HEIGHT}"/>'
        f'<text x="0" y="{_HEIGHT + 13}">{of.low:.4g}</text>'
        f'<text x="{_WIDTH}" y="{_HEIGHT + 13}" text-anchor="end">{of.high:.4g}</text>'
    )
    box = f"0 -4 {_WIDTH} {_HEIGHT + 20}"
    return f'<svg viewBox="{box}" role="img" aria-label="{label}">{lines}{axis}</svg>'


def _outline(shares: np.ndarray) -> str:
    step = _WIDTH / len(shares)
    points = [f"M0 {_HEIGHT}"]
    for index, share in enumerate(shares):
        points.append(f"V{_HEIGHT * (1 - share):.1f}H{(index + 1) * step:.1f}")
    return "".join(points)


def arrows(shape: tuple[int, int], registration: Registration) -> str:
    """Where PAN's content lay, seen from the MS, in each window that shows it.

    Lengths are those of the shifts times a factor that the caption names.

    Args:
        shape: of the scene in PAN pixels.
    """
    shown = [each for each in registration.windows if each.trusted]
    scale = _SIDE / max(shape)
    height, width = (side * scale for side in shape)
    longest = max((math.hypot(each.dy, each.dx) for each in shown), default=0.0) or 1.0
    unit = _LONGEST / longest
    lines = "".join(
        f'<line class="shift" x1="{each.x * scale:.1f}" y1="{each.y * scale:.1f}" '
        f'x2="{each.x * scale + each.dx * unit:.1f}" y2="{each.y * scale + each.dy * unit:.1f}" '
        'marker-end="url(#head)"/>'
        for each in shown
    )
    others = "".join(
        f'<circle class="unseen" cx="{each.x * scale:.1f}" cy="{each.y * scale:.1f}" r="2"/>'
        for each in registration.windows
        if not each.trusted
    )
    label = f"Shift of PAN in {len(shown)} windows of the scene, up to {longest:.2f} PAN pixels"
    head = (
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="4" '
        'markerHeight="4" orient="auto-start-reverse"><path d="M0 0L8 4L0 8z"/></marker></defs>'
    )
    frame = f'<rect class="frame-line" width="{width:.0f}" height="{height:.0f}"/>'
    return (
        f'<svg class="arrows" viewBox="-30 -30 {width + 60:.0f} {height + 60:.0f}" role="img" '
        f'aria-label="{label}">{head}{frame}{others}{lines}</svg>'
    )

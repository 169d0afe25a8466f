"""Charts of a report as SVG, which need no script."""

from __future__ import annotations

import math

import numpy as np

from ksdiff.inference.report.gather import Histogram

_WIDTH, _HEIGHT = 240, 90  # of a histogram
_SIDE = 200  # of the arrow's field


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


def arrow(dy: float, dx: float) -> str:
    """Where PAN's content lay, seen from the MS: an arrow on a grid of PAN pixels."""
    reach = max(1, math.ceil(max(abs(dy), abs(dx)) + 0.2))
    unit, middle = _SIDE / (2 * reach + 0.5), _SIDE / 2
    places = [f"{middle + k * unit:.1f}" for k in range(-reach, reach + 1)]
    ticks = "".join(f'<path class="grid" d="M{at} 0V{_SIDE}M0 {at}H{_SIDE}"/>' for at in places)
    x, y = middle + dx * unit, middle + dy * unit
    label = f"PAN lay {dy:+.2f} rows and {dx:+.2f} columns off the MS, in PAN pixels"
    head = (
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="5" '
        'markerHeight="5" orient="auto-start-reverse"><path d="M0 0L8 4L0 8z"/></marker></defs>'
    )
    return (
        f'<svg class="arrow" viewBox="0 0 {_SIDE} {_SIDE}" role="img" aria-label="{label}">{head}'
        f'{ticks}<line class="shift" x1="{middle}" y1="{middle}" x2="{x:.1f}" y2="{y:.1f}" '
        'marker-end="url(#head)"/></svg>'
    )

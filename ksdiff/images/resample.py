"""Resampling of an image along a displacement that varies from pixel to pixel.

The interpolator is `ksdiff.images.translation.shift`'s, a windowed sinc of 24 taps. Its taps are
polynomials in the fraction of a pixel (Farrow 1988): a few filters for the whole image, and one sum
of powers a pixel, in place of 24 taps a pixel.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.polynomial import chebyshev, polynomial
from torch import Tensor

from ksdiff.images.polyphase import FilterBank, extend, filter_axis
from ksdiff.images.translation import SHIFT_HALF_WIDTH, shift_taps

_DEGREE = 6  # of the polynomials: taps are met to a few hundred-thousandths


def displaced(image: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """``out(y, x) = image(y + down(y, x), x + right(y, x))``, mirrored beyond its borders.

    Columns first, then rows. The displacements must be smooth: over as many pixels as they
    measure, each is taken to vary linearly.

    Args:
        image: [1, 1, H, W].
        down, right: [H, W] in pixels.
    """
    # The second filter reads the first one's result at other columns than its own.
    down = down - right * _slope(down)
    image = _displaced_along(image, -2, down)
    return _displaced_along(image, -1, right)


def _slope(values: Tensor) -> Tensor:
    """From column to column, [H, W]."""
    return torch.gradient(values, dim=1)[0] if values.shape[1] > 1 else torch.zeros_like(values)


def _displaced_along(image: Tensor, dim: int, by: Tensor) -> Tensor:
    length = image.shape[dim]
    whole = by.floor()
    reach = int(whole.abs().max()) + SHIFT_HALF_WIDTH
    image = extend(image, dim, -reach, length + 2 * reach, "reflect")
    parts = filter_axis(image, dim, _bank(), "reflect")[0, 0]
    powers = parts.unflatten(dim, (-1, _DEGREE + 1)).movedim(dim, 0).contiguous()
    at = torch.arange(reach, reach + length, device=image.device)
    at = (at[:, None] if dim == -2 else at) + whole.long()
    fraction = by - whole - 0.5
    found = torch.zeros_like(by)
    for part in reversed(powers.unbind()):
        found = torch.addcmul(part.gather(dim, at), found, fraction)
    return found[None, None]


@lru_cache(maxsize=1)
def _bank() -> FilterBank:
    """The filters that give the coefficients of a pixel's polynomial, lowest power first."""
    nodes = chebyshev.chebpts1(_DEGREE + 1)
    reach = np.arange(1 - SHIFT_HALF_WIDTH, SHIFT_HALF_WIDTH + 1)
    taps = []
    for node in nodes:
        values, first = shift_taps(-(node + 1) / 2)
        taps.append(values)
        assert first == reach[0] and len(values) == len(reach)
    coefficients = polynomial.polyfit(nodes / 2, np.array(taps), _DEGREE)
    return FilterBank(tuple(map(tuple, coefficients)), int(reach[0]), 1)

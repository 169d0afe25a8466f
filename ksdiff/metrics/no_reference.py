"""Full-resolution indexes, which need no ground truth: D_lambda_K, D_s, HQNR, D_lambda, QNR.

Definitions of the DLPan-Toolbox: 32x32 blocks, MS compared on the PAN grid, exponents 1.
"""

import torch
from torch import Tensor

from ksdiff.images.expansion import Phase, expand
from ksdiff.images.mtf import Gains
from ksdiff.images.wald import degrade_pan, mtf_filter
from ksdiff.metrics.blocks import uqi
from ksdiff.metrics.checks import check_images, check_pair
from ksdiff.metrics.hypercomplex import q2n


def d_lambda_k(fused: Tensor, lms: Tensor, gains: Gains, ratio: int) -> Tensor:
    """Khan's spectral distortion: 1 - Q2n of the MTF-filtered fused image with the expanded MS.

    Args:
        fused, lms: [B, C, H, W] in DN.
        gains: [C] MTF gains at Nyquist.
        ratio: MS pixel size over PAN pixel size.

    Returns:
        [B].
    """
    check_pair(fused=fused, lms=lms)
    filtered = mtf_filter(fused.double(), gains, ratio)
    return (1.0 - q2n(filtered, lms.double())).to(fused.dtype)


def d_s(fused: Tensor, pan: Tensor, lms: Tensor, ratio: int, phase: Phase | None = None) -> Tensor:
    """Spatial distortion: mean over bands of |Q(fused, PAN) - Q(lms, low-resolution PAN)|.

    The low-resolution PAN is ``imresize`` down and the 23-tap interpolator up. In the toolbox that
    moves PAN by half a pixel, and so is a delivered MS image by ``interp23tap``: the two agree.
    An ``lms`` expanded with its true phase lies on PAN, so the low-resolution PAN must too.

    Args:
        fused, lms: [B, C, H, W].
        pan: [B, 1, H, W].
        ratio: MS pixel size over PAN pixel size.
        phase: what ``lms`` was expanded with; None for the toolbox's ``interp23tap``.

    Returns:
        [B].
    """
    check_pair(fused=fused, lms=lms)
    check_images(fused=fused, pan=pan)
    pan = pan.double()
    centre = None if phase is None else ((ratio - 1) / 2,) * 2
    pan_low = expand(degrade_pan(pan, ratio), ratio, centre)
    difference = uqi(fused.double(), pan) - uqi(lms.double(), pan_low)
    return difference.abs().mean((1, 2)).to(fused.dtype)


def d_lambda(fused: Tensor, lms: Tensor) -> Tensor:
    """Inter-band spectral distortion of QNR: mean over band pairs of |Q(fused) - Q(lms)|.

    Args:
        fused, lms: [B, C, H, W], at least two bands.

    Returns:
        [B].
    """
    check_pair(fused=fused, lms=lms)
    bands = fused.shape[1]
    if bands < 2:
        raise ValueError(f"fused: D_lambda compares bands, expected at least 2, got {bands}")
    a, b = fused.double(), lms.double()
    upper = torch.triu_indices(bands, bands, 1, device=a.device)
    difference = (uqi(a, a) - uqi(b, b))[:, upper[0], upper[1]]
    return difference.abs().mean(1).to(fused.dtype)


def hqnr(
    fused: Tensor,
    pan: Tensor,
    lms: Tensor,
    gains: Gains,
    ratio: int,
    phase: Phase | None = None,
) -> Tensor:
    """Hybrid quality with no reference: (1 - D_lambda_K) (1 - D_s). Arguments as there."""
    return (1.0 - d_lambda_k(fused, lms, gains, ratio)) * (1.0 - d_s(fused, pan, lms, ratio, phase))


def qnr(fused: Tensor, pan: Tensor, lms: Tensor, ratio: int, phase: Phase | None = None) -> Tensor:
    """Quality with no reference: (1 - D_lambda) (1 - D_s). Arguments as there."""
    return (1.0 - d_lambda(fused, lms)) * (1.0 - d_s(fused, pan, lms, ratio, phase))

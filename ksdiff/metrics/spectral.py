"""SAM and ERGAS: the distance of an image's spectra from the reference's."""

import torch
from torch import Tensor

from ksdiff.metrics.checks import check_pair


def sam(fused: Tensor, gt: Tensor) -> Tensor:
    """Spectral angle mapper: mean angle between spectra, in degrees.

    Pixels where either spectrum is zero are left out; NaN if none is left. The angle is taken by
    Kahan's formula, which unlike the arc cosine is exact for nearly parallel spectra.

    Args:
        fused, gt: [B, C, H, W].

    Returns:
        [B].
    """
    check_pair(fused=fused, gt=gt)
    a, b = fused.double(), gt.double()
    norm_a, norm_b = _length(a), _length(b)
    counted = (norm_a > 0) & (norm_b > 0)
    a = a / torch.where(counted, norm_a, 1.0)[:, None]
    b = b / torch.where(counted, norm_b, 1.0)[:, None]
    angle = 2.0 * torch.atan2(_length(a - b), _length(a + b))
    total = torch.where(counted, angle, 0.0).sum((-1, -2))
    return torch.rad2deg(total / counted.sum((-1, -2))).to(fused.dtype)


def _length(x: Tensor) -> Tensor:
    """Of spectra [B, C, H, W]; several times as fast as ``norm`` along a dimension."""
    return x.square().sum(1).sqrt()


def ergas(fused: Tensor, gt: Tensor, ratio: int) -> Tensor:
    """ERGAS = 100 / ratio * sqrt(mean over bands of MSE / mean(gt)²), 0 for identical images.

    Args:
        fused, gt: [B, C, H, W].
        ratio: MS pixel size over PAN pixel size.

    Returns:
        [B]; infinite where a reference band has mean 0.
    """
    check_pair(fused=fused, gt=gt)
    reference = gt.double()
    mse = (fused.double() - reference).square().mean((-1, -2))
    relative = mse / reference.mean((-1, -2)).square()
    return (100.0 / ratio * relative.mean(1).sqrt()).to(fused.dtype)

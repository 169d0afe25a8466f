"""SCC, PSNR and SSIM: the distance of an image's detail from the reference's."""

import math

import numpy as np
import torch
from torch import Tensor

from ksdiff.images.polyphase import FilterBank, filter_axis
from ksdiff.metrics.checks import check_pair

_WINDOW = 11
_SIGMA = 1.5
_K1, _K2 = 0.01, 0.03


def _gaussian_bank() -> FilterBank:
    at = np.arange(_WINDOW) - _WINDOW // 2
    taps = np.exp(-(at**2) / (2.0 * _SIGMA**2))
    return FilterBank((tuple(taps / taps.sum()),), -(_WINDOW // 2), 1)


_GAUSSIAN = _gaussian_bank()


def _sobel_magnitude(x: Tensor) -> Tensor:
    """[B, C, H, W] -> the same, zeros around the image."""
    x = torch.nn.functional.pad(x, (1, 1, 1, 1))
    rows = x[..., :-2] + 2.0 * x[..., 1:-1] + x[..., 2:]
    columns = x[..., :-2, :] + 2.0 * x[..., 1:-1, :] + x[..., 2:, :]
    vertical = rows[..., 2:, :] - rows[..., :-2, :]
    horizontal = columns[..., 2:] - columns[..., :-2]
    return torch.hypot(vertical, horizontal)


def scc(fused: Tensor, gt: Tensor) -> Tensor:
    """Spatial correlation coefficient: cosine of the Sobel magnitudes of all bands together.

    One pixel is cut all around, then the image is continued with zeros; means are not removed.

    Args:
        fused, gt: [B, C, H, W], H and W at least 4.

    Returns:
        [B]; NaN if an image is zero throughout.
    """
    check_pair(fused=fused, gt=gt)
    if min(gt.shape[-2:]) < 4:
        raise ValueError(f"gt: SCC needs at least 4x4 pixels, got {tuple(gt.shape[-2:])}")
    a = _sobel_magnitude(fused.double()[..., 1:-1, 1:-1]).flatten(1)
    b = _sobel_magnitude(gt.double()[..., 1:-1, 1:-1]).flatten(1)
    return ((a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))).to(fused.dtype)


def psnr(fused: Tensor, gt: Tensor, data_range: float) -> Tensor:
    """Peak signal-to-noise ratio in dB, from the mean squared error over all bands together.

    Args:
        fused, gt: [B, C, H, W].
        data_range: largest possible value, e.g. 2047 for 11-bit DN.

    Returns:
        [B]; infinite for identical images.
    """
    check_pair(fused=fused, gt=gt)
    mse = (fused.double() - gt.double()).square().mean((1, 2, 3))
    return (20.0 * math.log10(data_range) - 10.0 * mse.log10()).to(fused.dtype)


def _ssim_map(a: Tensor, b: Tensor, data_range: float) -> Tensor:
    """[B, H, W] twice -> [B, H - 10, W - 10]."""
    maps = torch.stack([a, b, a * a + b * b, a * b])
    maps = filter_axis(filter_axis(maps, -2, _GAUSSIAN, "replicate"), -1, _GAUSSIAN, "replicate")
    margin = _WINDOW // 2
    mean_a, mean_b, squares, ab = maps[..., margin:-margin, margin:-margin]
    c1, c2 = (_K1 * data_range) ** 2, (_K2 * data_range) ** 2
    mean_ab, power = mean_a * mean_b, mean_a**2 + mean_b**2
    index = (2 * mean_ab + c1) * (2 * (ab - mean_ab) + c2)
    return index / ((power + c1) * (squares - power + c2))


def ssim(fused: Tensor, gt: Tensor, data_range: float) -> Tensor:
    """Structural similarity, mean over bands; Gaussian window 11x11, σ = 1.5.

    Wang et al. 2004, K1 = 0.01, K2 = 0.03, population variances, windows wholly inside the image.

    Args:
        fused, gt: [B, C, H, W], H and W at least 11.
        data_range: largest possible value.

    Returns:
        [B].
    """
    check_pair(fused=fused, gt=gt)
    if min(gt.shape[-2:]) < _WINDOW:
        raise ValueError(f"gt: SSIM needs at least 11x11 pixels, got {tuple(gt.shape[-2:])}")
    bands = [
        _ssim_map(fused[:, band].double(), gt[:, band].double(), data_range).mean((1, 2))
        for band in range(gt.shape[1])
    ]
    return torch.stack(bands).mean(0).to(fused.dtype)

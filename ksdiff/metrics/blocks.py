"""Images cut into the 32x32 blocks over which Q2n and the UQI are averaged."""

from typing import NamedTuple

import torch
from torch import Tensor

from ksdiff.images.polyphase import extend

BLOCK = 32


class Moments(NamedTuple):
    """Per block: means and unbiased covariances of the bands of two images."""

    mean_x: Tensor  # [B, N, C]
    mean_y: Tensor  # [B, N, D]
    var_x: Tensor  # [B, N, C]
    var_y: Tensor  # [B, N, D]
    cov: Tensor  # [B, N, C, D]


def blocks(x: Tensor, size: int = BLOCK) -> Tensor:
    """Cut an image into blocks, mirrored at the bottom and right to whole blocks.

    Args:
        x: [B, C, H, W].

    Returns:
        [B, N, C, size * size].
    """
    for dim in (-2, -1):
        x = extend(x, dim, 0, -(-x.shape[dim] // size) * size, "symmetric")
    batch, bands, height, width = x.shape
    x = x.reshape(batch, bands, height // size, size, width // size, size)
    return x.permute(0, 2, 4, 1, 3, 5).reshape(batch, -1, bands, size * size)


def moments(x: Tensor, y: Tensor) -> Moments:
    """First and second moments of two block stacks [B, N, C, P] and [B, N, D, P]."""
    mean_x, mean_y = x.mean(-1), y.mean(-1)
    dx, dy = x - mean_x[..., None], y - mean_y[..., None]
    norm = 1.0 / (x.shape[-1] - 1)
    return Moments(
        mean_x,
        mean_y,
        dx.square().sum(-1) * norm,
        dy.square().sum(-1) * norm,
        torch.matmul(dx, dy.transpose(-1, -2)) * norm,
    )


def uqi(x: Tensor, y: Tensor, size: int = BLOCK) -> Tensor:
    """Universal image quality index of every band of x with every band of y, mean over blocks.

    Q = 4 cov(x, y) mean(x) mean(y) / ((var(x) + var(y)) (mean(x)² + mean(y)²)), Wang and Bovik
    2002. A factor whose denominator is zero (both blocks constant, or both of zero mean) counts
    as 1, where the toolbox would return NaN for the whole image.

    Args:
        x: [B, C, H, W].
        y: [B, D, H, W].

    Returns:
        [B, C, D] in the dtype of x.
    """
    m = moments(blocks(x.double(), size), blocks(y.double(), size))
    mean_x, mean_y = m.mean_x[..., :, None], m.mean_y[..., None, :]
    power = mean_x**2 + mean_y**2
    spread = m.var_x[..., :, None] + m.var_y[..., None, :]
    one = torch.ones((), dtype=power.dtype, device=power.device)
    luminance = torch.where(power == 0, one, 2 * mean_x * mean_y / power)
    structure = torch.where(spread == 0, one, 2 * m.cov / spread)
    return (luminance * structure).mean(1).to(x.dtype)

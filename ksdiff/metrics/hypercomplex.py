"""Q2n (Q4 for quaternions, Q8 for octonions): the UQI of images seen as hypercomplex numbers.

Garzelli and Nencini, "Hypercomplex quality assessment of multi/hyperspectral images", IEEE GRSL
2009, with the toolbox's normalisation of every block by the reference's mean and deviation.
"""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ksdiff.metrics.blocks import BLOCK, blocks, moments
from ksdiff.metrics.checks import check_pair

_UINT16 = 65535.0


def _multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Product of two hypercomplex numbers [N], in the toolbox's order of the doubling."""
    if a.size == 1:
        return a * b
    half = a.size // 2
    conjugate = np.ones(half)
    conjugate[1:] = -1.0
    a0, a1 = a[:half], a[half:] * conjugate
    b0, b1 = b[:half], b[half:] * conjugate
    if half == 1:
        return np.concatenate([a0 * b0 - b1 * a1, a0 * b1 + b0 * a1])
    return np.concatenate(
        [
            _multiply(a0, b0) - _multiply(b1, a1 * conjugate),
            _multiply(a0 * conjugate, b1) + _multiply(b0, a1),
        ]
    )


@lru_cache(maxsize=16)
def _structure_constants(size: int, device: torch.device) -> Tensor:
    """[size*size, size] with ``(a b)[k] = sum_ij a[i] b[j] table[i*size + j, k]``."""
    unit = np.eye(size)
    table = np.stack([_multiply(unit[i], unit[j]) for i in range(size) for j in range(size)])
    return torch.from_numpy(table).to(device)


def _to_uint16(x: Tensor) -> Tensor:
    return (x.double() + 0.5).floor().clamp(0.0, _UINT16)


def _pad_bands(x: Tensor, bands: int) -> Tensor:
    missing = bands - x.shape[-2]
    return torch.nn.functional.pad(x, (0, 0, 0, missing)) if missing else x


def q2n(fused: Tensor, gt: Tensor, block: int = BLOCK) -> Tensor:
    """Q2n index, 1 for identical images.

    Values are rounded to 16-bit unsigned integers first, as the toolbox does: give digital
    numbers, not reflectances in [0, 1]. Images are mirrored to whole blocks, bands padded with
    zeros to a power of two.

    Args:
        fused, gt: [B, C, H, W] in DN.
        block: side and shift of the blocks.

    Returns:
        [B].
    """
    check_pair(fused=fused, gt=gt)
    bands = 1 << (gt.shape[1] - 1).bit_length()
    x = _pad_bands(blocks(_to_uint16(gt), block), bands)
    y = _pad_bands(blocks(_to_uint16(fused), block), bands)

    mean, deviation = x.mean(-1, keepdim=True), x.std(-1, keepdim=True)
    eps = torch.finfo(torch.float64).eps
    deviation = torch.where(deviation == 0, torch.full_like(deviation, eps), deviation)
    x = (x - mean) / deviation + 1.0
    y = torch.where(mean == 0, y + 1.0, (y - mean) / deviation + 1.0)
    m = moments(x, y)

    conjugate = torch.ones(bands, dtype=x.dtype, device=x.device)
    conjugate[1:] = -1.0
    product = (m.cov * conjugate).flatten(-2) @ _structure_constants(bands, x.device)
    modulus_x = m.mean_x.square().sum(-1)
    modulus_y = m.mean_y.square().sum(-1)
    power = modulus_x + modulus_y
    bias = torch.where(power > 0, 2.0 * (modulus_x * modulus_y).sqrt() / power, power)
    spread = m.var_x.sum(-1) + m.var_y.sum(-1)
    quality = torch.where(spread == 0, bias, 2.0 * product.norm(dim=-1) / spread * bias)
    return quality.mean(1).to(fused.dtype)

"""Linear filters along one axis that change the sampling, as block matrix products.

Interpolation, antialiased decimation and fractional shifts are all the same sum, a bank of P
short filters that slides over the axis. Written as products with one small Toeplitz block it runs
at matrix-multiplication speed, in memory and time linear in the image.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

# Measured on 2 CPU cores: large enough to amortise the halo, small enough to stay in cache, and
# where samples are dropped, not to multiply by too many zeros.
_BLOCK = 32
_DECIMATING_BLOCK = 16


class FilterBank(NamedTuple):
    """``out[P*n + p] = sum_k taps[p][k] * in[stride*n + start + k]``."""

    taps: tuple[tuple[float, ...], ...]  # [P, K]
    start: int
    stride: int


def _circular(index: np.ndarray, size: int) -> np.ndarray:
    return index % size


def _replicate(index: np.ndarray, size: int) -> np.ndarray:
    return np.clip(index, 0, size - 1)


def _symmetric(index: np.ndarray, size: int) -> np.ndarray:
    folded = index % (2 * size)
    return np.minimum(folded, 2 * size - 1 - folded)


def _reflect(index: np.ndarray, size: int) -> np.ndarray:
    if size == 1:
        return np.zeros_like(index)
    folded = index % (2 * size - 2)
    return np.minimum(folded, 2 * size - 2 - folded)


_BOUNDARIES: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "circular": _circular,  # the axis repeats
    "replicate": _replicate,  # the last sample goes on
    "symmetric": _symmetric,  # mirrored between samples, the last sample twice
    "reflect": _reflect,  # mirrored at the last sample
}


# What is cached inside inference mode must serve training, too: hence inference_mode(False).
@lru_cache(maxsize=512)
@torch.inference_mode(False)
def _source_index(
    start: int, count: int, size: int, boundary: str, device: torch.device
) -> Tensor | None:
    if boundary not in _BOUNDARIES:
        raise ValueError(f"boundary: expected one of {', '.join(_BOUNDARIES)}, got {boundary!r}")
    if start == 0 and count == size:
        return None
    index = _BOUNDARIES[boundary](np.arange(start, start + count), size)
    return torch.from_numpy(index).to(device)


def extend(x: Tensor, dim: int, start: int, count: int, boundary: str) -> Tensor:
    """Samples ``start … start + count - 1`` of an axis that goes on beyond its ends.

    Args:
        x: any shape.
        boundary: "circular", "replicate", "symmetric" (the last sample twice) or "reflect".
    """
    index = _source_index(start, count, x.shape[dim], boundary, x.device)
    return x if index is None else x.index_select(dim, index)


@lru_cache(maxsize=256)
@torch.inference_mode(False)
def _block(bank: FilterBank, groups: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    taps = np.asarray(bank.taps)
    phases, length = taps.shape
    span = (groups - 1) * bank.stride + length
    block = np.zeros((phases * groups, span))
    for group in range(groups):
        at = group * bank.stride
        block[group * phases : (group + 1) * phases, at : at + length] = taps
    return torch.from_numpy(block).to(device=device, dtype=dtype)


def filter_axis(x: Tensor, dim: int, bank: FilterBank, boundary: str) -> Tensor:
    """Apply a filter bank along the height (``dim=-2``) or width (``dim=-1``).

    Args:
        x: [..., H, W], floating point; the axis must be a multiple of the bank's stride.

    Returns:
        The same shape but for the axis, which has P samples for every ``stride`` of the input.
    """
    if dim not in (-1, -2):
        raise ValueError(f"dim: expected -1 (width) or -2 (height), got {dim}")
    size = x.shape[dim]
    if size % bank.stride:
        raise ValueError(
            f"x: an axis of {size} samples cannot be reduced by {bank.stride}; "
            f"crop it to a multiple of {bank.stride}"
        )
    phases, length = len(bank.taps), len(bank.taps[0])
    count = size // bank.stride
    groups = min(_BLOCK, count)
    blocks = -(-count // groups)
    span = (groups - 1) * bank.stride + length
    step = groups * bank.stride
    x = extend(x, dim, bank.start, (blocks - 1) * step + span, boundary)
    windows = x.unfold(dim, span, step)
    block = _block(bank, groups, x.dtype, x.device)
    lead = x.shape[:-2]
    if dim == -1:
        # On the overlapping view itself matmul falls back to many small products.
        out = torch.matmul(windows.contiguous(), block.T)  # [..., H, blocks, P*groups]
        out = out.reshape(*lead, x.shape[-2], blocks * groups * phases)
    else:
        out = torch.matmul(block, windows.transpose(-1, -2))  # [..., blocks, P*groups, W]
        out = out.reshape(*lead, blocks * groups * phases, x.shape[-1])
    return out.narrow(dim, 0, count * phases)


def decimate_axis(
    x: Tensor, dim: int, taps: Tensor, start: int, stride: int, boundary: str
) -> Tensor:
    """Filter every channel with taps of its own along the height or width, and keep every so many.

    ``out[c, n] = sum_k taps[c, k] * x[c, stride*n + start + k]``.

    Args:
        x: [B, C or 1, H, W], floating point; the axis must be a multiple of ``stride``.
        dim: -2 (height) or -1 (width).
        taps: [C, K].

    Returns:
        [B, C, H, W], the axis shorter by ``stride``.
    """
    length = taps.shape[1]
    count = x.shape[dim] // stride
    groups = min(_DECIMATING_BLOCK, count)
    blocks = -(-count // groups)
    span = (groups - 1) * stride + length
    x = extend(x, dim, start, (blocks - 1) * groups * stride + span, boundary)
    windows = x.unfold(dim, span, groups * stride)
    # Toeplitz: rows of span + stride numbers, read as rows of span, move on by stride each.
    block = F.pad(taps, (0, span + stride - length)).repeat(1, groups)
    block = block[:, : groups * span].unflatten(1, (groups, span))
    if dim == -1:
        windows = windows.flatten(2, 3)  # [B, C or 1, H * blocks, span]
        out = torch.matmul(windows, block.transpose(-1, -2))
        out = out.unflatten(2, (x.shape[-2], blocks)).flatten(3)
    elif x.shape[1] == 1:
        # All channels' taps in one product: [B, blocks, C * groups, W].
        out = torch.matmul(block.flatten(0, 1), windows[:, 0].transpose(-1, -2))
        out = out.unflatten(2, (len(taps), groups)).transpose(1, 2).flatten(2, 3)
    else:
        # One product for all would copy the windows, which overlap.
        products = [block @ each.transpose(-1, -2) for each in windows.unbind(2)]
        out = torch.cat(products, 2)
    return out.narrow(dim, 0, count)

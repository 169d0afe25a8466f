"""What the operators do inside `torch.autocast`: the same on every backend."""

import torch
from torch import Tensor


def enabled(device: str) -> bool:
    """Whether tensors on this type of device are cast."""
    return device != "meta" and torch.is_autocast_enabled(device)


def _cast(tensors: tuple[Tensor, ...], dtype: torch.dtype) -> tuple[Tensor, ...]:
    # Like PyTorch's own rules, float64 is left alone: whoever uses it means it.
    return tuple(
        t.to(dtype) if t.is_floating_point() and t.dtype != torch.float64 else t for t in tensors
    )


def to_low_precision(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Inside autocast, the tensors in its dtype, as convolutions do; outside, as they are."""
    device = tensors[0].device.type
    if not enabled(device):
        return tensors
    return _cast(tensors, torch.get_autocast_dtype(device))


def to_float32(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Inside autocast, the tensors in float32, as PyTorch does where range matters more than
    speed; outside, as they are.
    """
    return _cast(tensors, torch.float32) if enabled(tensors[0].device.type) else tensors

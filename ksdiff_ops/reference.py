"""Every operator in a few obvious lines of differentiable PyTorch: what the kernels must equal.

The functions take the same arguments as the low-level operators: only the top and left padding,
the output's size being known from `weight` or `coeff`. Half precision accumulates in float32.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def _accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype


def dynamic_conv(
    x: Tensor,  # [B, C, H, W]
    weight: Tensor,  # [B, G, kh, kw, Ho, Wo]
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
) -> Tensor:  # [B, C, Ho, Wo]
    """Sum over the taps of a shifted image times that tap's weight plane."""
    batch, channels, height, width = x.shape
    groups, kh, kw, ho, wo = weight.shape[1:]
    precise = _accumulation_dtype(x.dtype)
    reach_y = (ho - 1) * stride[0] + (kh - 1) * dilation[0] + 1
    reach_x = (wo - 1) * stride[1] + (kw - 1) * dilation[1] + 1
    bottom = max(reach_y - height - padding[0], 0)
    right = max(reach_x - width - padding[1], 0)
    padded = F.pad(x.to(precise), (padding[1], right, padding[0], bottom))
    weight = weight.to(precise)
    y = padded.new_zeros(batch, groups, channels // groups, ho, wo)
    for i in range(kh):
        for j in range(kw):
            top, left = i * dilation[0], j * dilation[1]
            window = padded[
                :,
                :,
                top : top + (ho - 1) * stride[0] + 1 : stride[0],
                left : left + (wo - 1) * stride[1] + 1 : stride[1],
            ]
            y = y + window.unflatten(1, (groups, -1)) * weight[:, :, None, i, j]
    return y.flatten(1, 2).to(x.dtype)


def lowrank_dynamic_conv(
    x: Tensor,  # [B, C, H, W]
    coeff: Tensor,  # [B, G, R, Ho, Wo]
    basis: Tensor,  # [B, G, R, kh, kw]
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
) -> Tensor:  # [B, C, Ho, Wo]
    """The kernels written out per pixel, then `dynamic_conv`."""
    precise = _accumulation_dtype(x.dtype)
    with torch.autocast(x.device.type, enabled=False):
        weight = torch.einsum("bgrhw,bgrij->bgijhw", coeff.to(precise), basis.to(precise))
        return dynamic_conv(x.to(precise), weight, stride, padding, dilation).to(x.dtype)


def tucker_kernel(
    core: Tensor,  # [B, r1, r2, r3, r4]
    u1: Tensor,  # [B, Cout, r1]
    u2: Tensor,  # [B, Cin, r2]
    u3: Tensor,  # [B, kh, r3]
    u4: Tensor,  # [B, kw, r4]
    base: Tensor | None,  # [Cout, Cin, kh, kw]
) -> Tensor:  # [B, Cout, Cin, kh, kw]
    """The core multiplied along each mode by its factor, then by the base kernel."""
    precise = _accumulation_dtype(core.dtype)
    with torch.autocast(core.device.type, enabled=False):
        kernel = core.to(precise)
        kernel = torch.einsum("bpqrs,bos->bpqro", kernel, u4.to(precise))
        kernel = torch.einsum("bpqrs,bor->bpqos", kernel, u3.to(precise))
        kernel = torch.einsum("bpqrs,boq->bpors", kernel, u2.to(precise))
        kernel = torch.einsum("bpqrs,bop->boqrs", kernel, u1.to(precise))
        if base is not None:
            kernel = kernel * base.to(precise)
        return kernel.to(core.dtype)

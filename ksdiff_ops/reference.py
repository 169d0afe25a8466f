"""Every operator in a few obvious lines of differentiable PyTorch: what the kernels must equal.

The functions take the same arguments as the low-level operators: only the top and left padding,
the output's size being given or known from `weight` or `coeff`. Half precision accumulates in
float32.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from ksdiff_ops.arguments import as_pair


def _accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype


def _padded(
    x: Tensor,
    kernel: tuple[int, int],
    size: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
) -> Tensor:
    """The image with zeros on all sides, as many as the outputs of `size` read."""
    margins = []
    for axis in (1, 0):
        reach = (size[axis] - 1) * stride[axis] + (kernel[axis] - 1) * dilation[axis] + 1
        margins += [padding[axis], max(reach - x.shape[2 + axis] - padding[axis], 0)]
    return F.pad(x, margins)


def _shifted(
    padded: Tensor,
    tap: tuple[int, int],
    size: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
) -> Tensor:
    """What every output pixel reads through one tap."""
    top, left = tap[0] * dilation[0], tap[1] * dilation[1]
    bottom, right = top + (size[0] - 1) * stride[0] + 1, left + (size[1] - 1) * stride[1] + 1
    return padded[:, :, top : bottom : stride[0], left : right : stride[1]]


def dynamic_conv(
    x: Tensor,  # [B, C, H, W]
    weight: Tensor,  # [B, G, kh, kw, Ho, Wo]
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
) -> Tensor:  # [B, C, Ho, Wo]
    """Sum over the taps of a shifted image times that tap's weight plane."""
    batch, channels = x.shape[:2]
    groups, kh, kw, ho, wo = weight.shape[1:]
    precise = _accumulation_dtype(x.dtype)
    padded = _padded(x.to(precise), (kh, kw), (ho, wo), stride, padding, dilation)
    weight = weight.to(precise)
    y = padded.new_zeros(batch, groups, channels // groups, ho, wo)
    for i in range(kh):
        for j in range(kw):
            window = _shifted(padded, (i, j), (ho, wo), stride, dilation)
            y = y + window.unflatten(1, (groups, -1)) * weight[:, :, None, i, j]
    return y.flatten(1, 2).to(x.dtype)


def dynamic_conv_grad_input(
    x: Tensor,  # [B, C, Ho, Wo]
    weight: Tensor,  # [B, G, kh, kw, Ho, Wo]
    size: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
) -> Tensor:  # [B, C, H, W]
    """Every pixel times its kernel, the products added up where they overlap."""
    groups, kh, kw, ho, wo = weight.shape[1:]
    precise = _accumulation_dtype(x.dtype)
    image = x.to(precise).unflatten(1, (groups, -1))
    spread = image[:, :, :, None, None] * weight.to(precise)[:, :, None]
    height = (ho - 1) * stride[0] + (kh - 1) * dilation[0] + 1
    width = (wo - 1) * stride[1] + (kw - 1) * dilation[1] + 1
    products = spread.flatten(5).flatten(1, 4)
    whole = F.fold(products, (height, width), (kh, kw), dilation, 0, stride)
    top, left = padding
    y = F.pad(whole, (-left, left + size[1] - width, -top, top + size[0] - height))
    return y.to(x.dtype)


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


def batched_conv2d(
    x: Tensor,  # [B, Cin, H, W]
    weight: Tensor,  # [B, Cout, Cin / groups, kh, kw]
    size: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
) -> Tensor:  # [B, Cout, Ho, Wo]
    """Sum over the taps of a matrix product between that tap's kernels and a shifted image."""
    batch, out_channels, _, kh, kw = weight.shape
    precise = _accumulation_dtype(x.dtype)
    with torch.autocast(x.device.type, enabled=False):
        padded = _padded(x.to(precise), (kh, kw), size, stride, padding, dilation)
        weight = weight.to(precise).unflatten(1, (groups, -1))
        y = padded.new_zeros(batch, groups, out_channels // groups, *size)
        for i in range(kh):
            for j in range(kw):
                window = _shifted(padded, (i, j), size, stride, dilation)
                window = window.unflatten(1, (groups, -1))
                y = y + torch.einsum("bgchw,bgoc->bgohw", window, weight[..., i, j])
        return y.flatten(1, 2).to(x.dtype)


def adaptive_conv2d(
    x: Tensor,  # [B, Cin, H, W]
    attention: Tensor,  # [B, kh, kw, H, W]
    weight: Tensor,  # [Cout, Cin, kh, kw]
) -> Tensor:  # [B, Cout, H, W]
    """`windowed_adaptive_conv2d` at every pixel, its kernel centred."""
    padding = ((weight.shape[2] - 1) // 2, (weight.shape[3] - 1) // 2)
    return windowed_adaptive_conv2d(x, attention, weight[None], (1, 1), padding, (1, 1), 1)


def windowed_adaptive_conv2d(
    x: Tensor,  # [B, Cin, H, W]
    attention: Tensor,  # [B, kh, kw, Ho, Wo]
    weight: Tensor,  # [B, Cout, Cin / groups, kh, kw], or [1, ...] for all samples alike
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
) -> Tensor:  # [B, Cout, Ho, Wo]
    """Sum over the taps of a matrix product between that tap's kernel and a scaled image."""
    size, kernel = as_pair(attention.shape[3:]), as_pair(weight.shape[3:])
    out_channels, channels = weight.shape[1:3]
    precise = _accumulation_dtype(x.dtype)
    with torch.autocast(x.device.type, enabled=False):
        padded = _padded(x.to(precise), kernel, size, stride, padding, dilation)
        attention = attention.to(precise)
        weight = weight.to(precise).unflatten(1, (groups, -1))
        shared = weight.shape[0] == 1
        y = padded.new_zeros(x.shape[0], groups, out_channels // groups, *size)
        for i in range(kernel[0]):
            for j in range(kernel[1]):
                scaled = _shifted(padded, (i, j), size, stride, dilation) * attention[:, None, i, j]
                scaled = scaled.unflatten(1, (groups, -1))
                tap = weight[..., i, j]
                if channels == 1:
                    y = y + scaled * tap[..., 0, None, None]
                elif shared:
                    y = y + torch.einsum("bgchw,goc->bgohw", scaled, tap[0])
                else:
                    y = y + torch.einsum("bgchw,bgoc->bgohw", scaled, tap)
        return y.flatten(1, 2).to(x.dtype)

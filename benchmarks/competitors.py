"""The operators as one writes them in PyTorch without ksdiff_ops: what a timing is compared with.

Shapes as in `ksdiff_ops`; stride 1, "same" padding, odd square kernels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def unfold_conv(x: Tensor, weight: Tensor) -> Tensor:
    """dynamic_conv by F.unfold: k * k copies of the image, then one product and sum."""
    batch, channels, height, width = x.shape
    groups, k = weight.shape[1:3]
    patches = F.unfold(x, k, padding=k // 2)
    patches = patches.view(batch, groups, channels // groups, k * k, height, width)
    kernels = weight.reshape(batch, groups, 1, k * k, height, width)
    return (patches * kernels).sum(3).view_as(x)


def shift_conv(x: Tensor, weight: Tensor) -> Tensor:
    """dynamic_conv tap by tap: the shifted image times that tap's plane, summed up."""
    channels, height, width = x.shape[1:]
    groups, k = weight.shape[1:3]
    padded = F.pad(x, [k // 2] * 4).unflatten(1, (groups, channels // groups))
    y = 0
    for i in range(k):
        for j in range(k):
            window = padded[..., i : i + height, j : j + width]
            y = y + window * weight[:, :, None, i, j]
    return y.flatten(1, 2)


def _mixed_kernels(coeff: Tensor, basis: Tensor) -> Tensor:
    return torch.einsum("bgrhw,bgrij->bgijhw", coeff, basis)


def lowrank_unfold(x: Tensor, coeff: Tensor, basis: Tensor) -> Tensor:
    """lowrank_dynamic_conv with every pixel's kernel written out, then `unfold_conv`."""
    return unfold_conv(x, _mixed_kernels(coeff, basis))


def lowrank_shift(x: Tensor, coeff: Tensor, basis: Tensor) -> Tensor:
    """lowrank_dynamic_conv with every pixel's kernel written out, then `shift_conv`."""
    return shift_conv(x, _mixed_kernels(coeff, basis))


def lowrank_mix(x: Tensor, coeff: Tensor, basis: Tensor) -> Tensor:
    """lowrank_dynamic_conv as R ordinary convolutions whose results the coefficients mix."""
    batch, channels, height, width = x.shape
    groups, rank, k = basis.shape[1:4]
    per_group = channels // groups
    kernels = basis.repeat_interleave(per_group, 1).reshape(batch * channels * rank, 1, k, k)
    image = x.reshape(1, batch * channels, height, width)
    filtered = F.conv2d(image, kernels, padding=k // 2, groups=batch * channels)
    filtered = filtered.view(batch, groups, per_group, rank, height, width)
    return (filtered * coeff[:, :, None]).sum(3).view_as(x)


def tucker_einsum(core: Tensor, u1: Tensor, u2: Tensor, u3: Tensor, u4: Tensor, base: Tensor):
    """tucker_kernel as one einsum, in the order that PyTorch finds cheapest."""
    return torch.einsum("bpqrs,bop,bcq,bhr,bws->bochw", core, u1, u2, u3, u4) * base


def tucker_steps(core: Tensor, u1: Tensor, u2: Tensor, u3: Tensor, u4: Tensor, base: Tensor):
    """tucker_kernel mode by mode, small modes first."""
    kernel = torch.einsum("bpqrs,bws->bpqrw", core, u4)
    kernel = torch.einsum("bpqrw,bhr->bpqhw", kernel, u3)
    kernel = torch.einsum("bpqhw,bcq->bpchw", kernel, u2)
    return torch.einsum("bpchw,bop->bochw", kernel, u1) * base

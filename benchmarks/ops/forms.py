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


def _groups(x: Tensor, weight: Tensor) -> int:
    return x.shape[1] // weight.shape[2]


def batched_grouped(x: Tensor, weight: Tensor) -> Tensor:
    """batched_conv2d as one convolution with a group per sample."""
    batch, cout, _, k = weight.shape[:4]
    image = x.reshape(1, batch * x.shape[1], *x.shape[2:])
    groups = batch * _groups(x, weight)
    y = F.conv2d(image, weight.flatten(0, 1), padding=k // 2, groups=groups)
    return y.view(batch, cout, *x.shape[2:])


def batched_loop(x: Tensor, weight: Tensor) -> Tensor:
    """batched_conv2d as one convolution after the other."""
    k, groups = weight.shape[-1], _groups(x, weight)
    pairs = zip(x.split(1), weight.unbind(), strict=True)
    return torch.cat([F.conv2d(one, own, padding=k // 2, groups=groups) for one, own in pairs])


def batched_loop_channels_last(x: Tensor, weight: Tensor) -> Tensor:
    """`batched_loop` on a copy of the image in channels_last, and its result copied back."""
    y = batched_loop(x.contiguous(memory_format=torch.channels_last), weight)
    return y.contiguous()


def batched_unfold(x: Tensor, weight: Tensor) -> Tensor:
    """batched_conv2d by F.unfold, then one batched matrix product."""
    batch, cout, k = *weight.shape[:2], weight.shape[-1]
    groups = _groups(x, weight)
    patches = x.flatten(2) if k == 1 else F.unfold(x, k, padding=k // 2)
    patches = patches.unflatten(1, (groups, -1))
    kernels = weight.reshape(batch, groups, cout // groups, -1)
    return (kernels @ patches).view(batch, cout, *x.shape[2:])


def adaptive_unfold(x: Tensor, attention: Tensor, weight: Tensor) -> Tensor:
    """adaptive_conv2d by F.unfold, as LAGConv is published: patches, scaled, then a product."""
    batch, channels, height, width = x.shape
    k = weight.shape[-1]
    patches = F.unfold(x, k, padding=k // 2).view(batch, channels, k * k, height * width)
    scaled = patches * attention.reshape(batch, 1, k * k, height * width)
    return (weight.flatten(1) @ scaled.flatten(1, 2)).view(batch, -1, height, width)


def adaptive_shift(x: Tensor, attention: Tensor, weight: Tensor) -> Tensor:
    """adaptive_conv2d tap by tap: a pointwise convolution of the shifted, scaled image."""
    height, width = x.shape[2:]
    k = weight.shape[-1]
    padded = F.pad(x, [k // 2] * 4)
    y = 0
    for i in range(k):
        for j in range(k):
            window = padded[..., i : i + height, j : j + width] * attention[:, None, i, j]
            y = y + torch.einsum("bchw,oc->bohw", window, weight[..., i, j])
    return y

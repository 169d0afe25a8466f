"""The operators as one writes them in PyTorch without ksdiff_ops: what a timing is compared with.

Shapes as in `ksdiff_ops`; stride 1, "same" padding, odd kernels.
"""

from collections.abc import Callable, Iterator
from functools import reduce
from operator import add

import torch
import torch.nn.functional as F
from torch import Tensor

Form = Callable[..., Tensor]


def _patches(x: Tensor, kernel: tuple[int, int]) -> Tensor:
    """[B, C, kh * kw, H, W]: every pixel's neighbourhood, copied."""
    columns = F.unfold(x, kernel, padding=(kernel[0] // 2, kernel[1] // 2))
    return columns.view(*x.shape[:2], -1, *x.shape[2:])


def _shifts(x: Tensor, kernel: tuple[int, int]) -> Iterator[tuple[int, int, Tensor]]:
    """(i, j, the image as tap (i, j) sees it), without a copy of each."""
    (kh, kw), (height, width) = kernel, x.shape[2:]
    padded = F.pad(x, [kw // 2, kw // 2, kh // 2, kh // 2])
    for i in range(kh):
        for j in range(kw):
            yield i, j, padded[..., i : i + height, j : j + width]


def unfold_sum(x: Tensor, weight: Tensor) -> Tensor:
    """dynamic_conv by F.unfold, then one product and sum."""
    patches = _patches(x, weight.shape[2:4]).unflatten(1, (weight.shape[1], -1))
    return (patches * weight.flatten(2, 3)[:, :, None]).sum(3).view_as(x)


def shift(x: Tensor, weight: Tensor) -> Tensor:
    """dynamic_conv tap by tap: the shifted image times that tap's plane, summed up."""
    groups, kernel = weight.shape[1], weight.shape[2:4]
    terms = (
        window.unflatten(1, (groups, -1)) * weight[:, :, None, i, j]
        for i, j, window in _shifts(x, kernel)
    )
    return reduce(add, terms).flatten(1, 2)


def product(x: Tensor, weight: Tensor) -> Tensor:
    """dynamic_conv with one tap."""
    return (x.unflatten(1, (weight.shape[1], -1)) * weight[:, :, None, 0, 0]).flatten(1, 2)


def written_out(kernels: Form, form: Form) -> Form:
    """``form`` of dynamic_conv with every pixel's kernel made of the other operands beforehand."""
    return lambda x, *operands: form(x, kernels(*operands))


def mixed_kernels(coeff: Tensor, basis: Tensor) -> Tensor:
    """Those of lowrank_dynamic_conv."""
    return torch.einsum("bgrhw,bgrij->bgijhw", coeff, basis)


def lowrank_mix(x: Tensor, coeff: Tensor, basis: Tensor) -> Tensor:
    """lowrank_dynamic_conv as R ordinary convolutions whose results the coefficients mix."""
    batch, channels, height, width = x.shape
    groups, rank, kh, kw = basis.shape[1:]
    per_group = channels // groups
    kernels = basis.repeat_interleave(per_group, 1).reshape(batch * channels * rank, 1, kh, kw)
    image = x.reshape(1, batch * channels, height, width)
    filtered = F.conv2d(image, kernels, padding=(kh // 2, kw // 2), groups=batch * channels)
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
    patches = _patches(x, weight.shape[2:])
    scaled = patches * attention.reshape(len(x), 1, *patches.shape[2:])
    y = weight.flatten(1) @ scaled.flatten(3).flatten(1, 2)
    return y.view(len(x), -1, *x.shape[2:])


def adaptive_shift(x: Tensor, attention: Tensor, weight: Tensor) -> Tensor:
    """adaptive_conv2d tap by tap: a pointwise convolution of the shifted, scaled image."""
    return reduce(
        add,
        (
            torch.einsum("bchw,oc->bohw", window * attention[:, None, i, j], weight[..., i, j])
            for i, j, window in _shifts(x, weight.shape[2:])
        ),
    )


# A decoupled dynamic filter: adaptive_conv2d with a group a channel, its weights [B, C, 1, k, k].


def decoupled_kernels(attention: Tensor, weight: Tensor) -> Tensor:
    """The kernels as published: [B, C, k, k, H, W]."""
    return attention[:, None] * weight[:, :, 0, ..., None, None]


def decoupled_shift(x: Tensor, attention: Tensor, weight: Tensor) -> Tensor:
    terms = (
        window * attention[:, None, i, j] * weight[..., i, j, None]
        for i, j, window in _shifts(x, weight.shape[3:])
    )
    return reduce(add, terms)


def decoupled_matmul(x: Tensor, attention: Tensor, weight: Tensor) -> Tensor:
    scaled = _patches(x, weight.shape[3:]) * attention.flatten(1, 2)[:, None]
    return (weight.flatten(3) @ scaled.flatten(3)).view_as(x)


def carafe_unfold(x: Tensor, weight: Tensor) -> Tensor:
    """As in the usual PyTorch rewritings of CARAFE: patches, repeated, times their kernels."""
    factor, k = weight.shape[-1] // x.shape[-1], weight.shape[2]
    patches = _patches(x, (k, k)).flatten(1, 2)
    patches = F.interpolate(patches, scale_factor=factor, mode="nearest")
    patches = patches.unflatten(1, (-1, k * k))
    return torch.einsum("bckhw,bkhw->bchw", patches, weight[:, 0].flatten(1, 2))


def carafe_subpixel(x: Tensor, weight: Tensor) -> Tensor:
    """Every low-resolution patch times the kernels of its factor * factor output pixels."""
    batch, channels, height, width = x.shape
    factor, k = weight.shape[-1] // width, weight.shape[2]
    patches = _patches(x, (k, k)).permute(0, 3, 4, 1, 2).reshape(-1, channels, k * k)
    own = F.pixel_unshuffle(weight[:, 0].flatten(1, 2), factor)
    own = own.view(batch, k * k, factor**2, height, width).permute(0, 3, 4, 1, 2)
    y = patches @ own.reshape(-1, k * k, factor**2)
    y = y.view(batch, height, width, channels * factor**2).permute(0, 3, 1, 2)
    return F.pixel_shuffle(y, factor)


def separable_rows(x: Tensor, vertical: Tensor, horizontal: Tensor) -> Tensor:
    """Row by row: the shifted image times the horizontal kernel, then the vertical weight."""
    k, (height, width) = vertical.shape[2], x.shape[2:]
    bands = F.pad(x, [k // 2] * 4).unfold(3, width, 1)  # [B, C, H + k - 1, k, W]
    terms = (
        torch.einsum("bchjw,bjhw->bchw", bands[:, :, i : i + height], horizontal[:, 0])
        * vertical[:, :, i]
        for i in range(k)
    )
    return reduce(add, terms)

"""Gradients of adaptive_conv2d on a CPU where planes are small and the kernel is large, so that
products of matrices take nearly all of the time.

The gradients of image and attention are made of one product, kernel times output gradient, which
the operator's own, one for each gradient, make once each.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import _SingleLevelFunction
from torch.nn import functional as F

from ksdiff_ops.multilinear import forward_or_transformed

_LEAST_KERNEL, _MOST_PATCHES = 256 * 1024, 16 << 20  # bytes


def serves(x: Tensor, weight: Tensor) -> bool:
    """Whether a call with these shapes gains by it, by measurement, where image and attention need
    gradients; half precision is summed in float32, which PyTorch's products do not do everywhere.
    """
    kh, kw = weight.shape[2:]
    patches = x.numel() * kh * kw * x.element_size()
    return (
        x.dtype in (torch.float32, torch.float64)
        and kh % 2 == kw % 2 == 1
        and weight.numel() * weight.element_size() > _LEAST_KERNEL
        and 0 < patches <= _MOST_PATCHES
    )


def convolve(
    operator: Callable[..., Tensor], x: Tensor, attention: Tensor, weight: Tensor
) -> Tensor:
    """What the operator computes, with these gradients where they are wanted."""
    wanted = torch.is_grad_enabled() and x.requires_grad and attention.requires_grad
    if not wanted or forward_or_transformed():
        return operator(x, attention, weight)
    return _SharedProduct.apply(operator, x, attention, weight)  # type: ignore[attr-defined]


class _SharedProduct(_SingleLevelFunction):
    @staticmethod
    def forward(
        ctx: Any,
        operator: Callable[..., Tensor],
        x: Tensor,  # [B, Cin, H, W]
        attention: Tensor,  # [B, kh, kw, H, W]
        weight: Tensor,  # [Cout, Cin, kh, kw]
    ) -> Tensor:  # [B, Cout, H, W]
        ctx.save_for_backward(x, attention, weight)
        return operator(x, attention, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, attention, weight = ctx.saved_tensors
        batch, channels, height, width = x.shape
        kernel = kh, kw = weight.shape[2:]
        taps, padding = kh * kw, (kh // 2, kw // 2)
        # Samples side by side: channels and taps, or outputs, times pixels of all samples.
        factors = attention.reshape(batch, taps, -1).transpose(0, 1)
        sent = grad.flatten(2).transpose(0, 1).flatten(1)
        products = (weight.flatten(1).T @ sent).view(channels, taps, batch, -1)
        patches = F.unfold(x, kernel, padding=padding)
        patches = patches.view(batch, channels, taps, -1).permute(1, 2, 0, 3)
        attention_grad = (products * patches).sum(0).transpose(0, 1).reshape(attention.shape)
        sums = _scaled(products, factors).permute(2, 0, 1, 3).reshape(batch, channels * taps, -1)
        x_grad = F.fold(sums, (height, width), kernel, padding=padding)
        weight_grad = None
        if ctx.needs_input_grad[3]:
            scaled = _scaled(patches, factors).reshape(channels * taps, -1)
            weight_grad = (sent @ scaled.T).view(weight.shape)
        return None, x_grad, attention_grad, weight_grad


def _scaled(temporary: Tensor, factors: Tensor) -> Tensor:
    """The product, in the memory of the first where no graph keeps that."""
    return temporary * factors if torch.is_grad_enabled() else temporary.mul_(factors)

"""adaptive_conv2d on a CPU where planes are small and the kernel is large, so that products of
matrices take nearly all of the time.

The gradients of image and attention are made of one product, kernel times output gradient, which
the operator's own, one for each gradient, make once each. In bfloat16 PyTorch's product of matrices
is the faster one forwards, too.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import _SingleLevelFunction
from torch.nn import functional as F

from ksdiff_ops import native
from ksdiff_ops.multilinear import forward_or_transformed, gradients_level

_LEAST_KERNEL = 32 * 1024  # numbers
_MOST_PATCHES = 16 << 20  # bytes
_PRECISE = torch.float32, torch.float64


def serves(x: Tensor, weight: Tensor) -> bool:
    """Whether a call with these shapes gains by it, by measurement, where image and attention need
    gradients. Half precision does not, except for bfloat16 where the CPU multiplies it.
    """
    kh, kw = weight.shape[2:]
    patches = x.numel() * kh * kw * x.element_size()
    return (
        (x.dtype in _PRECISE or (x.dtype == torch.bfloat16 and native.multiplies_bfloat16()))
        and kh % 2 == kw % 2 == 1
        and weight.numel() > _LEAST_KERNEL
        and 0 < patches <= _MOST_PATCHES
    )


def convolve(
    operator: Callable[..., Tensor], x: Tensor, attention: Tensor, weight: Tensor
) -> Tensor:
    """What the operator computes, with these gradients where they are wanted."""
    if forward_or_transformed():
        return operator(x, attention, weight)
    direct = operator if x.dtype in _PRECISE else _convolve
    recorded = torch.is_grad_enabled()
    if recorded and x.requires_grad and attention.requires_grad:
        return _SharedProduct.apply(direct, x, attention, weight)  # type: ignore[attr-defined]
    if recorded and (x.requires_grad or attention.requires_grad or weight.requires_grad):
        return operator(x, attention, weight)
    return direct(x, attention, weight)


class _SharedProduct(_SingleLevelFunction):
    @staticmethod
    def forward(
        ctx: Any,
        direct: Callable[..., Tensor],
        x: Tensor,  # [B, Cin, H, W]
        attention: Tensor,  # [B, kh, kw, H, W]
        weight: Tensor,  # [Cout, Cin, kh, kw]
    ) -> Tensor:  # [B, Cout, H, W]
        ctx.save_for_backward(x, attention, weight)
        return direct(x, attention, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, attention, weight = ctx.saved_tensors
        learns = ctx.needs_input_grad[3]
        if not (torch.is_grad_enabled() or forward_or_transformed() or gradients_level()):
            return None, *_gradients(grad, x, attention, weight, learns)
        operators = torch.ops.ksdiff_ops  # they have gradients and batching rules of their own
        return (
            None,
            operators.adaptive_conv2d_grad_input(grad, attention, weight),
            operators.adaptive_conv2d_grad_attention(grad, x, weight),
            operators.adaptive_conv2d_grad_weight(grad, x, attention) if learns else None,
        )


# Below, samples lie side by side: images are [C, B, H, W], planes of factors [kh, kw, B, H, W].


def _convolve(x: Tensor, attention: Tensor, weight: Tensor) -> Tensor:
    scaled = _scaled_patches(_padded(x, weight), attention.permute(1, 2, 0, 3, 4))
    y = weight.flatten(1) @ scaled
    return y.view(len(weight), len(x), *x.shape[2:]).transpose(0, 1).contiguous()


def _gradients(
    grad: Tensor, x: Tensor, attention: Tensor, weight: Tensor, learns: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    batch, channels, *size = x.shape
    kernel = kh, kw = weight.shape[2:]
    factors = attention.permute(1, 2, 0, 3, 4)
    image = _padded(x, weight)
    sent = grad.transpose(0, 1).flatten(1)
    products = (weight.flatten(1).T @ sent).view(channels, kh, kw, batch, *size)
    precise = x.dtype if x.dtype in _PRECISE else torch.float32
    x_grad = torch.zeros_like(image, dtype=precise)
    attention_grad = torch.empty_like(factors)
    for i, j, window in _windows(kernel, size):
        product = products[:, i, j]
        torch.sum(product * image[window], 0, out=attention_grad[i, j])
        x_grad[window].addcmul_(product.to(precise), factors[i, j].to(precise))
    inside = x_grad[..., kh // 2 : kh // 2 + size[0], kw // 2 : kw // 2 + size[1]]
    weight_grad = None
    if learns:
        weight_grad = (sent @ _scaled_patches(image, factors).T).view(weight.shape)
    return (
        inside.transpose(0, 1).to(x.dtype, memory_format=torch.contiguous_format),
        attention_grad.permute(2, 0, 1, 3, 4).contiguous(),
        weight_grad,
    )


def _padded(x: Tensor, weight: Tensor) -> Tensor:
    """[C, B, H + kh - 1, W + kw - 1]"""
    kh, kw = weight.shape[2:]
    return F.pad(x, (kw // 2, kw // 2, kh // 2, kh // 2)).transpose(0, 1)


def _scaled_patches(image: Tensor, factors: Tensor) -> Tensor:
    """[C * kh * kw, B * H * W], of a padded image."""
    kernel, size = factors.shape[:2], factors.shape[3:]
    scaled = image.new_empty(len(image), *factors.shape)
    for i, j, window in _windows(kernel, size):
        torch.mul(image[window], factors[i, j], out=scaled[:, i, j])
    return scaled.flatten(3).flatten(0, 2)


def _windows(kernel: Sequence[int], size: Sequence[int]) -> Iterator[tuple[int, int, tuple]]:
    """Every tap's row and column, and what pixels read through it."""
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            yield i, j, (..., slice(i, i + size[0]), slice(j, j + size[1]))

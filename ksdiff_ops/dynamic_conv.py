"""Per-pixel dynamic convolution: every output pixel has its own kernel."""

from typing import Literal

import torch
from torch import Tensor

from ksdiff_ops import arguments, autocast, backends, gradients
from ksdiff_ops.arguments import Pair


def dynamic_conv(
    x: Tensor,
    weight: Tensor,
    *,
    stride: int | Pair = 1,
    padding: Literal["same"] | int | Pair = "same",
    dilation: int | Pair = 1,
    backend: str | None = None,
) -> Tensor:
    """Filters every pixel of `x` with that pixel's own kernel.

    y[b, c, p] = sum over taps i of weight[b, g(c), i, p] * x[b, c, p * stride + i * dilation
    - padding], with zeros outside the image and group g(c) = c // (C / G).

    Args:
        x: image [B, C, H, W]; float32, float64, float16 or bfloat16, any strides.
        weight: kernels [B, G, kh, kw, Ho, Wo] of x's dtype and device; G divides C.
        stride: step between output pixels, one int or (rows, columns).
        padding: "same" (Ho = ceil(H / stride)), or the zeros added on both sides as
            `torch.nn.functional.conv2d` does.
        dilation: step between taps.
        backend: "reference", "cpu", "cuda" or "triton"; None lets the device decide.

    Returns:
        [B, C, Ho, Wo], contiguous, in x's dtype; sums are in float32 or better. Inside
        `torch.autocast` both tensors are cast to its dtype first. Differentiable to any order;
        the same input gives the same bits, forward and backward.

    Raises:
        TypeError, ValueError: naming the argument, what was expected and what came.
        RuntimeError: the backend asked for is not there; the message says how to get it.

    Source: Jia et al., Dynamic Filter Networks (2016), dynamic local filtering, with groups.
    """
    arguments.require_tensor("x", x, "[B, C, H, W]")
    arguments.require_tensor("weight", weight, "[B, G, kh, kw, Ho, Wo]")
    x, weight = autocast.to_low_precision(x, weight)
    arguments.require_alike(("x", x), ("weight", weight))
    batch, channels, height, width = x.shape
    groups, kh, kw = weight.shape[1:4]
    arguments.require_groups("weight", channels, groups)
    window, size = arguments.resolve_window((height, width), (kh, kw), stride, padding, dilation)
    arguments.require_shape(
        "weight", weight, "[B, G, kh, kw, Ho, Wo]", (batch, groups, kh, kw, *size)
    )
    operator = backends.operator("dynamic_conv", x.device.type, backend)
    return operator(x, weight, window.stride, window.padding, window.dilation)


def register(namespace: str, library: torch.library.Library) -> None:
    """Adds shapes and gradients to `dynamic_conv` and its siblings in one library.

    The three primitives are the three slots of one trilinear form in image, kernels and output,
    so the gradient of each is made of the other two, and gradients of every order exist.
    """
    ops = getattr(torch.ops, namespace)

    def forward(x, weight, window):
        return ops.dynamic_conv(x, weight, *window)

    def grad_input(grad, weight, size, window):
        return ops.dynamic_conv_grad_input(grad, weight, size, *window)

    def grad_weight(grad, x, like, window):
        return ops.dynamic_conv_grad_weight(grad, x, like.shape[1], like.shape[2:4], *window)

    def fake_forward(x, weight, stride, padding, dilation):
        return x.new_empty((*x.shape[:2], *weight.shape[4:]))

    def fake_grad_input(grad, weight, size, stride, padding, dilation):
        return grad.new_empty((*grad.shape[:2], *size))

    def fake_grad_weight(grad, x, groups, kernel, stride, padding, dilation):
        return grad.new_empty((grad.shape[0], groups, *kernel, *grad.shape[2:]))

    def save_forward(ctx, inputs, output):
        x, weight, *ctx.window = inputs
        ctx.save_for_backward(x, weight)

    def save_grad_input(ctx, inputs, output):
        grad, weight, _, *ctx.window = inputs
        ctx.save_for_backward(grad, weight)

    def save_grad_weight(ctx, inputs, output):
        grad, x, _, _, *ctx.window = inputs
        ctx.save_for_backward(grad, x)

    def backward_of_forward(ctx, grad):
        x, weight = ctx.saved_tensors
        needs_x, needs_weight = ctx.needs_input_grad[:2]
        return (
            grad_input(grad, weight, x.shape[2:], ctx.window) if needs_x else None,
            grad_weight(grad, x, weight, ctx.window) if needs_weight else None,
            *(None,) * 3,
        )

    def backward_of_grad_input(ctx, grad_x):
        grad, weight = ctx.saved_tensors
        needs_grad, needs_weight = ctx.needs_input_grad[:2]
        return (
            forward(grad_x, weight, ctx.window) if needs_grad else None,
            grad_weight(grad, grad_x, weight, ctx.window) if needs_weight else None,
            *(None,) * 4,
        )

    def backward_of_grad_weight(ctx, grad_weight):
        grad, x = ctx.saved_tensors
        needs_grad, needs_x = ctx.needs_input_grad[:2]
        return (
            forward(x, grad_weight, ctx.window) if needs_grad else None,
            grad_input(grad, grad_weight, x.shape[2:], ctx.window) if needs_x else None,
            *(None,) * 5,
        )

    for name, fake, save, backward in (
        ("dynamic_conv", fake_forward, save_forward, backward_of_forward),
        ("dynamic_conv_grad_input", fake_grad_input, save_grad_input, backward_of_grad_input),
        ("dynamic_conv_grad_weight", fake_grad_weight, save_grad_weight, backward_of_grad_weight),
    ):
        qualified = f"{namespace}::{name}"
        torch.library.register_fake(qualified, fake, lib=library)
        operator = getattr(ops, name).default
        gradients.register(library, operator, backward, save)

"""Convolution of every sample with its own kernels."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ksdiff_ops import arguments, autocast, backends, gradients
from ksdiff_ops.arguments import Pair, Window


def batched_conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: int | Pair = 1,
    padding: Literal["same"] | int | Pair = "same",
    dilation: int | Pair = 1,
    groups: int = 1,
    backend: str | None = None,
) -> Tensor:
    """`torch.nn.functional.conv2d` with kernels of their own for every sample of the batch.

    y[b, o, p] = bias[o] + sum over channels c of o's group and taps i of weight[b, o, c, i]
    * x[b, c, p * stride + i * dilation - padding], with zeros outside the image.

    Args:
        x: images [B, Cin, H, W]; float32, float64, float16 or bfloat16, any strides.
        weight: kernels [B, Cout, Cin / groups, kh, kw] of x's dtype and device. One kernel for
            the whole batch is given as `weight.expand(B, -1, -1, -1, -1)`, at no cost.
        bias: added to every output channel [Cout], or None.
        stride: step between output pixels, one int or (rows, columns).
        padding: "same" (Ho = ceil(H / stride)), or the zeros added on both sides as
            `torch.nn.functional.conv2d` does.
        dilation: step between taps.
        groups: blocks of channels that do not mix; divides Cin and Cout.
        backend: "reference", "cpu" or "triton"; None lets the device decide.

    Returns:
        [B, Cout, Ho, Wo] in x's dtype, in channels_last where x is; sums are in float32 or
        better. Inside `torch.autocast` the tensors are cast to its dtype first. Differentiable
        to any order; the same input gives the same bits, forward and backward.

    Raises:
        TypeError, ValueError: naming the argument, what was expected and what came.
        RuntimeError: the backend asked for is not there; the message says how to get it.

    Source: Yang et al., CondConv (2019), and every later network that generates its kernels.
    """
    arguments.require_tensor("x", x, "[B, Cin, H, W]")
    layout = "[B, Cout, Cin / groups, kh, kw]"
    arguments.require_tensor("weight", weight, layout)
    batch, channels, height, width = x.shape
    out_channels, _, kh, kw = weight.shape[1:]
    if isinstance(groups, bool) or not isinstance(groups, int):
        raise TypeError(f"groups: expected an int, got {groups!r}")
    arguments.require_groups("groups", channels, groups)
    if out_channels % groups != 0:
        raise ValueError(
            f"weight: expected a number of output channels that {groups} groups divide, "
            f"got {out_channels}"
        )
    arguments.require_shape(
        "weight", weight, layout, (batch, out_channels, channels // groups, kh, kw)
    )
    if bias is not None:
        arguments.require_tensor("bias", bias, "[Cout]")
        arguments.require_shape("bias", bias, "[Cout]", (out_channels,))
        x, weight, bias = autocast.to_low_precision(x, weight, bias)
        arguments.require_alike(("x", x), ("weight", weight), ("bias", bias))
    else:
        x, weight = autocast.to_low_precision(x, weight)
        arguments.require_alike(("x", x), ("weight", weight))
    window, size = arguments.resolve_window((height, width), (kh, kw), stride, padding, dilation)
    chosen = backends.choose("batched_conv2d", x.device.type, backend)
    if chosen == "cpu" and _is_plain(x, weight, window, size, groups):
        kernels = weight.flatten(0, 1).contiguous()
        return F.conv2d(x, kernels, bias, window.stride, window.padding, window.dilation, groups)
    operator = backends.operator("batched_conv2d", x.device.type, chosen)
    y = operator(x, weight, size, window.stride, window.padding, window.dilation, groups)
    return y if bias is None else add_bias(y, bias)


def _is_plain(x: Tensor, weight: Tensor, window: Window, size: Pair, groups: int) -> bool:
    """Whether the CPU kernel would hand all of it to one convolution of PyTorch's, with the same
    padding on both sides: calling that directly saves what an operator of our own costs.
    """
    if x.shape[0] != 1 or groups == x.shape[1] or x.numel() == 0 or weight.numel() == 0:
        return False
    # Half precision may be widened first; other layouts decide the result's.
    if x.dtype not in (torch.float32, torch.float64) or not x.is_contiguous():
        return False
    for axis in range(2):
        reach = window.dilation[axis] * (weight.shape[3 + axis] - 1) + 1
        room = x.shape[2 + axis] + 2 * window.padding[axis] - reach
        if room // window.stride[axis] + 1 != size[axis]:
            return False
    return True


def add_bias(y: Tensor, bias: Tensor) -> Tensor:
    """A custom operator's result [B, Cout, H, W] plus a bias [Cout] or [B, Cout]."""
    bias = bias[..., None, None]
    # In place where nothing is recorded: autograd forbids it on what a custom function returned.
    return y + bias if torch.is_grad_enabled() else y.add_(bias)


def image_format(image: Tensor) -> torch.memory_format:
    """The memory format of what is made from an image: channels_last stays channels_last."""
    channels_last = not image.is_contiguous() and image.is_contiguous(
        memory_format=torch.channels_last
    )
    return torch.channels_last if channels_last else torch.contiguous_format


def register(namespace: str, library: torch.library.Library) -> None:
    """Adds shapes and gradients to `batched_conv2d` and its siblings in one library.

    The three primitives are the three slots of one trilinear form in image, kernels and output,
    so the gradient of each is made of the other two, and gradients of every order exist.
    """
    ops = getattr(torch.ops, namespace)

    def forward(x, weight, like, window):
        return ops.batched_conv2d.default(x, weight, like.shape[2:], *window)

    def grad_input(grad, weight, like, window):
        return ops.batched_conv2d_grad_input.default(grad, weight, like.shape[2:], *window)

    def grad_weight(grad, x, like, window):
        return ops.batched_conv2d_grad_weight.default(grad, x, like.shape[3:], *window)

    def fake_forward(x, weight, size, stride, padding, dilation, groups):
        y = x.new_empty((x.shape[0], weight.shape[1], *size))
        return y.contiguous(memory_format=image_format(x))

    def fake_grad_input(grad, weight, size, stride, padding, dilation, groups):
        y = grad.new_empty((grad.shape[0], weight.shape[2] * groups, *size))
        return y.contiguous(memory_format=image_format(grad))

    def fake_grad_weight(grad, x, kernel, stride, padding, dilation, groups):
        return grad.new_empty((*grad.shape[:2], x.shape[1] // groups, *kernel))

    def save(ctx, inputs, output):
        first, second, _, *ctx.window = inputs
        ctx.save_for_backward(first, second)

    def backward_of_forward(ctx, grad):
        x, weight = ctx.saved_tensors
        needs_x, needs_weight = ctx.needs_input_grad[:2]
        return (
            grad_input(grad, weight, x, ctx.window) if needs_x else None,
            grad_weight(grad, x, weight, ctx.window) if needs_weight else None,
            *(None,) * 5,
        )

    def backward_of_grad_input(ctx, grad_x):
        grad, weight = ctx.saved_tensors
        needs_grad, needs_weight = ctx.needs_input_grad[:2]
        return (
            forward(grad_x, weight, grad, ctx.window) if needs_grad else None,
            grad_weight(grad, grad_x, weight, ctx.window) if needs_weight else None,
            *(None,) * 5,
        )

    def backward_of_grad_weight(ctx, grad_weight):
        grad, x = ctx.saved_tensors
        needs_grad, needs_x = ctx.needs_input_grad[:2]
        return (
            forward(x, grad_weight, grad, ctx.window) if needs_grad else None,
            grad_input(grad, grad_weight, x, ctx.window) if needs_x else None,
            *(None,) * 5,
        )

    for suffix, fake, backward in (
        ("", fake_forward, backward_of_forward),
        ("_grad_input", fake_grad_input, backward_of_grad_input),
        ("_grad_weight", fake_grad_weight, backward_of_grad_weight),
    ):
        qualified = f"{namespace}::batched_conv2d{suffix}"
        torch.library.register_fake(qualified, fake, lib=library)
        operator = getattr(ops, f"batched_conv2d{suffix}").default
        gradients.register(library, operator, backward, save)

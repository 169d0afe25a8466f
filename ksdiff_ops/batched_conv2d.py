"""Convolution of every sample with its own kernels."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from ksdiff_ops import arguments, autocast, backends, calls, plain_convolution
from ksdiff_ops.arguments import Pair
from ksdiff_ops.bias import add_bias


def batched_conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: int | Pair = 1,
    padding: Literal["same", "symmetric"] | int | Pair = "same",
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
        padding: "same" (Ho = ceil(H / stride), the kernels centred on the image), "symmetric" (the
            same size from odd kernels, with half a kernel of zeros on both sides, as involution
            has it; at stride 2 these differ), or the zeros added on both sides as
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
    return _call((x, weight, bias), stride, padding, dilation, groups, backend)


def _prepare(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: int | Pair,
    padding: Literal["same", "symmetric"] | int | Pair,
    dilation: int | Pair,
    groups: int,
    backend: str | None,
) -> calls.Prepared:
    arguments.require_tensor("x", x, "[B, Cin, H, W]")
    layout = "[B, Cout, Cin / groups, kh, kw]"
    arguments.require_tensor("weight", weight, layout)
    batch, channels, height, width = x.shape
    out_channels, _, kh, kw = weight.shape[1:]
    groups = arguments.channel_groups(groups, channels, out_channels)
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
    plain: tuple[plain_convolution.Form | None, ...] = (None, None)
    if chosen == "cpu":
        plain = plain_convolution.forms(x, weight, window, size, groups)

    def run(
        operator: Callable[..., Tensor], x: Tensor, weight: Tensor, bias: Tensor | None
    ) -> Tensor:
        form = plain[torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)]
        # Other layouts decide the result's, and one kernel for all samples has a way of its own.
        if form is not None and x.is_contiguous() and weight.is_contiguous():
            y = form(x, weight)
        else:
            y = operator(x, weight, size, *window, groups)
        return y if bias is None else add_bias(y, bias)

    return (x, weight, bias), backends.operator("batched_conv2d", x.device.type, chosen), run


_call = calls.operator(
    lambda: batched_conv2d, _prepare, ("stride", "padding", "dilation", "groups", "backend")
)

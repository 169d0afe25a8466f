"""Per-pixel dynamic convolution: every output pixel has its own kernel."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from ksdiff_ops import arguments, autocast, backends, calls
from ksdiff_ops.arguments import Pair, Window
from ksdiff_ops.border import surround

PaddingMode = Literal["zeros", "reflect", "replicate", "circular"]

_IN_PLACE = Window((1, 1), (0, 0), (1, 1))
_PLANES = "; planes [B, G * kh * kw, Ho, Wo] are given as weight.unflatten(1, (G, kh, kw))"


def dynamic_conv(
    x: Tensor,
    weight: Tensor,
    *,
    stride: int | Pair = 1,
    padding: Literal["same", "symmetric"] | int | Pair = "same",
    dilation: int | Pair = 1,
    padding_mode: PaddingMode = "zeros",
    backend: str | None = None,
) -> Tensor:
    """Filters every pixel of `x` with that pixel's own kernel.

    y[b, c, p] = sum over taps i of weight[b, g(c), i, p] * x[b, c, p * stride + i * dilation
    - padding], with zeros or what `padding_mode` says outside the image, and group
    g(c) = c // (C / G).

    Args:
        x: image [B, C, H, W]; float32, float64, float16 or bfloat16, any strides.
        weight: kernels [B, G, kh, kw, Ho, Wo] of x's dtype and device; G divides C.
        stride: step between output pixels, one int or (rows, columns).
        padding: "same" (Ho = ceil(H / stride), the kernels centred on the image), "symmetric" (the
            same size from odd kernels, with half a kernel of zeros on both sides, as involution
            has it; at stride 2 these differ), or the zeros added on both sides as
            `torch.nn.functional.conv2d` does.
        dilation: step between taps.
        padding_mode: what is outside the image, as in `torch.nn.Conv2d`; all but "zeros" copy it
            with its border first.
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
    return _call((x, weight), stride, padding, dilation, padding_mode, backend)


def _prepare(
    x: Tensor,
    weight: Tensor,
    stride: int | Pair,
    padding: Literal["same", "symmetric"] | int | Pair,
    dilation: int | Pair,
    padding_mode: PaddingMode,
    backend: str | None,
) -> calls.Prepared:
    arguments.require_tensor("x", x, "[B, C, H, W]")
    arguments.require_tensor("weight", weight, "[B, G, kh, kw, Ho, Wo]", _PLANES)
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
    margins = arguments.border(padding_mode, (height, width), (kh, kw), window, size)
    scales = kh == kw == 1 and window == _IN_PLACE and size == (height, width)
    if (
        scales
        and groups in (1, channels)
        and backend in (None, "cpu")
        and backends.choose("dynamic_conv", x.device.type, backend) == "cpu"
    ):
        return (x, weight), operator, _scaled
    if margins is None:
        return (x, weight), operator, lambda operator, x, weight: operator(x, weight, *window)
    inside = window._replace(padding=(0, 0))

    def run(operator: Callable[..., Tensor], x: Tensor, weight: Tensor) -> Tensor:
        return operator(surround(x, margins, padding_mode), weight, *inside)

    return (x, weight), operator, run


def _scaled(operator: Callable[..., Tensor], x: Tensor, weight: Tensor) -> Tensor:
    """Kernels of one tap: PyTorch's product is all there is to compute.

    With one group, the gradient to the kernels is a sum over channels, which the operator takes
    without writing the product that PyTorch would sum.
    """
    groups, channels = weight.shape[1], x.shape[1]
    recorded = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    if groups != channels and recorded:
        return operator(x, weight, *_IN_PLACE)
    return (x * weight.reshape(x.shape[0], groups, *x.shape[2:])).contiguous()


_call = calls.operator(
    lambda: dynamic_conv,
    _prepare,
    ("stride", "padding", "dilation", "padding_mode", "backend"),
)

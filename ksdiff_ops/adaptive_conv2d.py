"""Dense convolution over patches that are scaled pixel by pixel and tap by tap."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from ksdiff_ops import arguments, autocast, backends, calls, reference, shared_product
from ksdiff_ops.arguments import Pair, Window
from ksdiff_ops.bias import add_bias

_PLANES = "; planes [B, kh * kw, Ho, Wo] are given as attention.unflatten(1, (kh, kw))"


def adaptive_conv2d(
    x: Tensor,
    attention: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: int | Pair = 1,
    padding: Literal["same", "symmetric"] | int | Pair = "same",
    dilation: int | Pair = 1,
    groups: int = 1,
    backend: str | None = None,
) -> Tensor:
    """Convolves `x` with kernels whose taps are weighted anew at every pixel.

    y[b, o, p] = bias[o] + sum over channels c of o's group and taps i of weight[o, c, i]
    * attention[b, i, p] * x[b, c, p * stride + i * dilation - padding], with zeros outside the
    image. With one kernel for all samples, no groups, stride 1 and dilation 1, the scaled patches,
    kh * kw times the image, are not kept for gradients and, but for some megabytes on a CPU, never
    written to memory. With a channel a group, the products of kernel and attention are written out
    and given to `dynamic_conv`; all else is composed of PyTorch's operators, tap by tap, on every
    backend.

    Args:
        x: images [B, Cin, H, W]; float32, float64, float16 or bfloat16, any strides.
        attention: factor of every tap at every pixel [B, kh, kw, Ho, Wo].
        weight: kernel [Cout, Cin / groups, kh, kw], or [B, Cout, Cin / groups, kh, kw] for one per
            sample; an even kernel's odd pixel is below and to the right.
        bias: added to every output channel, [Cout], or [B, Cout] for one per sample, or None.
        stride: step between output pixels, one int or (rows, columns).
        padding: "same", "symmetric", or an int or two, as for `dynamic_conv`.
        dilation: step between taps.
        groups: blocks of channels that do not mix; divides Cin and Cout. With a channel a group
            and one kernel per sample this is a decoupled dynamic filter (DDF).
        backend: "reference", "cpu" or "triton"; None lets the device decide.

    Returns:
        [B, Cout, Ho, Wo], contiguous, in x's dtype; sums are in float32 or better. Inside
        `torch.autocast` the tensors are cast to its dtype first. Differentiable to any order;
        the same input gives the same bits, forward and backward.

    Raises:
        TypeError, ValueError: naming the argument, what was expected and what came.
        RuntimeError: the backend asked for is not there; the message says how to get it.

    Source: Su et al., Pixel-Adaptive Convolutional Neural Networks (2019), equation 3; Jin et
    al., LAGConv (2022), equation 4; Zhou et al., Decoupled Dynamic Filter Networks (2021).
    """
    return _call((x, attention, weight, bias), stride, padding, dilation, groups, backend)


def _resolve(
    x: Tensor,
    attention: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: int | Pair,
    padding: Literal["same", "symmetric"] | int | Pair,
    dilation: int | Pair,
    groups: int,
) -> tuple[int, Window, tuple[int, int]]:
    """Check what is given; the number of groups, the window, and the output's size."""
    arguments.require_tensor("x", x, "[B, Cin, H, W]")
    arguments.require_tensor("attention", attention, "[B, kh, kw, Ho, Wo]", _PLANES)
    own = isinstance(weight, Tensor) and weight.dim() == 5
    layout = "[B, Cout, Cin / groups, kh, kw]" if own else "[Cout, Cin / groups, kh, kw]"
    arguments.require_tensor("weight", weight, layout)
    batch, channels, height, width = x.shape
    out_channels, _, kh, kw = weight.shape[-4:]
    groups = arguments.channel_groups(groups, channels, out_channels)
    inner = (out_channels, channels // groups, kh, kw)
    arguments.require_shape("weight", weight, layout, (batch, *inner) if own else inner)
    window, size = arguments.resolve_window((height, width), (kh, kw), stride, padding, dilation)
    arguments.require_shape("attention", attention, "[B, kh, kw, Ho, Wo]", (batch, kh, kw, *size))
    if bias is not None:
        each = isinstance(bias, Tensor) and bias.dim() == 2
        layout = "[B, Cout]" if each else "[Cout]"
        arguments.require_tensor("bias", bias, layout)
        expected = (batch, out_channels) if each else (out_channels,)
        arguments.require_shape("bias", bias, layout, expected)
    return groups, window, size


def _prepare(
    x: Tensor,
    attention: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: int | Pair,
    padding: Literal["same", "symmetric"] | int | Pair,
    dilation: int | Pair,
    groups: int,
    backend: str | None,
) -> calls.Prepared:
    groups, window, size = _resolve(x, attention, weight, bias, stride, padding, dilation, groups)
    (batch, channels, height, width), own = x.shape, weight.dim() == 5
    out_channels, _, kh, kw = weight.shape[-4:]
    named = [("x", x), ("attention", attention), ("weight", weight)]
    if bias is not None:
        named.append(("bias", bias))
    x, attention, weight, *biases = autocast.to_low_precision(*(tensor for _, tensor in named))
    names = [name for name, _ in named]
    arguments.require_alike(*zip(names, (x, attention, weight, *biases), strict=True))
    chosen = backends.choose("adaptive_conv2d", x.device.type, backend)
    compiled = torch.compiler.is_compiling()
    operator = backends.operator("adaptive_conv2d", x.device.type, backend)
    centred = Window((1, 1), ((kh - 1) // 2, (kw - 1) // 2), (1, 1))

    def dense(operator: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
        return operator(*tensors)

    def decoupled(
        operator: Callable[..., Tensor], x: Tensor, attention: Tensor, weight: Tensor
    ) -> Tensor:
        kernels = weight[:, :, 0] if own else weight[None, :, 0].expand(batch, -1, -1, -1)
        if compiled:  # a compiled program is made of the compiled libraries' operators
            return operator(x, attention[:, None] * kernels[..., None, None], *window)
        return operator(x, attention, kernels, *window)

    def windowed(
        operator: Callable[..., Tensor], x: Tensor, attention: Tensor, weight: Tensor
    ) -> Tensor:
        return operator(x, attention, weight if own else weight[None], *window, groups)

    form: Callable[..., Tensor] = windowed
    if not own and groups == 1 and window == centred and size == (height, width):
        gains = chosen == "cpu" and not compiled and shared_product.serves(x, weight)
        form = shared_product.convolve if gains else dense
    elif chosen != "reference" and groups == channels == out_channels:
        form, name = decoupled, "dynamic_conv" if compiled else "decoupled_conv2d"
        operator = backends.operator("adaptive_conv2d", x.device.type, chosen, form=name)
    else:
        operator = reference.windowed_adaptive_conv2d

    def run(operator: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
        y = form(operator, *tensors[:3])
        return y if bias is None else add_bias(y, tensors[3])

    return (x, attention, weight, *(biases or (None,))), operator, run


_call = calls.operator(
    lambda: adaptive_conv2d, _prepare, ("stride", "padding", "dilation", "groups", "backend")
)

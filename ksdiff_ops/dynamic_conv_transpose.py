"""The adjoint of per-pixel dynamic convolution: every pixel spreads itself with its own kernel."""

from typing import Literal

from torch import Tensor

from ksdiff_ops import arguments, autocast, backends
from ksdiff_ops.arguments import Pair


@arguments.overridable
def dynamic_conv_transpose(
    x: Tensor,
    weight: Tensor,
    *,
    size: Pair | None = None,
    stride: int | Pair = 1,
    padding: Literal["same", "symmetric"] | int | Pair = "same",
    dilation: int | Pair = 1,
    backend: str | None = None,
) -> Tensor:
    """Spreads every pixel of `x` over its neighbours, with that pixel's own kernel.

    y[b, c, q] = sum over pixels p and taps i with p * stride + i * dilation - padding = q of
    weight[b, g(c), i, p] * x[b, c, p]. Where `dynamic_conv` weights what a pixel gathers, this
    weights what it gives: a mask or a flow applied before the sum instead of after. It relates to
    `dynamic_conv` as `torch.nn.functional.conv_transpose2d` to `conv2d`.

    Args:
        x: images [B, C, Ho, Wo]; float32, float64, float16 or bfloat16, any strides.
        weight: kernels [B, G, kh, kw, Ho, Wo] of x's dtype and device; G divides C.
        size: of the result, (H, W): one from which `dynamic_conv` makes images of x's size. None
            takes stride times x's size for a padding in words, else the smallest such size.
        stride: step between the places of neighbouring pixels, one int or (rows, columns).
        padding: as for `dynamic_conv` on an image of `size`; what falls outside is dropped.
        dilation: step between taps.
        backend: as for `dynamic_conv`.

    Returns:
        [B, C, H, W] in x's dtype, as `dynamic_conv`.

    Raises:
        As `dynamic_conv`.
    """
    arguments.require_tensor("x", x, "[B, C, Ho, Wo]")
    layout = "[B, G, kh, kw, Ho, Wo]"
    arguments.require_tensor("weight", weight, layout)
    x, weight = autocast.to_low_precision(x, weight)
    arguments.require_alike(("x", x), ("weight", weight))
    batch, channels, *from_size = x.shape
    groups, *kernel = weight.shape[1:4]
    arguments.require_groups("weight", channels, groups)
    arguments.require_shape("weight", weight, layout, (batch, groups, *kernel, *from_size))
    taps = (kernel[0], kernel[1])
    if size is None:
        whole = _least_size((from_size[0], from_size[1]), taps, stride, padding, dilation)
    else:
        whole = arguments.pair("size", size, 0)
    window, out = arguments.resolve_window(whole, taps, stride, padding, dilation)
    if list(out) != from_size:
        raise ValueError(
            f"size: expected one from which x's {from_size[0]} x {from_size[1]} pixels come, got "
            f"{whole[0]} x {whole[1]}, from which {out[0]} x {out[1]} do"
        )
    operator = backends.operator(
        "dynamic_conv", x.device.type, backend, form="dynamic_conv_grad_input"
    )
    return operator(x, weight, whole, *window)


def _least_size(
    size: Pair,
    kernel: Pair,
    stride: int | Pair,
    padding: Literal["same", "symmetric"] | int | Pair,
    dilation: int | Pair,
) -> Pair:
    steps, gaps = arguments.pair("stride", stride, 1), arguments.pair("dilation", dilation, 1)
    if isinstance(padding, str):
        return steps[0] * size[0], steps[1] * size[1]
    pads = arguments.pair("padding", padding, 0)
    spans = (steps[a] * (size[a] - 1) + gaps[a] * (kernel[a] - 1) + 1 for a in range(2))
    height, width = (max(span - 2 * pad, 0) for span, pad in zip(spans, pads, strict=True))
    return height, width

"""Dense convolution over patches that are scaled pixel by pixel and tap by tap."""

from torch import Tensor

from ksdiff_ops import arguments, autocast, backends
from ksdiff_ops.bias import add_bias


def adaptive_conv2d(
    x: Tensor,
    attention: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    backend: str | None = None,
) -> Tensor:
    """Convolves `x` with one kernel whose taps are weighted anew at every pixel.

    y[b, o, p] = bias[o] + sum over channels c and taps j of weight[o, c, j]
    * attention[b, j, p] * x[b, c, p + d(j)], where d(j) is the tap's place relative to the
    kernel's centre, with zeros outside the image. The scaled patches, kh * kw times the image,
    are never written to memory.

    Args:
        x: images [B, Cin, H, W]; float32, float64, float16 or bfloat16, any strides.
        attention: factor of every tap at every pixel [B, kh, kw, H, W].
        weight: kernel [Cout, Cin, kh, kw]; an even kernel's odd pixel is below and to the right.
        bias: added to every output channel, [Cout], or [B, Cout] for one per sample, or None.
        backend: "reference", "cpu" or "triton"; None lets the device decide.

    Returns:
        [B, Cout, H, W], contiguous, in x's dtype; sums are in float32 or better. Inside
        `torch.autocast` the tensors are cast to its dtype first. Differentiable to any order;
        the same input gives the same bits, forward and backward.

    Raises:
        TypeError, ValueError: naming the argument, what was expected and what came.
        RuntimeError: the backend asked for is not there; the message says how to get it.

    Source: Su et al., Pixel-Adaptive Convolutional Neural Networks (2019), equation 3; Jin et
    al., LAGConv (2022), equation 4.
    """
    arguments.require_tensor("x", x, "[B, Cin, H, W]")
    arguments.require_tensor("attention", attention, "[B, kh, kw, H, W]")
    arguments.require_tensor("weight", weight, "[Cout, Cin, kh, kw]")
    batch, channels, height, width = x.shape
    out_channels, _, kh, kw = weight.shape
    arguments.require_shape(
        "weight", weight, "[Cout, Cin, kh, kw]", (out_channels, channels, kh, kw)
    )
    if kh < 1 or kw < 1:
        raise ValueError(f"kernel size: expected at least 1 x 1, got {kh} x {kw}")
    arguments.require_shape(
        "attention", attention, "[B, kh, kw, H, W]", (batch, kh, kw, height, width)
    )
    named = [("x", x), ("attention", attention), ("weight", weight)]
    if bias is not None:
        each = isinstance(bias, Tensor) and bias.dim() == 2
        layout = "[B, Cout]" if each else "[Cout]"
        arguments.require_tensor("bias", bias, layout)
        expected = (batch, out_channels) if each else (out_channels,)
        arguments.require_shape("bias", bias, layout, expected)
        named.append(("bias", bias))
    x, attention, weight, *biases = autocast.to_low_precision(*(tensor for _, tensor in named))
    names = [name for name, _ in named]
    arguments.require_alike(*zip(names, (x, attention, weight, *biases), strict=True))
    operator = backends.operator("adaptive_conv2d", x.device.type, backend)
    y = operator(x, attention, weight)
    return add_bias(y, biases[0]) if biases else y

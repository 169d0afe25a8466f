"""Per-pixel convolutions composed of `dynamic_conv`: enlarging ones, and separable ones."""

from torch import Tensor
from torch.nn.functional import pad

from ksdiff_ops import arguments, autocast
from ksdiff_ops.arguments import Pair
from ksdiff_ops.dynamic_conv import dynamic_conv


@arguments.overridable
def carafe(x: Tensor, weight: Tensor, scale: int = 2, *, backend: str | None = None) -> Tensor:
    """Enlarges `x`, every output pixel a sum of its own k x k neighbours in the input.

    y[b, c, p] = sum over taps i of weight[b, g(c), i, p] * x[b, c, floor(p / scale) + d(i)], with
    zeros outside the image. Computed at the input's resolution, as scale * scale dynamic
    convolutions at once, so the image is not enlarged before it is filtered.

    Args:
        x: images [B, C, H, W]; float32, float64, float16 or bfloat16, any strides.
        weight: kernels [B, G, kh, kw, scale * H, scale * W] of x's dtype and device; G divides C.
            What a network predicts at the input's resolution comes here through
            `torch.nn.functional.pixel_shuffle`.
        scale: how many times larger the output is.
        backend: as for `dynamic_conv`.

    Returns:
        [B, C, scale * H, scale * W] in x's dtype, as `dynamic_conv`.

    Raises:
        As `dynamic_conv`.

    Source: Wang et al., CARAFE: Content-Aware ReAssembly of FEatures (2019), equation 3.
    """
    arguments.require_tensor("x", x, "[B, C, H, W]")
    layout = "[B, G, kh, kw, scale * H, scale * W]"
    arguments.require_tensor("weight", weight, layout)
    scale = arguments.count("scale", scale)
    batch, channels, height, width = x.shape
    groups, kh, kw = weight.shape[1:4]
    arguments.require_groups("weight", channels, groups)
    size = (height * scale, width * scale)
    arguments.require_shape("weight", weight, layout, (batch, groups, kh, kw, *size))
    # The pixels of one phase are an image as large as x; the phases are groups of channels.
    phases = weight.unflatten(5, (width, scale)).unflatten(4, (height, scale))
    phases = phases.permute(0, 5, 7, 1, 2, 3, 4, 6).flatten(1, 3)
    images = x[:, None].expand(-1, scale * scale, -1, -1, -1).flatten(1, 2)
    y = dynamic_conv(images, phases, backend=backend).unflatten(1, (scale, scale, channels))
    return y.permute(0, 3, 4, 1, 5, 2).reshape(batch, channels, *size)


@arguments.overridable
def separable_dynamic_conv(
    x: Tensor,
    vertical: Tensor,
    horizontal: Tensor,
    *,
    dilation: int | Pair = 1,
    backend: str | None = None,
) -> Tensor:
    """`dynamic_conv` with kernels that are products of a column and a row, at every pixel.

    y[b, c, p] = sum over rows i and columns j of vertical[b, g, i, p] * horizontal[b, g, j, p]
    * x[b, c, p + d(i, j)], with zeros outside the image. The products, kh * kw planes, are never
    written to memory: one dynamic convolution a row, with kernels of one row.

    Args:
        x: images [B, C, H, W]; float32, float64, float16 or bfloat16, any strides.
        vertical: columns [B, G, kh, H, W] of x's dtype and device; G divides C.
        horizontal: rows [B, G, kw, H, W].
        dilation: step between taps.
        backend: as for `dynamic_conv`.

    Returns:
        [B, C, H, W] in x's dtype, as `dynamic_conv`; in half precision the sum over the rows is
        rounded after each.

    Raises:
        As `dynamic_conv`.

    Source: Niklaus et al., Video Frame Interpolation via Adaptive Separable Convolution (2017).
    """
    arguments.require_tensor("x", x, "[B, C, H, W]")
    arguments.require_tensor("vertical", vertical, "[B, G, kh, H, W]")
    arguments.require_tensor("horizontal", horizontal, "[B, G, kw, H, W]")
    x, vertical, horizontal = autocast.to_low_precision(x, vertical, horizontal)
    arguments.require_alike(("x", x), ("vertical", vertical), ("horizontal", horizontal))
    batch, channels, height, width = x.shape
    groups, kh = vertical.shape[1:3]
    kw = horizontal.shape[2]
    arguments.require_groups("vertical", channels, groups)
    arguments.require_shape(
        "vertical", vertical, "[B, G, kh, H, W]", (batch, groups, kh, height, width)
    )
    arguments.require_shape(
        "horizontal", horizontal, "[B, G, kw, H, W]", (batch, groups, kw, height, width)
    )
    window, _ = arguments.resolve_window((height, width), (kh, kw), 1, "same", dilation)
    rows = horizontal[:, :, None]
    above = window.padding[0]
    padded = pad(x, (0, 0, above, window.dilation[0] * (kh - 1) - above))
    y = x.new_zeros(batch, groups, channels // groups, height, width)
    for row in range(kh):
        first = row * window.dilation[0]
        part = dynamic_conv(
            padded[:, :, first : first + height], rows, dilation=window.dilation, backend=backend
        )
        y = y + part.unflatten(1, (groups, -1)) * vertical[:, :, row, None]
    return y.flatten(1, 2)

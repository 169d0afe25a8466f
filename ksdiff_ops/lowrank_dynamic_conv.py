"""Per-pixel dynamic convolution whose kernels are mixtures of a few basis kernels."""

from collections.abc import Callable
from typing import Literal

from torch import Tensor

from ksdiff_ops import arguments, autocast, backends, calls
from ksdiff_ops.arguments import Pair


def lowrank_dynamic_conv(
    x: Tensor,
    coeff: Tensor,
    basis: Tensor,
    *,
    stride: int | Pair = 1,
    padding: Literal["same", "symmetric"] | int | Pair = "same",
    dilation: int | Pair = 1,
    backend: str | None = None,
) -> Tensor:
    """Filters every pixel of `x` with its own mixture of basis kernels.

    The same as `dynamic_conv` with weight[b, g, i, p] = sum over r of coeff[b, g, r, p]
    * basis[b, g, r, i], which is never written to memory.

    Args:
        x: image [B, C, H, W]; float32, float64, float16 or bfloat16, any strides.
        coeff: share of each basis kernel at each pixel [B, G, R, Ho, Wo]; G divides C.
        basis: basis kernels [B, G, R, kh, kw], or [G, R, kh, kw] for all samples alike.
        stride: step between output pixels, one int or (rows, columns).
        padding: "same" (Ho = ceil(H / stride), the kernels centred on the image), "symmetric" (the
            same size from odd kernels, with half a kernel of zeros on both sides, as involution
            has it; at stride 2 these differ), or the zeros added on both sides as
            `torch.nn.functional.conv2d` does.
        dilation: step between taps.
        backend: "reference", "cpu", "cuda" or "triton"; None lets the device decide.

    Returns:
        [B, C, Ho, Wo], contiguous, in x's dtype; sums are in float32 or better. Inside
        `torch.autocast` the tensors are cast to its dtype first. Differentiable to any order;
        the same input gives the same bits, forward and backward.

    Raises:
        TypeError, ValueError: naming the argument, what was expected and what came.
        RuntimeError: the backend asked for is not there; the message says how to get it.
    """
    return _call((x, coeff, basis), stride, padding, dilation, backend)


def _prepare(
    x: Tensor,
    coeff: Tensor,
    basis: Tensor,
    stride: int | Pair,
    padding: Literal["same", "symmetric"] | int | Pair,
    dilation: int | Pair,
    backend: str | None,
) -> calls.Prepared:
    arguments.require_tensor("x", x, "[B, C, H, W]")
    arguments.require_tensor("coeff", coeff, "[B, G, R, Ho, Wo]")
    shared = isinstance(basis, Tensor) and basis.dim() == 4
    layout = "[G, R, kh, kw]" if shared else "[B, G, R, kh, kw]"
    arguments.require_tensor("basis", basis, layout)
    x, coeff, basis = autocast.to_low_precision(x, coeff, basis)
    arguments.require_alike(("x", x), ("coeff", coeff), ("basis", basis))
    batch, channels, height, width = x.shape
    groups, rank = coeff.shape[1:3]
    kh, kw = basis.shape[-2:]
    arguments.require_groups("coeff", channels, groups)
    expected = (groups, rank, kh, kw) if shared else (batch, groups, rank, kh, kw)
    arguments.require_shape("basis", basis, layout, expected)
    window, size = arguments.resolve_window((height, width), (kh, kw), stride, padding, dilation)
    arguments.require_shape("coeff", coeff, "[B, G, R, Ho, Wo]", (batch, groups, rank, *size))

    def run(operator: Callable[..., Tensor], x: Tensor, coeff: Tensor, basis: Tensor) -> Tensor:
        own = basis.expand(batch, -1, -1, -1, -1) if shared else basis
        return operator(x, coeff, own, *window)

    operator = backends.operator("lowrank_dynamic_conv", x.device.type, backend)
    return (x, coeff, basis), operator, run


_call = calls.operator(
    lambda: lowrank_dynamic_conv, _prepare, ("stride", "padding", "dilation", "backend")
)

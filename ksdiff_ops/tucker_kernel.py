"""Convolution kernels rebuilt from a small core tensor and one factor per mode."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from ksdiff_ops import arguments, autocast, backends, calls

_FACTOR_NAMES = ("factors[0]", "factors[1]", "factors[2]", "factors[3]")
_FACTOR_LAYOUTS = ("[B, Cout, r1]", "[B, Cin, r2]", "[B, kh, r3]", "[B, kw, r4]")


def tucker_kernel(
    core: Tensor,
    factors: Sequence[Tensor],
    base: Tensor | None = None,
    *,
    backend: str | None = None,
) -> Tensor:
    """Kernels core x1 U1 x2 U2 x3 U3 x4 U4, times a base kernel, one per sample.

    Args:
        core: core tensors [B, r1, r2, r3, r4]; float32, float64, float16 or bfloat16.
        factors: U1 [B, Cout, r1], U2 [B, Cin, r2], U3 [B, kh, r3], U4 [B, kw, r4].
        base: kernel [Cout, Cin, kh, kw] that every sample's result is multiplied by.
        backend: "reference", "cpu", "cuda" or "triton"; None lets the device decide.

    Returns:
        [B, Cout, Cin, kh, kw], contiguous, in core's dtype; sums are in float32 or better.
        Inside `torch.autocast` everything is computed and returned in float32: the product of
        five factors needs the range, and the convolution that uses it casts it itself.
        Differentiable to any order; the same input gives the same bits, forward and backward.

    Raises:
        TypeError, ValueError: naming the argument, what was expected and what came.
        RuntimeError: the backend asked for is not there; the message says how to get it.

    Source: KSDiff (arXiv 2505.18991), the kernel generator's Tucker product and W1 = W0 * W.
    """
    given = core, factors, base
    four = factors if isinstance(factors, (tuple, list)) and len(factors) == 4 else (factors,)
    return _call((core, base, *four), backend, given=given)


def _prepare(core: Tensor, base: Tensor | None, *rest: Any) -> calls.Prepared:
    *factors, backend = rest
    arguments.require_tensor("core", core, "[B, r1, r2, r3, r4]")
    if len(factors) != 4:
        if not isinstance(factors[0], (tuple, list)):
            raise TypeError(f"factors: expected four tensors, got {type(factors[0]).__name__}")
        raise ValueError(f"factors: expected four tensors, got {len(factors[0])}")
    batch, *ranks = core.shape
    sizes = []
    for name, factor, layout, rank in zip(
        _FACTOR_NAMES, factors, _FACTOR_LAYOUTS, ranks, strict=True
    ):
        arguments.require_tensor(name, factor, layout)
        size = factor.shape[1]
        arguments.require_shape(name, factor, layout, (batch, size, rank))
        sizes.append(size)
    if base is None:
        core, *factors = autocast.to_float32(core, *factors)
        arguments.require_alike(("core", core), *zip(_FACTOR_NAMES, factors, strict=True))
    else:
        layout = "[Cout, Cin, kh, kw]"
        arguments.require_tensor("base", base, layout)
        arguments.require_shape("base", base, layout, tuple(sizes))
        core, base, *factors = autocast.to_float32(core, base, *factors)
        named = zip(_FACTOR_NAMES, factors, strict=True)
        arguments.require_alike(("core", core), *named, ("base", base))
    operator = backends.operator("tucker_kernel", core.device.type, backend)
    return (core, base, *factors), operator, _run


def _run(
    operator: Callable[..., Tensor], core: Tensor, base: Tensor | None, *factors: Tensor
) -> Tensor:
    return operator(core, *factors, base)


_call = calls.operator(lambda: tucker_kernel, _prepare, ("backend",))

"""Per-pixel dynamic convolution whose kernels are mixtures of a few basis kernels."""

from typing import Literal

import torch
from torch import Tensor

from ksdiff_ops import arguments, autocast, backends, gradients
from ksdiff_ops.arguments import Pair


def lowrank_dynamic_conv(
    x: Tensor,
    coeff: Tensor,
    basis: Tensor,
    *,
    stride: int | Pair = 1,
    padding: Literal["same"] | int | Pair = "same",
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
        padding: "same" (Ho = ceil(H / stride)), or the zeros added on both sides as
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
    if shared:
        basis = basis.expand(batch, -1, -1, -1, -1)
    operator = backends.operator("lowrank_dynamic_conv", x.device.type, backend)
    return operator(x, coeff, basis, window.stride, window.padding, window.dilation)


def register(namespace: str, library: torch.library.Library) -> None:
    """Adds shapes and gradients to `lowrank_dynamic_conv` and its siblings in one library.

    The four primitives are the four slots of one quadrilinear form in image, coefficients, basis
    and output, so the gradient of each is made of the other three, to any order.
    """
    ops = getattr(torch.ops, namespace)

    def forward(x, coeff, basis, window):
        return ops.lowrank_dynamic_conv(x, coeff, basis, *window)

    def grad_input(grad, coeff, basis, size, window):
        return ops.lowrank_dynamic_conv_grad_input(grad, coeff, basis, size, *window)

    def grad_coeff(grad, x, basis, window):
        return ops.lowrank_dynamic_conv_grad_coeff(grad, x, basis, *window)

    def grad_basis(grad, x, coeff, kernel, window):
        return ops.lowrank_dynamic_conv_grad_basis(grad, x, coeff, kernel, *window)

    def fake_forward(x, coeff, basis, stride, padding, dilation):
        return x.new_empty((*x.shape[:2], *coeff.shape[3:]))

    def fake_grad_input(grad, coeff, basis, size, stride, padding, dilation):
        return grad.new_empty((*grad.shape[:2], *size))

    def fake_grad_coeff(grad, x, basis, stride, padding, dilation):
        return grad.new_empty((*basis.shape[:3], *grad.shape[2:]))

    def fake_grad_basis(grad, x, coeff, kernel, stride, padding, dilation):
        return grad.new_empty((*coeff.shape[:3], *kernel))

    def save_three(ctx, inputs, output):
        ctx.save_for_backward(*inputs[:3])
        ctx.window = inputs[-3:]

    def backward_of_forward(ctx, grad):
        x, coeff, basis = ctx.saved_tensors
        window, needs = ctx.window, ctx.needs_input_grad
        return (
            grad_input(grad, coeff, basis, x.shape[2:], window) if needs[0] else None,
            grad_coeff(grad, x, basis, window) if needs[1] else None,
            grad_basis(grad, x, coeff, basis.shape[3:], window) if needs[2] else None,
            *(None,) * 3,
        )

    def backward_of_grad_input(ctx, grad_x):
        grad, coeff, basis = ctx.saved_tensors
        window, needs = ctx.window, ctx.needs_input_grad
        return (
            forward(grad_x, coeff, basis, window) if needs[0] else None,
            grad_coeff(grad, grad_x, basis, window) if needs[1] else None,
            grad_basis(grad, grad_x, coeff, basis.shape[3:], window) if needs[2] else None,
            *(None,) * 4,
        )

    def backward_of_grad_coeff(ctx, grad_coeff):
        grad, x, basis = ctx.saved_tensors
        window, needs = ctx.window, ctx.needs_input_grad
        return (
            forward(x, grad_coeff, basis, window) if needs[0] else None,
            grad_input(grad, grad_coeff, basis, x.shape[2:], window) if needs[1] else None,
            grad_basis(grad, x, grad_coeff, basis.shape[3:], window) if needs[2] else None,
            *(None,) * 3,
        )

    def backward_of_grad_basis(ctx, grad_basis):
        grad, x, coeff = ctx.saved_tensors
        window, needs = ctx.window, ctx.needs_input_grad
        return (
            forward(x, coeff, grad_basis, window) if needs[0] else None,
            grad_input(grad, coeff, grad_basis, x.shape[2:], window) if needs[1] else None,
            grad_coeff(grad, x, grad_basis, window) if needs[2] else None,
            *(None,) * 4,
        )

    for suffix, fake, backward in (
        ("", fake_forward, backward_of_forward),
        ("_grad_input", fake_grad_input, backward_of_grad_input),
        ("_grad_coeff", fake_grad_coeff, backward_of_grad_coeff),
        ("_grad_basis", fake_grad_basis, backward_of_grad_basis),
    ):
        qualified = f"{namespace}::lowrank_dynamic_conv{suffix}"
        torch.library.register_fake(qualified, fake, lib=library)
        operator = getattr(ops, f"lowrank_dynamic_conv{suffix}").default
        gradients.register(library, operator, backward, save_three)

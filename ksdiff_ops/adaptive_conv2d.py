"""Dense convolution over patches that are scaled pixel by pixel and tap by tap."""

import torch
from torch import Tensor

from ksdiff_ops import arguments, autocast, backends, gradients
from ksdiff_ops.batched_conv2d import add_bias


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


def register(namespace: str, library: torch.library.Library) -> None:
    """Adds shapes and gradients to `adaptive_conv2d` and its siblings in one library.

    The four primitives are the four slots of one quadrilinear form in image, attention, kernel
    and output, so the gradient of each is made of the others, and gradients of every order exist.
    """
    ops = getattr(torch.ops, namespace)

    def forward(x, attention, weight):
        return ops.adaptive_conv2d(x, attention, weight)

    def grad_input(grad, attention, weight):
        return ops.adaptive_conv2d_grad_input(grad, attention, weight)

    def grad_attention(grad, x, weight):
        return ops.adaptive_conv2d_grad_attention(grad, x, weight)

    def grad_weight(grad, x, attention):
        return ops.adaptive_conv2d_grad_weight(grad, x, attention)

    def fake_forward(x, attention, weight):
        return x.new_empty((x.shape[0], weight.shape[0], *x.shape[2:]))

    def fake_grad_input(grad, attention, weight):
        return grad.new_empty((grad.shape[0], weight.shape[1], *grad.shape[2:]))

    def fake_grad_attention(grad, x, weight):
        return grad.new_empty((grad.shape[0], *weight.shape[2:], *grad.shape[2:]))

    def fake_grad_weight(grad, x, attention):
        return grad.new_empty((grad.shape[1], x.shape[1], *attention.shape[1:3]))

    def save(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    def backward_of_forward(ctx, grad):
        x, attention, weight = ctx.saved_tensors
        needs = ctx.needs_input_grad
        return (
            grad_input(grad, attention, weight) if needs[0] else None,
            grad_attention(grad, x, weight) if needs[1] else None,
            grad_weight(grad, x, attention) if needs[2] else None,
        )

    def backward_of_grad_input(ctx, grad_x):
        grad, attention, weight = ctx.saved_tensors
        needs = ctx.needs_input_grad
        return (
            forward(grad_x, attention, weight) if needs[0] else None,
            grad_attention(grad, grad_x, weight) if needs[1] else None,
            grad_weight(grad, grad_x, attention) if needs[2] else None,
        )

    def backward_of_grad_attention(ctx, grad_attention):
        grad, x, weight = ctx.saved_tensors
        needs = ctx.needs_input_grad
        return (
            forward(x, grad_attention, weight) if needs[0] else None,
            grad_input(grad, grad_attention, weight) if needs[1] else None,
            grad_weight(grad, x, grad_attention) if needs[2] else None,
        )

    def backward_of_grad_weight(ctx, grad_weight):
        grad, x, attention = ctx.saved_tensors
        needs = ctx.needs_input_grad
        return (
            forward(x, attention, grad_weight) if needs[0] else None,
            grad_input(grad, attention, grad_weight) if needs[1] else None,
            grad_attention(grad, x, grad_weight) if needs[2] else None,
        )

    for suffix, fake, backward in (
        ("", fake_forward, backward_of_forward),
        ("_grad_input", fake_grad_input, backward_of_grad_input),
        ("_grad_attention", fake_grad_attention, backward_of_grad_attention),
        ("_grad_weight", fake_grad_weight, backward_of_grad_weight),
    ):
        qualified = f"{namespace}::adaptive_conv2d{suffix}"
        torch.library.register_fake(qualified, fake, lib=library)
        operator = getattr(ops, f"adaptive_conv2d{suffix}").default
        gradients.register(library, operator, backward, save)

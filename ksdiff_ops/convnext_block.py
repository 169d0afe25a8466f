"""A ConvNeXt block, for inference on the CPU in one pass over the image."""

import torch
from torch import Tensor
from torch.nn import functional as F

from ksdiff_ops import arguments, autocast, calls, native

_SIDE = 7  # of the depthwise kernel that is compiled, as of ConvNeXt's
_CHANNELS = 16  # a multiple of so many


@arguments.overridable
def convnext_block(
    x: Tensor,
    depthwise: Tensor,
    depthwise_bias: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    expand: Tensor,
    expand_bias: Tensor,
    project: Tensor,
    project_bias: Tensor,
    scale: Tensor,
    *,
    eps: float = 1e-6,
    out: Tensor | None = None,
) -> Tensor:
    """x + scale * project(GELU(expand(norm(depthwise(x))))), whose layers are given by weights.

    PyTorch writes five images of intermediate values to memory. On the CPU a compiled kernel takes
    strips of pixels through all layers while they are in the cache, where x is float32 in
    channels_last, its channels and the hidden ones are multiples of 16, the depthwise kernel is
    7 x 7 and no gradients are recorded. All else is composed of PyTorch's operators and
    differentiable; the two differ by rounding.

    Args:
        x: images [B, C, H, W]; float32, float64, float16 or bfloat16, any strides.
        depthwise: a kernel for every channel [C, 1, kh, kw], of odd size; zeros are outside the
            image. All weights have x's dtype and device.
        depthwise_bias: [C].
        norm_weight, norm_bias: of the layer normalisation over the channels, [C].
        expand: [E, C].
        expand_bias: [E].
        project: [C, E].
        project_bias: [C].
        scale: of what is added to x, [C].
        eps: added to the variance by the layer normalisation.
        out: memory for the result, as PyTorch's functions take it: of x's shape, dtype and device,
            not x's own, without gradients. A network that gives a block's input as memory to the
            next block has two images in memory.

    Returns:
        [B, C, H, W] in x's dtype; inside `torch.autocast` each of PyTorch's operators casts as it
        does alone. The compiled kernel gives a pixel the same bits whatever the
        image's size, the pixel's place and the number of threads.

    Raises:
        TypeError, ValueError: naming the argument, what was expected and what came.

    Source: Liu et al., A ConvNet for the 2020s (2022), figure 4.
    """
    arguments.require_tensor("x", x, "[B, C, H, W]")
    arguments.require_tensor("depthwise", depthwise, "[C, 1, kh, kw]")
    arguments.require_tensor("expand", expand, "[E, C]")
    channels, hidden, (kh, kw) = x.shape[1], expand.shape[0], depthwise.shape[2:]
    arguments.require_shape("depthwise", depthwise, "[C, 1, kh, kw]", (channels, 1, kh, kw))
    if kh % 2 == 0 or kw % 2 == 0:
        raise ValueError(f"depthwise: expected a kernel of odd size, got {kh} x {kw}")
    weights = {"depthwise": depthwise}
    for name, value, layout, shape in (
        ("depthwise_bias", depthwise_bias, "[C]", (channels,)),
        ("norm_weight", norm_weight, "[C]", (channels,)),
        ("norm_bias", norm_bias, "[C]", (channels,)),
        ("expand", expand, "[E, C]", (hidden, channels)),
        ("expand_bias", expand_bias, "[E]", (hidden,)),
        ("project", project, "[C, E]", (channels, hidden)),
        ("project_bias", project_bias, "[C]", (channels,)),
        ("scale", scale, "[C]", (channels,)),
    ):
        arguments.require_tensor(name, value, layout)
        arguments.require_shape(name, value, layout, shape)
        weights[name] = value
    if out is not None:
        arguments.require_tensor("out", out, "[B, C, H, W]")
        arguments.require_shape("out", out, "[B, C, H, W]", tuple(x.shape))
        arguments.require_alike(("x", x), ("out", out))
        memory = x.untyped_storage().data_ptr()  # 0 where there is none to share
        if memory and memory == out.untyped_storage().data_ptr():
            raise ValueError("out: expected memory of its own, got that of x, which is read")
    if not autocast.enabled(x.device.type):
        arguments.require_alike(("x", x), *weights.items())
    compiled = (kh, kw) == (_SIDE, _SIDE) and hidden % _CHANNELS == 0
    images = [x] if out is None else [x, out]
    if compiled and all(_is_plain(image, *weights.values()) for image in images):
        y = torch.empty_like(x) if out is None else out
        contiguous = (weight.contiguous() for weight in weights.values())
        pixels, result = (image.permute(0, 2, 3, 1) for image in (x, y))
        torch.ops.ksdiff_ops.convnext_block(pixels, *contiguous, eps, result)
        return y
    y = F.conv2d(x, depthwise, depthwise_bias, padding=(kh // 2, kw // 2), groups=channels)
    y = F.layer_norm(y.permute(0, 2, 3, 1), (channels,), norm_weight, norm_bias, eps)
    y = F.linear(F.gelu(F.linear(y, expand, expand_bias)), project, project_bias)
    return torch.addcmul(x, scale[:, None, None], y.permute(0, 3, 1, 2), out=out)


def _is_plain(x: Tensor, *weights: Tensor) -> bool:
    """Whether the compiled kernel takes such images, and nothing but this call is to be done."""
    return (
        not calls.is_observed()
        and native.module is not None
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and x.is_contiguous(memory_format=torch.channels_last)
        and x.shape[1] % _CHANNELS == 0
        and not (torch.is_grad_enabled() and any(v.requires_grad for v in (x, *weights)))
    )

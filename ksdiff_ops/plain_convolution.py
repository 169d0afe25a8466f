"""Where one of PyTorch's own forms of batched_conv2d is the fastest: called without an operator of
our own around it, it also shares between gradients what each of ours would prepare for itself.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from ksdiff_ops import native
from ksdiff_ops.arguments import Pair, Window, as_pair

Form = Callable[[Tensor, Tensor], Tensor]
Size = tuple[int, ...]
_IN_PLACE = Window((1, 1), (0, 0), (1, 1))
_FEW = 4 << 20  # numbers of images that a convolution takes at once without page faults


def forms(
    x: Tensor,  # [B, Cin, H, W]
    weight: Tensor,  # [B, Cout, Cin / groups, kh, kw]
    window: Window,
    size: Pair,
    groups: int,
) -> tuple[Form | None, Form | None]:
    """What to call on a CPU without gradients, and where these are going to be computed, too.

    By measurement; None where the operator is not slower.
    """
    neither = None, None
    batch, channels = x.shape[:2]
    out_channels, kernel, image = weight.shape[1], as_pair(weight.shape[3:]), as_pair(x.shape[2:])
    if not x.numel() or not weight.numel() or not window.pads_alike(image, kernel, size):
        return neither
    # Sizes are made once: taking shapes apart would cost a small call some percent.
    result = (batch, out_channels, *size)
    grouped = partial(
        _grouped,
        (1, batch * channels, *image),
        (batch * out_channels, *weight.shape[2:]),
        result,
        (None, *window, batch * groups),
    )
    precise = x.dtype in (torch.float32, torch.float64)
    is_depthwise = groups == channels == out_channels
    if batch == 1 and precise and not is_depthwise:
        return grouped, grouped
    # With a stride or dilation, PyTorch's convolutions of bfloat16 read and write out of bounds.
    narrow = x.dtype == torch.bfloat16 and native.multiplies_bfloat16()
    if not (precise or narrow) or window.stride != (1, 1) or window.dilation != (1, 1):
        return neither
    if torch.compiler.is_compiling():  # the number of samples may be unknown
        return neither
    if kernel == (1, 1) and window == _IN_PLACE and not is_depthwise:
        matrices = (batch, groups, out_channels // groups, channels // groups)
        pixels = (batch, groups, channels // groups, size[0] * size[1])
        product = partial(_product, pixels, matrices, result)
        return product, product
    plane = size[0] * size[1]
    if is_depthwise:
        small = plane <= (32 * 32 if narrow else 8 * 8) and batch * channels >= 128
        if not small or x.dtype == torch.float64:
            return neither
        return grouped, grouped if narrow and kernel[0] * kernel[1] <= 9 else None
    in_group = min(channels, out_channels) // groups
    if narrow and in_group >= 32 and plane <= 14 * 14:
        one_by_one = partial(_one_by_one, window, groups)
        return one_by_one, one_by_one if plane > 8 * 8 else None
    if narrow and in_group >= 8 and x.numel() <= _FEW:
        return grouped, grouped if in_group >= 16 else None
    return neither


def _grouped(
    image: Size, kernels: Size, result: Size, rest: tuple, x: Tensor, weight: Tensor
) -> Tensor:
    return torch.conv2d(x.reshape(image), weight.reshape(kernels), *rest).reshape(result)


def _one_by_one(window: Window, groups: int, x: Tensor, weight: Tensor) -> Tensor:
    pairs = zip(x.split(1), weight.unbind(), strict=True)
    return torch.cat([torch.conv2d(one, own, None, *window, groups) for one, own in pairs])


def _product(pixels: Size, matrices: Size, result: Size, x: Tensor, weight: Tensor) -> Tensor:
    return (weight.reshape(matrices) @ x.reshape(pixels)).reshape(result)

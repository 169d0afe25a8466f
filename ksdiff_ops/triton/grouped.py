"""batched_conv2d by PyTorch's own convolutions on a GPU, where those do no needless work.

Three cases, told by shapes alone: one sample or one kernel for all samples, which is an ordinary
convolution, and a channel a group, of which a product for tensor cores, at least 16 x 16, would
use one row. All samples' channels side by side are then the groups of one image. cuDNN is told to
choose among algorithms that give the same bits every time.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from ksdiff_ops.arguments import Pair, Window, as_pair

_convolution = torch.ops.aten.convolution.default
_backward = torch.ops.aten.convolution_backward.default


def serves(
    x_size: torch.Size,
    weight_size: torch.Size,
    out_size: torch.Size,
    window: Window,
    groups: int,
    shared: bool = False,
) -> bool:
    """Whether these convolutions are the better way.

    Args:
        x_size: [B, Cin, H, W]
        weight_size: [B, Cout, Cin / groups, kh, kw]
        out_size: [B, Cout, Ho, Wo]
        shared: whether all samples have one kernel.
    """
    if 0 in (*x_size, *weight_size, *out_size):
        return False
    depthwise = groups == x_size[1] == weight_size[1]
    if not (depthwise or shared or x_size[0] == 1):
        return False
    image, kernel, out = as_pair(x_size[2:]), as_pair(weight_size[3:]), as_pair(out_size[2:])
    return min(window.padding) >= 0 and window.pads_alike(image, kernel, out)


def forward(x: Tensor, weight: Tensor, window: Window, groups: int, shared: bool) -> Tensor:
    """[B, Cout, Ho, Wo]"""
    if shared:
        with _same_bits():
            y = _convolution(x, weight[0], None, *window, False, (0, 0), groups)
        return y.contiguous()
    kernels = weight.flatten(0, 1)
    with _same_bits():
        y = _convolution(_beside(x), kernels, None, *window, False, (0, 0), groups * x.shape[0])
    return y.view(x.shape[0], -1, *y.shape[2:])


def grad_input(
    grad: Tensor, weight: Tensor, size: Pair, window: Window, groups: int, shared: bool
) -> Tensor:
    """[B, Cin, H, W]"""
    batch, channels = grad.shape[0], weight.shape[2] * groups
    if shared:
        like = grad.new_empty(batch, channels, *size)
        return _gradients(grad, like, weight[0], window, groups, 0)
    like = grad.new_empty(1, batch * channels, *size)
    x = _gradients(_beside(grad), like, weight.flatten(0, 1), window, groups * batch, 0)
    return x.view(batch, channels, *size)


def grad_weight(grad: Tensor, x: Tensor, kernel: Pair, window: Window, groups: int) -> Tensor:
    """[B, Cout, Cin / groups, kh, kw]"""
    batch, outputs, inputs = grad.shape[0], grad.shape[1], x.shape[1] // groups
    like = grad.new_empty(batch * outputs, inputs, *kernel)
    weight = _gradients(_beside(grad), _beside(x), like, window, groups * batch, 1)
    return weight.view(batch, outputs, inputs, *kernel)


def _gradients(
    grad: Tensor, x: Tensor, weight: Tensor, window: Window, groups: int, which: int
) -> Tensor:
    wanted = [which == 0, which == 1, False]
    with _same_bits():
        made = _backward(grad, x, weight, None, *window, False, (0, 0), groups, wanted)
    return made[which].contiguous()


def _beside(image: Tensor) -> Tensor:
    """[B, C, H, W] -> [1, B * C, H, W]"""
    return image.reshape(1, -1, *image.shape[2:])


@contextmanager
def _same_bits() -> Iterator[None]:
    cudnn = torch.backends.cudnn
    before, cudnn.deterministic = cudnn.deterministic, True
    try:
        yield
    finally:
        cudnn.deterministic = before

"""A batch of one sample: PyTorch's own convolution, called without an operator of our own around
it, which costs more than a small convolution.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from ksdiff_ops.arguments import Pair, Window, as_pair


def serves(x: Tensor, weight: Tensor, window: Window, size: Pair, groups: int) -> bool:
    """Whether one convolution, with the same padding on both sides, is all there is to compute."""
    if x.shape[0] != 1 or groups == x.shape[1] or x.numel() == 0 or weight.numel() == 0:
        return False
    # Half precision may be widened first; other layouts decide the result's.
    if x.dtype not in (torch.float32, torch.float64) or not x.is_contiguous():
        return False
    return window.pads_alike(as_pair(x.shape[2:]), as_pair(weight.shape[3:]), size)


def convolve(
    x: Tensor,  # [1, Cin, H, W]
    weight: Tensor,  # [1, Cout, Cin / groups, kh, kw]
    bias: Tensor | None,  # [Cout]
    window: Window,
    groups: int,
) -> Tensor:  # [1, Cout, Ho, Wo]
    kernels = weight.flatten(0, 1).contiguous()
    return F.conv2d(x, kernels, bias, window.stride, window.padding, window.dilation, groups)

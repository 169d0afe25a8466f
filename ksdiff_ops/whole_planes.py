"""adaptive_conv2d on a CPU where planes are small and the kernel is large, so that products of
matrices take nearly all of the time.

The gradients of image and attention share one product, which the operator's own, one for each
gradient, cannot: with PyTorch's products, two make what takes three.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

"""Per-pixel and low-rank kernel operators for PyTorch, on CPU and GPU.

`dynamic_conv`, `lowrank_dynamic_conv`, `tucker_kernel`, `batched_conv2d` and `adaptive_conv2d` are
functions of tensors; `dynamic_conv_transpose` is the adjoint of the first, `carafe` and
`separable_dynamic_conv` are composed of it. `convnext_block` is a whole block of a network, for
inference.
`AdaptiveConv2d` and `LowRankDynamicConv` are layers with the parameters that go with two of them,
`nn` has layers of published networks. `backends` tells and chooses what runs the operators;
`build_info` tells what was compiled.
"""

from ksdiff_ops import backends, implementations, native, nn, registration
from ksdiff_ops.adaptive_conv2d import adaptive_conv2d
from ksdiff_ops.batched_conv2d import batched_conv2d
from ksdiff_ops.composed import carafe, separable_dynamic_conv
from ksdiff_ops.convnext_block import convnext_block
from ksdiff_ops.dynamic_conv import dynamic_conv
from ksdiff_ops.dynamic_conv_transpose import dynamic_conv_transpose
from ksdiff_ops.lowrank_dynamic_conv import lowrank_dynamic_conv
from ksdiff_ops.modules import AdaptiveConv2d, LowRankDynamicConv
from ksdiff_ops.native import build_info
from ksdiff_ops.tucker_kernel import tucker_kernel

__all__ = [
    "AdaptiveConv2d",
    "LowRankDynamicConv",
    "adaptive_conv2d",
    "backends",
    "batched_conv2d",
    "build_info",
    "carafe",
    "convnext_block",
    "dynamic_conv",
    "dynamic_conv_transpose",
    "lowrank_dynamic_conv",
    "nn",
    "separable_dynamic_conv",
    "tucker_kernel",
]

implementations.register()
if native.module is not None:
    registration.register("ksdiff_ops")

"""The operators as Triton kernels: defines the library `ksdiff_ops_triton` when imported.

Its operators have the names and schemas of the compiled library, and its fakes and gradients.
They run on CUDA tensors, and on CPU tensors in Triton's interpreter (TRITON_INTERPRET=1, set
before Triton is first imported).
"""

import torch

from ksdiff_ops import native, registration
from ksdiff_ops.triton import (
    adaptive_conv2d,
    batched_conv2d,
    dynamic_conv,
    launch,
    lowrank_dynamic_conv,
    tucker_kernel,
)

NAMESPACE = "ksdiff_ops_triton"

_IMPLEMENTATIONS = (
    dynamic_conv.dynamic_conv,
    dynamic_conv.dynamic_conv_grad_input,
    dynamic_conv.dynamic_conv_grad_weight,
    lowrank_dynamic_conv.lowrank_dynamic_conv,
    lowrank_dynamic_conv.lowrank_dynamic_conv_grad_input,
    lowrank_dynamic_conv.lowrank_dynamic_conv_grad_coeff,
    lowrank_dynamic_conv.lowrank_dynamic_conv_grad_basis,
    tucker_kernel.tucker_kernel,
    tucker_kernel.tucker_kernel_backward,
    batched_conv2d.batched_conv2d,
    batched_conv2d.batched_conv2d_grad_input,
    batched_conv2d.batched_conv2d_grad_weight,
    adaptive_conv2d.adaptive_conv2d,
    adaptive_conv2d.adaptive_conv2d_grad_input,
    adaptive_conv2d.adaptive_conv2d_grad_attention,
    adaptive_conv2d.adaptive_conv2d_grad_weight,
)


def _define() -> torch.library.Library:
    if native.module is None:
        raise RuntimeError(
            "the Triton operators take their schemas from the compiled library, which is missing: "
            f"{native.problem}"
        )
    library = torch.library.Library(NAMESPACE, "DEF")
    registration.define_like_native(library)
    keys = ("CUDA", "CPU") if launch.interprets() else ("CUDA",)
    for implementation in _IMPLEMENTATIONS:
        for key in keys:
            library.impl(implementation.__name__, implementation, key)
    registration.register(NAMESPACE)
    return library


_library = _define()

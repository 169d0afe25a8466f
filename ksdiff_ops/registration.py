"""Shapes and gradients of all low-level operators, for any library that defines them.

The compiled library `ksdiff_ops` and the Triton library `ksdiff_ops_triton` have the same
operators; each calls `register` once after defining them.
"""

import torch

from ksdiff_ops.adaptive_conv2d import register as _register_adaptive_conv2d
from ksdiff_ops.batched_conv2d import register as _register_batched_conv2d
from ksdiff_ops.dynamic_conv import register as _register_dynamic_conv
from ksdiff_ops.lowrank_dynamic_conv import register as _register_lowrank_dynamic_conv
from ksdiff_ops.tucker_kernel import register as _register_tucker_kernel

OPERATORS = (
    "dynamic_conv",
    "dynamic_conv_grad_input",
    "dynamic_conv_grad_weight",
    "lowrank_dynamic_conv",
    "lowrank_dynamic_conv_grad_input",
    "lowrank_dynamic_conv_grad_coeff",
    "lowrank_dynamic_conv_grad_basis",
    "tucker_kernel",
    "tucker_kernel_backward",
    "batched_conv2d",
    "batched_conv2d_grad_input",
    "batched_conv2d_grad_weight",
    "adaptive_conv2d",
    "adaptive_conv2d_grad_input",
    "adaptive_conv2d_grad_attention",
    "adaptive_conv2d_grad_weight",
)

_kept: list[torch.library.Library] = []


def define_like_native(library: torch.library.Library) -> None:
    """Defines every operator in `library` with the compiled library's schemas."""
    for name in OPERATORS:
        schema = str(getattr(torch.ops.ksdiff_ops, name).default._schema)
        library.define(schema.removeprefix("ksdiff_ops::"))


def register(namespace: str) -> None:
    """Gives the operators of `namespace`, which must be defined, their fakes and gradients."""
    library = torch.library.Library(namespace, "FRAGMENT")
    # A library takes its registrations with it when it is collected.
    _kept.append(library)
    _register_dynamic_conv(namespace, library)
    _register_lowrank_dynamic_conv(namespace, library)
    _register_tucker_kernel(namespace, library)
    _register_batched_conv2d(namespace, library)
    _register_adaptive_conv2d(namespace, library)

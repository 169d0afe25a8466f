"""The five families of operators, and their registration in any library that defines them.

The compiled library `ksdiff_ops` and the Triton library `ksdiff_ops_triton` have the same
operators; each calls `register` once after defining them.
"""

import math
from collections.abc import Sequence

import torch

from ksdiff_ops import decoupled, multilinear
from ksdiff_ops.multilinear import Axes, Family, Primitive

_IMAGE, _OUTPUT = ("H", "W"), ("Ho", "Wo")
_TAPS = ("kh", "kw")


def _complete_channels(axes: Axes, settings: Sequence) -> None:
    """Channels of the image and of one group of it, each from the other."""
    groups = settings[-1]
    if "Cin" in axes:
        axes["Cg"] = axes["Cin"] // groups
    else:
        axes["Cin"] = axes["Cg"] * groups


def _product(axes: Axes, names: str) -> int:
    return math.prod(axes[name] for name in names.split())


_DYNAMIC_CONV = Family(
    {"x": "B C H W", "weight": "B G kh kw Ho Wo", "y": "B C Ho Wo"},
    (
        Primitive("dynamic_conv", ("x", "weight"), ("y",)),
        Primitive("dynamic_conv_grad_input", ("y", "weight"), ("x",), (_IMAGE,)),
        Primitive("dynamic_conv_grad_weight", ("y", "x"), ("weight",), ("G", _TAPS)),
    ),
    flops=lambda axes: 2 * _product(axes, "B C kh kw Ho Wo"),
)

_LOWRANK_DYNAMIC_CONV = Family(
    {
        "x": "B C H W",
        "coeff": "B G R Ho Wo",
        "basis": "B G R kh kw",
        "y": "B C Ho Wo",
    },
    (
        Primitive("lowrank_dynamic_conv", ("x", "coeff", "basis"), ("y",)),
        Primitive("lowrank_dynamic_conv_grad_input", ("y", "coeff", "basis"), ("x",), (_IMAGE,)),
        Primitive("lowrank_dynamic_conv_grad_coeff", ("y", "x", "basis"), ("coeff",)),
        Primitive("lowrank_dynamic_conv_grad_basis", ("y", "x", "coeff"), ("basis",), (_TAPS,)),
    ),
    flops=lambda axes: (
        2 * _product(axes, "B C kh kw Ho Wo") + 2 * _product(axes, "B G R kh kw Ho Wo")
    ),
)

_TUCKER_SLOTS = ("core", "u1", "u2", "u3", "u4", "base")
_TUCKER_KERNEL = Family(
    {
        "core": "B r1 r2 r3 r4",
        "u1": "B Cout r1",
        "u2": "B Cin r2",
        "u3": "B kh r3",
        "u4": "B kw r4",
        "base": "Cout Cin kh kw",
        "y": "B Cout Cin kh kw",
    },
    (
        Primitive("tucker_kernel", _TUCKER_SLOTS, ("y",)),
        Primitive("tucker_kernel_backward", ("y", *_TUCKER_SLOTS), _TUCKER_SLOTS, lists=True),
    ),
    # One mode after the other, the small ones first.
    flops=lambda axes: (
        2 * _product(axes, "B r1 r2 r3 r4 kw")
        + 2 * _product(axes, "B r1 r2 r3 kh kw")
        + 2 * _product(axes, "B r1 r2 Cin kh kw")
        + 2 * _product(axes, "B r1 Cout Cin kh kw")
    ),
)

_BATCHED_CONV2D = Family(
    {"x": "B Cin H W", "weight": "B Cout Cg kh kw", "y": "B Cout Ho Wo"},
    (
        Primitive("batched_conv2d", ("x", "weight"), ("y",), (_OUTPUT,)),
        Primitive("batched_conv2d_grad_input", ("y", "weight"), ("x",), (_IMAGE,)),
        Primitive("batched_conv2d_grad_weight", ("y", "x"), ("weight",), (_TAPS,)),
    ),
    flops=lambda axes: 2 * _product(axes, "B Cout Cg kh kw Ho Wo"),
    complete=_complete_channels,
    keeps_format=True,
)

_ADAPTIVE_CONV2D = Family(
    {
        "x": "B Cin H W",
        "attention": "B kh kw H W",
        "weight": "Cout Cin kh kw",
        "y": "B Cout H W",
    },
    (
        Primitive("adaptive_conv2d", ("x", "attention", "weight"), ("y",)),
        Primitive("adaptive_conv2d_grad_input", ("y", "attention", "weight"), ("x",)),
        Primitive("adaptive_conv2d_grad_attention", ("y", "x", "weight"), ("attention",)),
        Primitive("adaptive_conv2d_grad_weight", ("y", "x", "attention"), ("weight",)),
    ),
    flops=lambda axes: 2 * _product(axes, "B Cout Cin kh kw H W"),
)

# Composed of the operators of the first family.
_DECOUPLED_CONV2D = Family(
    {
        "x": "B C H W",
        "spatial": "B kh kw Ho Wo",
        "channel": "B C kh kw",
        "y": "B C Ho Wo",
    },
    (
        Primitive("decoupled_conv2d", ("x", "spatial", "channel"), ("y",)),
        Primitive(
            "decoupled_conv2d_backward",
            ("y", "x", "spatial", "channel"),
            ("x", "spatial", "channel"),
            lists=True,
        ),
    ),
    flops=lambda axes: 3 * _product(axes, "B C kh kw Ho Wo"),
)

FAMILIES = (
    _DYNAMIC_CONV,
    _LOWRANK_DYNAMIC_CONV,
    _TUCKER_KERNEL,
    _BATCHED_CONV2D,
    _ADAPTIVE_CONV2D,
)
OPERATORS = tuple(primitive.name for family in FAMILIES for primitive in family.primitives)

_kept: list[torch.library.Library] = []


def define_like_native(library: torch.library.Library) -> None:
    """Defines every operator in `library` with the compiled library's schemas."""
    for name in OPERATORS:
        schema = str(getattr(torch.ops.ksdiff_ops, name).default._schema)
        library.define(schema.removeprefix("ksdiff_ops::"))


def register(namespace: str) -> None:
    """Gives the operators of `namespace`, which must be defined, shapes, gradients and batching,
    and defines what is composed of them.
    """
    library = torch.library.Library(namespace, "FRAGMENT")
    # A library takes its registrations with it when it is collected.
    _kept.append(library)
    for schema in decoupled.SCHEMAS:
        library.define(schema)
    for name, implementation in decoupled.implementations(namespace).items():
        for key in ("CPU", "CUDA"):
            library.impl(name, implementation, key)
    for family in (*FAMILIES, _DECOUPLED_CONV2D):
        multilinear.register(namespace, library, family)

"""The lists of cases: sizes and dtypes that show how an operator behaves, and published networks.

A suite gives (case, direction, whether it is one of the most telling).
"""

import itertools
from collections.abc import Iterator
from dataclasses import replace

from benchmarks.ops.cases import (
    DIRECTIONS,
    Case,
    Shape,
    adaptive_conv2d,
    batched_conv2d,
    carafe,
    decoupled_filter,
    dynamic_conv,
    lowrank_dynamic_conv,
    separable_dynamic_conv,
    tucker_kernel,
)

# The largest are for GPUs. PAN-sized images, LAGNet's and KSDiff's layers.
_PER_PIXEL = {"cpu": (1, 32, 256, 256), "cuda": (8, 64, 256, 256)}
_SIDES = {"cpu": (32, 64, 128, 512), "cuda": (64, 128, 512, 1024)}  # _PER_PIXEL has 256
_ADAPTIVE = {
    "cpu": ((1, 32, 256, 256), (1, 9, 256, 256), (8, 32, 64, 64)),
    "cuda": ((8, 32, 256, 256), (1, 32, 256, 256), (32, 32, 64, 64)),
}
# (C_out, C_in / groups, k): pointwise and depthwise of PanNeXt-U, and a plain 3 x 3 layer.
_LAYERS = ((192, 96, 1), (96, 1, 7), (64, 64, 3))
# (C_in, C_out, k, groups, side of the image)
_CONVOLUTIONS = ((48, 48, 7, 48, 128), (48, 96, 1, 1, 128), (64, 64, 3, 1, 64))
_QUICK = {(5, 1, "float32"), (5, None, "float32"), (5, 1, "bfloat16")}


def sizes(device: str) -> Iterator[tuple[Case, str, bool]]:
    for case, quick in _sizes(device):
        for direction in DIRECTIONS:
            yield case, direction, quick
    for side in _SIDES[device]:
        shape = (1, 32, side, side)
        yield dynamic_conv(shape, 5, 1), "forward", False
        yield lowrank_dynamic_conv(shape, 5, 1), "forward", False
        yield adaptive_conv2d(shape, 32), "forward", False


def _sizes(device: str) -> Iterator[tuple[Case, bool]]:
    shape = _PER_PIXEL[device]
    axes = (dynamic_conv, lowrank_dynamic_conv), ("float32", "bfloat16"), (3, 5, 7), (1, 4, None)
    for op, dtype, kernel, groups in itertools.product(*axes):
        case = op(shape, kernel, groups or shape[1])
        yield replace(case, dtype=dtype), (kernel, groups, dtype) in _QUICK
    for (*layer, k), batch in itertools.product(_LAYERS, (1, 8, 32)):
        yield tucker_kernel((batch, *layer, k, k)), (*layer, k) == _LAYERS[0]
    batches = ((1, "float32"), (8, "float32"), (8, "bfloat16"))
    for (cin, *layer, side), (batch, dtype) in itertools.product(_CONVOLUTIONS, batches):
        case = batched_conv2d((batch, cin, side, side), *layer)
        yield replace(case, dtype=dtype), (batch, dtype) == batches[1]
    for number, dtype in ((0, "float32"), (0, "bfloat16"), (1, "float32"), (2, "float32")):
        case = adaptive_conv2d(_ADAPTIVE[device][number], 32)
        yield replace(case, dtype=dtype), (number, dtype) == (0, "float32")


def _stages(batch: int) -> Iterator[Shape]:
    """The four stages of a residual network at 224 × 224: channels and sides."""
    yield from ((batch, 64, 56, 56), (batch, 128, 28, 28), (batch, 256, 14, 14), (batch, 512, 7, 7))


# By network: the operators as it has them.
NETWORKS: dict[str, tuple[Case, ...]] = {
    "DDF": tuple(map(decoupled_filter, _stages(8))),
    "DDF, kernels whole": tuple(dynamic_conv(own, (3, 3), own[1]) for own in _stages(2)),
    "involution": tuple(
        dynamic_conv(own, (7, 7), own[1] // 16) for own in (*_stages(1), *_stages(8))
    ),
    "CARAFE": (carafe((1, 256, 25, 34)), carafe((1, 256, 50, 68))),
    "KPN": (dynamic_conv((4, 8, 128, 128), (5, 5), 8), dynamic_conv((1, 3, 256, 256), (5, 5), 1)),
    "KPCN": (dynamic_conv((1, 3, 128, 128), (21, 21), 1),),
    "LAGNet": tuple(adaptive_conv2d((b, 32, s, s), 32) for b, s in ((1, 256), (8, 64), (32, 16))),
    "PAC": (adaptive_conv2d((8, 64, 16, 16), 64), adaptive_conv2d((1, 256, 16, 16), 256)),
    "separable interpolation": tuple(
        separable_dynamic_conv((1, 3, 128, 128), kernel) for kernel in (25, 51)
    ),
    "CondConv": (
        *(batched_conv2d(own, own[1], 3) for own in _stages(8)),
        batched_conv2d((16, 256, 8, 8), 256, 3),
        batched_conv2d((8, 96, 14, 14), 576, 1),
        batched_conv2d((8, 320, 7, 7), 1280, 1),
        batched_conv2d((8, 144, 28, 28), 144, 3, 144),
        batched_conv2d((8, 576, 7, 7), 576, 5, 576),
        batched_conv2d((4, 64, 64, 64), 64, 3, 32),
    ),
    "StyleGAN2": (batched_conv2d((4, 512, 16, 16), 512, 3),),
    "LAPAR": (lowrank_dynamic_conv((1, 3, 128, 128), 5, 1, rank=72),),
    "low rank": (
        lowrank_dynamic_conv((2, 256, 16, 16), 3, 256),
        lowrank_dynamic_conv((2, 64, 56, 56), 3, 4, rank=8),
    ),
    "sequences": (
        dynamic_conv((4, 512, 1, 64), (1, 7), 16),
        dynamic_conv((4, 512, 1, 256), (1, 31), 16),
        dynamic_conv((1, 1, 1, 4096), (1, 9), 1),
    ),
    "gate": tuple(dynamic_conv((1, 64, 128, 128), (1, 1), groups) for groups in (1, 64)),
    "small": (dynamic_conv((1, 1, 16, 16), (3, 3), 1),),
}


def networks(device: str) -> Iterator[tuple[Case, str, bool]]:
    for dtype in ("float32", "bfloat16"):
        for network, cases in NETWORKS.items():
            for case, direction in itertools.product(cases, DIRECTIONS):
                yield replace(case, network=network, dtype=dtype), direction, dtype == "float32"


SUITES = {"sizes": sizes, "networks": networks}

"""What is measured: an operator at a size, its forms, bytes and operations; and the suite."""

import functools
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

import ksdiff_ops
from benchmarks.ops import forms

DTYPES = {
    **{"float32": torch.float32, "bfloat16": torch.bfloat16},
    **{"float16": torch.float16, "float64": torch.float64},
}
DIRECTIONS = ("forward", "forward+backward")
OURS = "ksdiff_ops"


@dataclass(frozen=True)
class Form:
    """A way to compute an operator.

    ``patch_copies``: how many times it writes the image once per tap, forward and with backward.
    """

    name: str
    function: Callable[..., Tensor]
    compiled: bool = False
    patch_copies: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Case:
    """An operator at a size. ``facts`` tell the case from others of the operator.

    ``flops`` counts a multiply-add as two operations, forward only; ``patch_elements`` is the image
    once per tap. The first of ``forms`` is ours.
    """

    op: str
    facts: dict[str, object]
    dtype: str
    shapes: tuple[tuple[int, ...], ...]
    output: tuple[int, ...]
    flops: int
    forms: tuple[Form, ...]
    patch_elements: int = 0

    def draw(self, device: str, seed: int = 0) -> list[Tensor]:
        """The inputs, standard normal; they require gradients."""
        generator = torch.Generator().manual_seed(seed)
        dtype = DTYPES[self.dtype]
        return [
            torch.randn(shape, generator=generator).to(device, dtype).requires_grad_()
            for shape in self.shapes
        ]

    def row(self, direction: str) -> dict[str, object]:
        """The facts that all rows of this case share."""
        return {"op": self.op, **self.facts, "dtype": self.dtype, "direction": direction}

    @property
    def element_size(self) -> int:
        return DTYPES[self.dtype].itemsize

    def least_bytes(self, direction: str) -> int:
        """What must move: inputs in, output out; backward the output's gradient and the inputs
        in, one gradient per input out.
        """
        inputs = self.element_size * sum(math.prod(shape) for shape in self.shapes)
        output = self.element_size * math.prod(self.output)
        forward = inputs + output
        return forward if direction == "forward" else forward + output + 2 * inputs

    def operations(self, direction: str) -> int:
        """Forward as counted; backward counts twice as many."""
        return self.flops if direction == "forward" else 3 * self.flops

    def scratch_bytes(self, form: Form, direction: str) -> int:
        """About what a form allocates: its copies of all patches, and a few images."""
        copies = form.patch_copies[direction != "forward"]
        return 4 * self.least_bytes(direction) + self.element_size * copies * self.patch_elements


def dynamic_conv(shape: tuple[int, ...], kernel: int, groups: int, dtype: str) -> Case:
    """x of ``shape`` [B, C, H, W], one kernel a pixel and group."""
    b, c, h, w = shape
    patches = b * c * kernel**2 * h * w
    return Case(
        "dynamic_conv",
        {"shape": list(shape), "kernel": kernel, "groups": group_name(groups, c)},
        dtype,
        (shape, (b, groups, kernel, kernel, h, w)),
        shape,
        2 * patches,
        (
            Form(OURS, ksdiff_ops.dynamic_conv),
            Form("eager unfold", forms.unfold_conv, patch_copies=(2, 3)),
            Form("eager shift", forms.shift_conv),
            Form("compiled shift", forms.shift_conv, compiled=True),
        ),
        patches,
    )


def lowrank_dynamic_conv(
    shape: tuple[int, ...], kernel: int, groups: int, dtype: str, rank: int = 4
) -> Case:
    """x of ``shape`` [B, C, H, W]; every pixel mixes ``rank`` kernels of its group."""
    b, c, h, w = shape
    taps = kernel**2
    patches = b * c * taps * h * w
    mixed_kernels = taps * (groups * rank + c)
    mixed_results = c * rank * (taps + 1)
    return Case(
        "lowrank_dynamic_conv",
        {"shape": list(shape), "rank": rank, "kernel": kernel, "groups": group_name(groups, c)},
        dtype,
        (shape, (b, groups, rank, h, w), (b, groups, rank, kernel, kernel)),
        shape,
        2 * b * h * w * min(mixed_kernels, mixed_results),
        (
            Form(OURS, ksdiff_ops.lowrank_dynamic_conv),
            Form("eager unfold", forms.lowrank_unfold, patch_copies=(3, 5)),
            Form("eager shift", forms.lowrank_shift, patch_copies=(1, 2)),
            Form("compiled shift", forms.lowrank_shift, compiled=True, patch_copies=(1, 2)),
            Form("eager convolve and mix", forms.lowrank_mix),
        ),
        patches,
    )


def _tucker_kernel(core: Tensor, *rest: Tensor, backend: str | None = None) -> Tensor:
    return ksdiff_ops.tucker_kernel(core, rest[:4], rest[4], backend=backend)


def tucker_kernel(
    batch: int, layer: tuple[int, int, int], ranks: tuple[int, ...], dtype: str = "float32"
) -> Case:
    """The kernels of one ``layer`` (C_out, C_in / groups, k), times its base kernel."""
    cout, cin, k = layer
    modes = cout, cin, k, k
    r1, r2, r3, r4 = (min(rank, mode) for rank, mode in zip(ranks, modes, strict=True))
    steps = (r1 * r2 * r3 * r4 * k, r1 * r2 * r3 * k * k, r1 * r2 * cin * k * k)
    kernel = (batch, *modes)
    return Case(
        "tucker_kernel",
        {"ranks": list(ranks), "layer": list(layer), "batch": batch},
        dtype,
        (
            (batch, r1, r2, r3, r4),
            *((batch, m, r) for m, r in zip(modes, (r1, r2, r3, r4), strict=True)),
            modes,
        ),
        kernel,
        2 * batch * (sum(steps) + r1 * math.prod(modes)) + math.prod(kernel),
        (
            Form(OURS, _tucker_kernel),
            Form("eager einsum", forms.tucker_einsum),
            Form("eager steps", forms.tucker_steps),
            Form("compiled steps", forms.tucker_steps, compiled=True),
        ),
    )


def batched_conv2d(shape: tuple[int, ...], cout: int, kernel: int, groups: int, dtype: str) -> Case:
    """x of ``shape`` [B, C_in, H, W], each sample with kernels of its own."""
    b, cin, h, w = shape
    patches = b * cin * kernel**2 * h * w
    return Case(
        "batched_conv2d",
        {"shape": list(shape), "out": cout, "kernel": kernel, "groups": groups},
        dtype,
        (shape, (b, cout, cin // groups, kernel, kernel)),
        (b, cout, h, w),
        2 * cout * (patches // groups),
        (
            Form(OURS, functools.partial(ksdiff_ops.batched_conv2d, groups=groups)),
            Form("grouped convolution", forms.batched_grouped),
            Form("convolution per sample", forms.batched_loop),
            Form("per sample, channels_last", forms.batched_loop_channels_last),
            Form("unfold and multiply", forms.batched_unfold, patch_copies=(1, 2)),
        ),
        patches,
    )


def adaptive_conv2d(shape: tuple[int, ...], cout: int, kernel: int, dtype: str) -> Case:
    """x of ``shape`` [B, C_in, H, W], patches scaled per pixel and tap, to ``cout`` channels."""
    b, cin, h, w = shape
    patches = b * cin * kernel**2 * h * w
    return Case(
        "adaptive_conv2d",
        {"shape": list(shape), "out": cout, "kernel": kernel},
        dtype,
        (shape, (b, kernel, kernel, h, w), (cout, cin, kernel, kernel)),
        (b, cout, h, w),
        patches * (2 * cout + 1),
        (
            Form(OURS, ksdiff_ops.adaptive_conv2d),
            Form("eager unfold", forms.adaptive_unfold, patch_copies=(2, 3)),
            Form("compiled unfold", forms.adaptive_unfold, compiled=True, patch_copies=(2, 3)),
            Form("eager shift", forms.adaptive_shift),
            Form("compiled shift", forms.adaptive_shift, compiled=True),
        ),
        patches,
    )


def group_name(groups: int, channels: int) -> str:
    return "C" if groups == channels and channels > 1 else str(groups)


# What the suite measures; the largest is for GPUs. PAN-sized images, LAGNet's and KSDiff's layers.
_PER_PIXEL = {"cpu": (1, 32, 256, 256), "cuda": (8, 64, 256, 256)}
_SIDES = {"cpu": (32, 64, 128, 512), "cuda": (64, 128, 512, 1024)}  # _PER_PIXEL has 256
_ADAPTIVE = {
    "cpu": ((1, 32, 256, 256), (1, 9, 256, 256), (8, 32, 64, 64)),
    "cuda": ((8, 32, 256, 256), (1, 32, 256, 256), (32, 32, 64, 64)),
}
# (C_out, C_in / groups, k): pointwise and depthwise of PanNeXt-U, and a plain 3 x 3 layer.
_LAYERS = ((192, 96, 1), (96, 1, 7), (64, 64, 3))
# (C_in, C_out, groups, k, side of the image)
_CONVOLUTIONS = ((48, 48, 48, 7, 128), (48, 96, 1, 1, 128), (64, 64, 1, 3, 64))
_QUICK = {(5, 1, "float32"), (5, None, "float32"), (5, 1, "bfloat16")}


def suite(device: str) -> Iterator[tuple[Case, str, bool]]:
    """(case, direction, whether it is one of the most telling) of all that is measured."""
    for case, quick in _suite(device):
        for direction in DIRECTIONS:
            yield case, direction, quick
    for side in _SIDES[device]:
        shape = (1, 32, side, side)
        yield dynamic_conv(shape, 5, 1, "float32"), "forward", False
        yield lowrank_dynamic_conv(shape, 5, 1, "float32"), "forward", False
        yield adaptive_conv2d(shape, 32, 3, "float32"), "forward", False


def _suite(device: str) -> Iterator[tuple[Case, bool]]:
    shape = _PER_PIXEL[device]
    axes = (dynamic_conv, lowrank_dynamic_conv), ("float32", "bfloat16"), (3, 5, 7), (1, 4, None)
    for op, dtype, kernel, groups in itertools.product(*axes):
        yield op(shape, kernel, groups or shape[1], dtype), (kernel, groups, dtype) in _QUICK
    for layer, batch in itertools.product(_LAYERS, (1, 8, 32)):
        yield tucker_kernel(batch, layer, (4, 4, 2, 2)), layer == _LAYERS[0]
    batches = ((1, "float32"), (8, "float32"), (8, "bfloat16"))
    for (cin, cout, groups, kernel, side), (batch, dtype) in itertools.product(
        _CONVOLUTIONS, batches
    ):
        shape = (batch, cin, side, side)
        quick = (batch, dtype) == batches[1]
        yield batched_conv2d(shape, cout, kernel, groups, dtype), quick
    for number, dtype in ((0, "float32"), (0, "bfloat16"), (1, "float32"), (2, "float32")):
        quick = (number, dtype) == (0, "float32")
        yield adaptive_conv2d(_ADAPTIVE[device][number], 32, 3, dtype), quick

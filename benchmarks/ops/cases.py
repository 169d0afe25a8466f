"""What is measured: an operator at a size, the forms that compute it, its bytes and operations."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

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
    """An operator at a size. ``facts`` tell the case from others, in words for people.

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
    unit: dict[str, object] = field(default_factory=dict)  # facts alike in all cases of a table

    def draw(self, device: str, seed: int = 0) -> list[Tensor]:
        """The inputs, standard normal; they require gradients."""
        generator = torch.Generator().manual_seed(seed)
        dtype = DTYPES[self.dtype]
        return [
            torch.randn(shape, generator=generator).to(device, dtype).requires_grad_()
            for shape in self.shapes
        ]

    @property
    def id(self) -> str:
        words = {"kernel": "k", "groups": "G", "batch": "B"}
        parts = (f"{words.get(name, '')}{text(value)}" for name, value in self.facts.items())
        return "-".join([*parts, self.dtype])

    def least_bytes(self, direction: str) -> int:
        """What must move: inputs in, output out; backwards the output's gradient and the inputs
        in, one gradient per input out.
        """
        size = torch.empty((), dtype=DTYPES[self.dtype]).element_size()
        inputs = size * sum(math.prod(shape) for shape in self.shapes)
        output = size * math.prod(self.output)
        forward = inputs + output
        return forward if direction == "forward" else forward + output + 2 * inputs

    def operations(self, direction: str) -> int:
        """Forward as counted; backward is taken for two times as many."""
        return self.flops if direction == "forward" else 3 * self.flops

    def scratch_bytes(self, form: Form, direction: str) -> int:
        """About what a form takes: its copies of all patches, or a few images."""
        size = torch.empty((), dtype=DTYPES[self.dtype]).element_size()
        copies = form.patch_copies[direction != "forward"]
        few = 4 * self.least_bytes(direction)
        return few + size * copies * self.patch_elements


def text(value: object) -> str:
    return "×".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def dynamic_conv(shape: tuple[int, ...], kernel: int, groups: int, dtype: str) -> Case:
    """x of ``shape`` [B, C, H, W], one kernel a pixel and group."""
    b, c, h, w = shape
    patches = b * c * kernel**2 * h * w
    return Case(
        "dynamic_conv",
        {"kernel": kernel, "groups": group_name(groups, c)},
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
        {"shape": list(shape)},
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
        {"kernel": kernel, "groups": group_name(groups, c)},
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
        {"shape": list(shape), "rank": rank},
    )


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
        {"layer": list(layer), "batch": batch},
        dtype,
        (
            (batch, r1, r2, r3, r4),
            *((batch, m, r) for m, r in zip(modes, (r1, r2, r3, r4), strict=True)),
            modes,
        ),
        kernel,
        2 * batch * (sum(steps) + r1 * math.prod(modes)) + math.prod(kernel),
        (
            Form(OURS, lambda core, *rest: ksdiff_ops.tucker_kernel(core, rest[:4], rest[4])),
            Form("eager einsum", forms.tucker_einsum),
            Form("eager steps", forms.tucker_steps),
            Form("compiled steps", forms.tucker_steps, compiled=True),
        ),
        unit={"ranks": list(ranks)},
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
            Form(OURS, lambda x, weight: ksdiff_ops.batched_conv2d(x, weight, groups=groups)),
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

"""What is measured: an operator at a size, its forms, bytes and operations."""

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import ksdiff_ops
from benchmarks.markdown import times
from benchmarks.ops import forms

DIRECTIONS = ("forward", "forward+backward")
OURS = "ksdiff_ops"
# What labels show of a size, in this order; ranks of tucker_kernel are the same everywhere.
_SHORT = {
    **{"shape": "", "layer": "", "batch": "B ", "out": "to ", "kernel": "k ", "groups": "G "},
    **{"rank": "R ", "factor": "by "},
}

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Case:
    """An operator at a size, beside the same in PyTorch.

    ``size`` tells the case from others of the operator.
    """

    op: str
    size: dict[str, object]
    shapes: tuple[Shape, ...]  # of the inputs
    ours: forms.Form
    plain: dict[str, forms.Form]
    compiled: tuple[str, ...] = ()  # forms that torch.compile is tried with, too
    dtype: str = "float32"
    network: str = ""  # that has the operator at this size

    def draw(self, device: str, seed: int = 0) -> list[Tensor]:
        """The inputs, standard normal; they require gradients."""
        generator = torch.Generator().manual_seed(seed)
        return [
            torch.randn(shape, generator=generator).to(device, self.torch_dtype).requires_grad_()
            for shape in self.shapes
        ]

    def draw_gradient(self, direction: str, device: str) -> Tensor | None:
        """That of the result, where the direction asks for one."""
        if direction == "forward":
            return None
        return torch.randn(self.output, dtype=self.torch_dtype, device=device)

    @property
    def torch_dtype(self) -> torch.dtype:
        return getattr(torch, self.dtype)

    @functools.cached_property
    def output(self) -> Shape:
        """The shape of the result.

        Raises:
            ValueError: the operator does not take inputs of these shapes.
        """
        return tuple(self.ours(*self._without_data()).shape)

    def _without_data(self) -> list[Tensor]:
        return [torch.empty(shape, device="meta") for shape in self.shapes]

    def row(self, direction: str) -> dict[str, object]:
        """The facts that all rows of this case share."""
        named = {"network": self.network, "what": self.what}
        facts = named if self.network else {"op": self.op, **self.size}
        return {**facts, "dtype": self.dtype, "direction": direction}

    @property
    def what(self) -> str:
        return f"{self.op} {short(self.size)}"

    def least_bytes(self, direction: str) -> int:
        """What must move: inputs in, output out; backward the output's gradient and the inputs
        in, one gradient per input out.
        """
        inputs = self.torch_dtype.itemsize * sum(map(math.prod, self.shapes))
        output = self.torch_dtype.itemsize * math.prod(self.output)
        return inputs + output if direction == "forward" else 3 * inputs + 2 * output

    def operations(self, direction: str) -> int:
        """A multiply-add is two of them; backward counts twice as many as forward."""
        with FlopCounterMode(display=False) as counter:
            self.ours(*self._without_data())
        return counter.get_total_flops() * (1 if direction == "forward" else 3)

    def scratch_bytes(self, form: str, direction: str) -> int:
        """About what a form allocates: a few images, and five times the image once per tap."""
        patches = math.prod((*self.shapes[0], *_sides(self.size.get("kernel", 0))))
        copies = 5 if "unfold" in form else 0
        return 4 * self.least_bytes(direction) + copies * self.torch_dtype.itemsize * patches


def label(row: dict[str, object]) -> str:
    """The case that a row is about."""
    network = f"{row['network']}: " if "network" in row else ""
    what = row.get("what") or f"{row['op']} {short(row)}"
    return f"{network}{what} {row['dtype']} {row['direction']}"


def short(size: dict[str, object]) -> str:
    """As labels show it: 1×32×64×64 k 5 G 1."""
    return " ".join(f"{lead}{times(size[key])}" for key, lead in _SHORT.items() if key in size)


def group_name(groups: int, channels: int) -> str:
    return "C" if groups == channels and channels > 1 else str(groups)


def _sides(kernel: int | Shape) -> Shape:
    return (kernel, kernel) if isinstance(kernel, int) else kernel


# What follows makes the cases of an operator, of the image's shape [B, C, H, W] and parameters.


def dynamic_conv(shape: Shape, kernel: int | Shape = 3, groups: int = 1) -> Case:
    """One kernel a pixel and group."""
    b, c, h, w = shape
    kh, kw = _sides(kernel)
    several = {"unfold and sum": forms.unfold_sum, "shift": forms.shift}
    return Case(
        "dynamic_conv",
        {"shape": list(shape), "kernel": kernel, "groups": group_name(groups, c)},
        (shape, (b, groups, kh, kw, h, w)),
        ksdiff_ops.dynamic_conv,
        {"product": forms.product} if kh * kw == 1 else several,
        () if kh * kw == 1 else ("shift",),
    )


def lowrank_dynamic_conv(
    shape: Shape, kernel: int | Shape = 3, groups: int = 1, rank: int = 4
) -> Case:
    """Every pixel mixes ``rank`` kernels of its group."""
    b, _, h, w = shape
    kh, kw = _sides(kernel)
    whole = functools.partial(forms.written_out, forms.mixed_kernels)
    return Case(
        "lowrank_dynamic_conv",
        dynamic_conv(shape, kernel, groups).size | {"rank": rank},
        (shape, (b, groups, rank, h, w), (b, groups, rank, kh, kw)),
        ksdiff_ops.lowrank_dynamic_conv,
        {
            **{"unfold": whole(forms.unfold_sum), "shift": whole(forms.shift)},
            "convolve and mix": forms.lowrank_mix,
        },
        ("shift",),
    )


def kernel_of(core: Tensor, *rest: Tensor, backend: str | None = None) -> Tensor:
    """tucker_kernel of a core, four factors and a base kernel."""
    return ksdiff_ops.tucker_kernel(core, rest[:4], rest[4], backend=backend)


def tucker_kernel(shape: Shape, ranks: Shape = (4, 4, 2, 2)) -> Case:
    """The kernels ``shape`` [B, C_out, C_in / groups, k, k] of a layer, times its base kernel."""
    batch, *modes = shape
    cout, cin, k, _ = modes
    own = tuple(map(min, ranks, modes))
    factors = ((batch, *pair) for pair in zip(modes, own, strict=True))
    return Case(
        "tucker_kernel",
        {"layer": [cout, cin, k], "batch": batch, "ranks": list(ranks)},
        ((batch, *own), *factors, tuple(modes)),
        kernel_of,
        {"einsum": forms.tucker_einsum, "steps": forms.tucker_steps},
        ("steps",),
    )


def batched_conv2d(
    shape: Shape, out_channels: int | None = None, kernel: int = 3, groups: int = 1
) -> Case:
    """Each sample with kernels of its own; as many channels out as in, unless they are given."""
    b, cin, _, _ = shape
    cout = out_channels or cin
    return Case(
        "batched_conv2d",
        {"shape": list(shape), "out": cout, "kernel": kernel, "groups": group_name(groups, cin)},
        (shape, (b, cout, cin // groups, kernel, kernel)),
        functools.partial(ksdiff_ops.batched_conv2d, groups=groups),
        {
            "grouped convolution": forms.batched_grouped,
            "convolution per sample": forms.batched_loop,
            "per sample, channels_last": forms.batched_loop_channels_last,
            "unfold and matmul": forms.batched_unfold,
        },
    )


def adaptive_conv2d(shape: Shape, out_channels: int | None = None, kernel: int = 3) -> Case:
    """Patches scaled per pixel and tap."""
    b, cin, h, w = shape
    cout = out_channels or cin
    return Case(
        "adaptive_conv2d",
        {"shape": list(shape), "out": cout, "kernel": kernel},
        (shape, (b, kernel, kernel, h, w), (cout, cin, kernel, kernel)),
        ksdiff_ops.adaptive_conv2d,
        {"unfold and matmul": forms.adaptive_unfold, "shift": forms.adaptive_shift},
        ("unfold and matmul", "shift"),
    )


def decoupled_filter(shape: Shape, kernel: int = 3) -> Case:
    """Each channel and sample with weights of its own, scaled per pixel and tap."""
    b, c, h, w = shape
    whole = functools.partial(forms.written_out, forms.decoupled_kernels)
    return Case(
        "adaptive_conv2d",
        {"shape": list(shape), "kernel": kernel, "groups": "C"},
        (shape, (b, kernel, kernel, h, w), (b, c, 1, kernel, kernel)),
        functools.partial(ksdiff_ops.adaptive_conv2d, groups=c),
        {
            "kernels written out, shift": whole(forms.shift),
            "kernels written out, unfold": whole(forms.unfold_sum),
            "shift": forms.decoupled_shift,
            "unfold and matmul": forms.decoupled_matmul,
        },
    )


def carafe(shape: Shape, kernel: int = 5, factor: int = 2) -> Case:
    """One kernel for every pixel of the larger image."""
    b, _, h, w = shape
    weight = (b, 1, kernel, kernel, factor * h, factor * w)
    return Case(
        "carafe",
        {"shape": list(shape), "kernel": kernel, "factor": factor},
        (shape, weight),
        functools.partial(ksdiff_ops.carafe, scale=factor),
        {"unfold, repeat": forms.carafe_unfold, "matmul per place": forms.carafe_subpixel},
    )


def separable_dynamic_conv(shape: Shape, kernel: int) -> Case:
    """A vertical and a horizontal kernel a pixel."""
    own = (shape[0], 1, kernel, *shape[2:])
    return Case(
        "separable_dynamic_conv",
        {"shape": list(shape), "kernel": kernel},
        (shape, own, own),
        ksdiff_ops.separable_dynamic_conv,
        {"row by row": forms.separable_rows},
    )

"""The three operators against what one writes without them in PyTorch, eager and compiled.

Every method of a case runs in one session on the same tensors, and is checked before it is timed.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

import ksdiff_ops
from benchmarks import competitors
from benchmarks.machine import synchronised_time

pytestmark = pytest.mark.benchmark(timer=synchronised_time)

SIZES = {"cpu": (1, 32, 256, 256), "cuda": (8, 64, 256, 256)}  # x [B, C, H, W]
RANK = 4
KERNELS = (3, 5, 7)
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
DIRECTIONS = ("forward", "forward+backward")
# One modulated layer of the fusion network each: (Cout, Cin, k), ranks (4, 4, 2, 2).
TUCKER_LAYERS = ((192, 96, 1), (96, 1, 7), (64, 64, 3))
TUCKER_RANKS = (4, 4, 2, 2)


@dataclass(frozen=True)
class Method:
    """A way to compute an operator; the first of a list is ours, the others its competitors."""

    name: str
    function: Callable[..., Tensor]
    compiled: bool = False

    def ready(self) -> Callable[..., Tensor]:
        if not self.compiled:
            return self.function
        torch._dynamo.reset()  # else it gives up compiling after a few shapes
        return torch.compile(self.function, dynamic=False)


DYNAMIC_CONV = (
    Method("ksdiff_ops", ksdiff_ops.dynamic_conv),
    Method("compiled shift", competitors.shift_conv, compiled=True),
    Method("eager shift", competitors.shift_conv),
    Method("eager unfold", competitors.unfold_conv),
)
LOWRANK = (
    Method("ksdiff_ops", ksdiff_ops.lowrank_dynamic_conv),
    Method("compiled shift", competitors.lowrank_shift, compiled=True),
    Method("eager shift", competitors.lowrank_shift),
    Method("eager unfold", competitors.lowrank_unfold),
    Method("eager convolve and mix", competitors.lowrank_mix),
)
TUCKER = (
    Method("ksdiff_ops", lambda core, *rest: ksdiff_ops.tucker_kernel(core, rest[:4], rest[4])),
    Method("compiled steps", competitors.tucker_steps, compiled=True),
    Method("eager steps", competitors.tucker_steps),
    Method("eager einsum", competitors.tucker_einsum),
)


def pixel_cases(methods):
    """All of float32; of bfloat16 only k = 5, the forms that compute in it being few."""
    cases = itertools.product(DTYPES, KERNELS, ("1", "C"), DIRECTIONS, methods)
    return [
        pytest.param(dtype, k, *case, id=f"{dtype}-k{k}-G{case[0]}-{case[1]}-{case[2].name}")
        for dtype, k, *case in cases
        if dtype == "float32" or k == 5
    ]


@pytest.mark.parametrize("dtype, k, groups, direction, method", pixel_cases(DYNAMIC_CONV))
def test_dynamic_conv(stopwatch, dtype, k, groups, direction, method):
    b, c, h, w = SIZES[stopwatch.device]
    g = 1 if groups == "1" else c
    tensors = draw(stopwatch.device, DTYPES[dtype], (b, c, h, w), (b, g, k, k, h, w))
    case = {"op": "dynamic_conv", "dtype": dtype, "k": k, "groups": groups, "shape": [b, c, h, w]}
    measure(stopwatch, case, direction, method, DYNAMIC_CONV[-1], tensors)


@pytest.mark.parametrize("dtype, k, groups, direction, method", pixel_cases(LOWRANK))
def test_lowrank_dynamic_conv(stopwatch, dtype, k, groups, direction, method):
    b, c, h, w = SIZES[stopwatch.device]
    g = 1 if groups == "1" else c
    shapes = (b, c, h, w), (b, g, RANK, h, w), (b, g, RANK, k, k)
    tensors = draw(stopwatch.device, DTYPES[dtype], *shapes)
    case = {
        **{"op": "lowrank_dynamic_conv", "dtype": dtype, "k": k, "groups": groups},
        **{"rank": RANK, "shape": [b, c, h, w]},
    }
    measure(stopwatch, case, direction, method, LOWRANK[-1], tensors)


@pytest.mark.parametrize("method", TUCKER, ids=lambda method: method.name)
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("layer", TUCKER_LAYERS, ids=lambda layer: "x".join(map(str, layer)))
def test_tucker_kernel(stopwatch, layer, direction, method):
    cout, cin, k = layer
    r1, r2, r3, r4 = (min(r, d) for r, d in zip(TUCKER_RANKS, (cout, cin, k, k), strict=True))
    factors = (1, cout, r1), (1, cin, r2), (1, k, r3), (1, k, r4)
    tensors = draw(
        stopwatch.device, torch.float32, (1, r1, r2, r3, r4), *factors, (cout, cin, k, k)
    )
    case = {"op": "tucker_kernel", "dtype": "float32", "shape": list(layer)}
    measure(stopwatch, case, direction, method, TUCKER[-1], tensors)


def draw(device: str, dtype: torch.dtype, *shapes: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(shape, generator=generator).to(device, dtype).requires_grad_()
        for shape in shapes
    ]


def measure(stopwatch, case, direction, method, judge, tensors):
    function = method.ready()
    with torch.set_grad_enabled(direction != "forward"):
        output = function(*tensors).detach()
    with torch.no_grad():
        check_same(output, judge.function(*tensors))

    def forward():
        with torch.no_grad():
            function(*tensors)

    def forward_and_backward():
        torch.autograd.grad(function(*tensors), tensors, output)

    call = forward if direction == "forward" else forward_and_backward
    stopwatch.time(
        call,
        **case,
        direction=direction,
        method=method.name,
        least_bytes=least_bytes(tensors, output, direction),
    )


def check_same(output: Tensor, expected: Tensor) -> None:
    """A form that computes something else must not win: relative error in the L2 norm."""
    bound = 2e-2 if output.dtype == torch.bfloat16 else 1e-5
    error = (output - expected).float().norm() / expected.float().norm()
    assert error < bound, f"the forms differ by {error:.1e}"


def least_bytes(tensors: list[Tensor], output: Tensor, direction: str) -> int:
    """What must move: inputs in, output out; backwards output's gradient and inputs in, one
    gradient per input out.
    """
    inputs = sum(tensor.nbytes for tensor in tensors)
    forward = inputs + output.nbytes
    return forward if direction == "forward" else forward + output.nbytes + 2 * inputs

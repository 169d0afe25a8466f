"""dynamic_conv and lowrank_dynamic_conv: kernel sizes, groups, types, directions."""

import itertools

import pytest

from benchmarks.ops import cases
from benchmarks.timing import playback

pytestmark = pytest.mark.benchmark(timer=playback)

SIZES = {"cpu": (1, 32, 256, 256), "cuda": (8, 64, 256, 256)}  # x [B, C, H, W]
QUICK = {(5, "1", "float32"), (5, "C", "float32"), (5, "1", "bfloat16")}


def parameters():
    """Named `k5-G1-float32-forward`; the most telling ones carry the mark `quick`."""
    axes = ("float32", "bfloat16"), (3, 5, 7), ("1", "4", "C"), cases.DIRECTIONS
    for dtype, kernel, groups, direction in itertools.product(*axes):
        quick = (kernel, groups, dtype) in QUICK
        yield pytest.param(
            *(kernel, groups, dtype, direction),
            id=f"k{kernel}-G{groups}-{dtype}-{direction}",
            marks=[pytest.mark.quick] if quick else [],
        )


@pytest.mark.parametrize("kernel, groups, dtype, direction", list(parameters()))
@pytest.mark.parametrize("operator", [cases.dynamic_conv, cases.lowrank_dynamic_conv])
def test_per_pixel(record, device, operator, kernel, groups, dtype, direction):
    shape = SIZES[device]
    groups = shape[1] if groups == "C" else int(groups)
    record(operator(shape, kernel, groups, dtype), direction)

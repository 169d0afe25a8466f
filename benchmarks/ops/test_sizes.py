"""Time against the image's size: where an operator's fixed cost ends, and where caches do."""

import pytest

from benchmarks.ops import cases
from benchmarks.timing import playback

pytestmark = pytest.mark.benchmark(timer=playback)

SIDES = {"cpu": (32, 64, 128, 512), "cuda": (64, 128, 512, 1024)}  # 256 is measured elsewhere
CHANNELS = 32
OPERATORS = {
    "dynamic_conv": lambda shape: cases.dynamic_conv(shape, 5, 1, "float32"),
    "lowrank_dynamic_conv": lambda shape: cases.lowrank_dynamic_conv(shape, 5, 1, "float32"),
    "adaptive_conv2d": lambda shape: cases.adaptive_conv2d(shape, CHANNELS, 3, "float32"),
}


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("operator", OPERATORS)
def test_size(record, device, operator, number):
    side = SIDES[device][number]
    record(OPERATORS[operator]((1, CHANNELS, side, side)), "forward")

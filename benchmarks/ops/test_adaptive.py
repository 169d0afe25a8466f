"""adaptive_conv2d: LAGNet's layers on a tile, and a batch of training crops."""

import pytest

from benchmarks.ops import cases
from benchmarks.timing import playback

pytestmark = pytest.mark.benchmark(timer=playback)

SHAPES = {
    "cpu": ((1, 32, 256, 256), (1, 9, 256, 256), (8, 32, 64, 64)),
    "cuda": ((8, 32, 256, 256), (1, 32, 256, 256), (32, 32, 64, 64)),
}
COUT, KERNEL = 32, 3


@pytest.mark.parametrize("direction", cases.DIRECTIONS)
@pytest.mark.parametrize(
    "number, dtype",
    [
        pytest.param(0, "float32", id="0-float32", marks=pytest.mark.quick),
        *(
            pytest.param(number, dtype, id=f"{number}-{dtype}")
            for number, dtype in ((0, "bfloat16"), (1, "float32"), (2, "float32"))
        ),
    ],
)
def test_adaptive_conv2d(record, device, number, dtype, direction):
    record(cases.adaptive_conv2d(SHAPES[device][number], COUT, KERNEL, dtype), direction)

"""tucker_kernel and batched_conv2d: layers of KSDiff's networks, one scene and batches."""

import pytest

from benchmarks.ops import cases
from benchmarks.timing import playback

pytestmark = pytest.mark.benchmark(timer=playback)

# (C_out, C_in / groups, k): pointwise and depthwise of PanNeXt-U, and a plain 3 x 3 layer.
LAYERS = ((192, 96, 1), (96, 1, 7), (64, 64, 3))
RANKS = (4, 4, 2, 2)
BATCHES = (1, 8, 32)
# (C_in, C_out, groups, k, side of the image)
CONVOLUTIONS = ((48, 48, 48, 7, 128), (48, 96, 1, 1, 128), (64, 64, 1, 3, 64))


def quick(yes: bool) -> list:
    return [pytest.mark.quick] if yes else []


@pytest.mark.parametrize("direction", cases.DIRECTIONS)
@pytest.mark.parametrize(
    "layer, batch",
    [
        pytest.param(l, b, id=f"{cases.text(l)}-B{b}", marks=quick(l == LAYERS[0]))
        for l in LAYERS
        for b in BATCHES
    ],
)
def test_tucker_kernel(record, layer, batch, direction):
    record(cases.tucker_kernel(batch, layer, RANKS), direction)


@pytest.mark.parametrize("direction", cases.DIRECTIONS)
@pytest.mark.parametrize(
    "batch, dtype",
    [
        pytest.param(b, dtype, id=f"B{b}-{dtype}", marks=quick(b == 8 and dtype == "float32"))
        for b, dtype in ((1, "float32"), (8, "float32"), (8, "bfloat16"))
    ],
)
@pytest.mark.parametrize("layer", CONVOLUTIONS, ids=lambda layer: cases.text(layer))
def test_batched_conv2d(record, layer, batch, dtype, direction):
    cin, cout, groups, kernel, side = layer
    record(cases.batched_conv2d((batch, cin, side, side), cout, kernel, groups, dtype), direction)

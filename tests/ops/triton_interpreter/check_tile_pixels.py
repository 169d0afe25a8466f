"""Where a tile of an image's pixels begins, beyond 32 bits, too."""

import itertools

import pytest
import torch
import triton
import triton.language as tl

from ksdiff_ops.triton.multiply import tile_pixels

WIDTHS = (1, 3, 16, 100, 257, 2**30 + 7)
# Rows fit in 32 bits, pixels may not.
PLACES = (
    *itertools.product((0, 1, 6, 12345, 2**23 - 1), WIDTHS),
    *((2**24 + 5, width) for width in WIDTHS[1:]),
)


@triton.jit
def _places(tiles, out, width, PIXELS: tl.constexpr):
    pixel, row, column = tile_pixels(tl.load(tiles), width, PIXELS)
    at = tl.arange(0, PIXELS)
    tl.store(out + at, pixel)
    tl.store(out + PIXELS + at, row)
    tl.store(out + 2 * PIXELS + at, column)


@pytest.mark.parametrize("pixels", [16, 64, 256])
@pytest.mark.parametrize(("tile", "width"), PLACES)
def test_pixels_of_a_tile_have_the_rows_and_columns_of_whole_numbers(tile, width, pixels):
    out = torch.empty(3, pixels, dtype=torch.int64)
    _places[(1,)](torch.tensor([tile], dtype=torch.int32), out, width, pixels)
    expected = tile * pixels + torch.arange(pixels)
    torch.testing.assert_close(out, torch.stack((expected, expected // width, expected % width)))

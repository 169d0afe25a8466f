"""What is computed in pieces and in place equals what is computed at once."""

import contextlib

import pytest
import torch

from ksdiff.images.expansion import expand
from ksdiff.images.piecewise import piecewise, row_blocks
from ksdiff.images.wald import back_project
from ksdiff.models.layers import UpConv2d


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def both(function):
    """With gradients recorded, and without."""
    results = []
    for context in (contextlib.nullcontext, torch.no_grad):
        with context():
            results.append(function())
    return results


def test_row_blocks_cover_the_rows_once():
    for height in (1, 15, 16, 17, 40):
        rows = torch.arange(height)
        blocks = list(row_blocks(torch.empty(1, height, 3)))
        assert torch.cat([rows[some] for some in blocks]).equal(rows)


def test_only_eager_inference_on_a_cpu_goes_in_pieces():
    x = torch.zeros(2)
    assert not piecewise(x)
    with torch.no_grad():
        assert piecewise(x)
        assert not piecewise(x.to("meta"))
        assert not torch.compile(lambda x: torch.tensor(piecewise(x)), backend="eager")(x)


@pytest.mark.parametrize("phase", [None, (1.5, 1.5), (0.25, 3.0)])
def test_images_are_expanded_band_by_band(phase):
    ms = torch.rand(2, 5, 13, 18, dtype=torch.float64)
    whole, bands = both(lambda: expand(ms, 4, phase, "reflect"))
    torch.testing.assert_close(whole, bands)


def test_back_projection_overwrites_only_where_it_may():
    fused, ms = torch.rand(1, 3, 48, 64, dtype=torch.float64), torch.rand(1, 3, 12, 16).double()
    gains, before = (0.3, 0.25, 0.3), fused.clone()
    whole, bands = both(lambda: back_project(fused, ms, gains, 4, (1.5, 1.5)))
    torch.testing.assert_close(whole, bands)
    assert fused.equal(before)
    with torch.no_grad():
        inplace = back_project(fused, ms, gains, 4, (1.5, 1.5), overwrite=True)
    assert inplace.data_ptr() == fused.data_ptr() and inplace.equal(bands)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_a_transposed_convolution_is_added_row_by_row(layout):
    layer = UpConv2d(6, 4)
    x = torch.randn(2, 6, 19, 5).contiguous(memory_format=layout)
    onto = torch.randn(2, 4, 38, 10).contiguous(memory_format=layout)
    expected = torch.nn.functional.conv_transpose2d(x, layer.weight, layer.bias, 2) + onto
    for result in both(lambda: layer(x, onto.clone(memory_format=layout))):
        torch.testing.assert_close(result, expected)

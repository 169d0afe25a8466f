from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ksdiff.images.bands import Alignment, Moves
from ksdiff.images.translation import shift
from ksdiff.images.wald import degrade_ms
from ksdiff.synthetic.scene import procedural_scene
from tests.support.bands import CPU, SENSOR, apart

DISTANCES = st.floats(-3.9, 3.9)


@settings(max_examples=30, deadline=None)
@given(
    shifts=st.lists(st.tuples(DISTANCES, DISTANCES), min_size=1, max_size=4),
    height=st.integers(1, 50),
    width=st.integers(1, 50),
)
def test_every_band_moves_as_shift_would_move_it(shifts, height, width):
    x = torch.randn(2, len(shifts), height, width, generator=torch.Generator().manual_seed(0))
    expected = [shift(x[:, band : band + 1], *step) for band, step in enumerate(shifts)]
    moves = Moves.by(shifts, 1.0, CPU)
    torch.testing.assert_close(moves(x), torch.cat(expected, 1), rtol=1e-4, atol=1e-5)


def test_reversed_moves_the_other_way():
    shifts = [(0.4, -1.3), (2.0, 0.0)]
    back = Moves.by(shifts, -1.0, CPU)
    for one, other in zip(Moves.by(shifts, 1.0, CPU).reversed(), back, strict=True):
        torch.testing.assert_close(one, other)


def test_too_long_a_way_is_refused():
    with pytest.raises(ValueError, match=r"shift: expected less than 4 pixels, got 4\.2"):
        Moves.by([(4.2, 0.0)], 1.0, CPU)


@pytest.fixture(scope="module")
def truth():
    _, _, gt = procedural_scene(seed=3, size=256, bands=8)
    return torch.from_numpy(np.asarray(gt)).float()[None]


def test_bands_that_lie_apart_are_brought_together_and_back(truth):
    moved = apart(truth, 1.6)
    ms = degrade_ms(moved, SENSOR.ms_gains, 4)
    alignment = Alignment.measured([ms], SENSOR, 4)
    assert alignment.furthest == pytest.approx(1.6, abs=0.3)
    straight = degrade_ms(truth, SENSOR.ms_gains, 4)
    inner = (..., slice(8, -8), slice(8, -8))
    error = (alignment.together(ms) - straight)[inner].std()
    assert error < 0.4 * (ms - straight)[inner].std()
    fine = (..., slice(32, -32), slice(32, -32))
    assert (alignment.apart(truth) - moved)[fine].std() < 0.4 * (truth - moved)[fine].std()


def test_bands_that_lie_together_or_belong_to_one_array_stay(truth):
    ms = degrade_ms(apart(truth, 1.6), SENSOR.ms_gains, 4)
    assert Alignment.measured([ms], replace(SENSOR, opposite_bands=()), 4) is None
    # The scene's own bands, apart by what is measured, and put together: nothing is left.
    straight = degrade_ms(truth, SENSOR.ms_gains, 4)
    for _ in range(3):
        found = Alignment.measured([straight], SENSOR, 4)
        if found is None:
            break
        straight = found.together(straight)
    assert found is None


def test_what_is_too_far_to_be_a_misregistration_is_left(truth):
    ms = degrade_ms(apart(truth, 5.0), SENSOR.ms_gains, 4)
    assert Alignment.measured([ms], SENSOR, 4) is None

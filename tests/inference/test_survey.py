import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ksdiff.errors import KSDiffError
from ksdiff.images.inputs import SceneStatistics
from ksdiff.images.pair import ArrayPair
from ksdiff.inference.survey import Survey, most_detailed, sample_windows, survey


def _surveyed(share: np.ndarray) -> Survey:
    return Survey(None, share, share, 32)


def test_statistics_do_not_depend_on_the_windows_read(scene):
    pan, ms, _ = (part.astype("float32") for part in scene)
    whole = SceneStatistics.of(torch.from_numpy(pan), torch.from_numpy(ms))
    for tile in (64, 96, 256):
        for ours, theirs in zip(survey(ArrayPair(pan, ms), tile).statistics, whole, strict=True):
            torch.testing.assert_close(ours, theirs)


def test_statistics_leave_out_pixels_without_data_in_either_image(scene):
    pan, ms, _ = (part.astype("float32") for part in scene)
    whole = SceneStatistics.of(torch.from_numpy(pan[:, :, 128:]), torch.from_numpy(ms[:, :, 32:]))
    pan[:, :, :64], ms[1, :, :32] = np.nan, np.nan
    found = survey(ArrayPair(pan, ms), 96)
    for ours, theirs in zip(found.statistics, whole, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert (found.valid_share[:, :4] == 0).all() and (found.valid_share[:, 4:] == 1).all()


def test_a_scene_without_common_data_is_refused(scene):
    pan, ms, _ = (part.astype("float32") for part in scene)
    pan[:, :128], ms[:, 32:] = np.nan, np.nan
    with pytest.raises(KSDiffError, match="no pixel with data in common"):
        survey(ArrayPair(pan, ms), 64)


@settings(max_examples=100, deadline=None)
@given(
    height=st.integers(16, 1200).map(lambda n: 4 * n),
    width=st.integers(16, 1200).map(lambda n: 4 * n),
    seed=st.integers(0, 99),
)
def test_sample_windows_are_equal_inside_the_scene_and_well_filled(height, width, seed):
    shape = (-(-height // 32), -(-width // 32))
    share = np.zeros(shape, dtype=np.float32)
    share[:, shape[1] // 2 :] = 1
    share[np.random.default_rng(seed).integers(shape[0]), shape[1] // 2] = 0.5
    windows = sample_windows((height, width), _surveyed(share), 4, 256, 16)
    assert 1 <= len(windows) == len(set(windows)) <= 16
    assert len({window[2:] for window in windows}) == 1
    best = []
    for top, left, rows, columns in windows:
        assert rows % 8 == columns % 8 == top % 4 == left % 4 == 0
        assert 0 <= top <= height - rows and 0 <= left <= width - columns
        best.append(
            share[
                top // 32 : -(-(top + rows) // 32), left // 32 : -(-(left + columns) // 32)
            ].mean()
        )
    assert min(best) >= 0.9 * max(best)


def test_sample_windows_spread_over_a_large_scene():
    windows = sample_windows((8192, 8192), _surveyed(np.ones((256, 256))), 4, 256, 16)
    assert len(windows) == 16
    at = np.array([window[:2] for window in windows], dtype=float)
    apart = np.hypot(*(at[:, None] - at[None]).transpose(2, 0, 1)) + 1e9 * np.eye(16)
    assert apart.min() > 1200


@settings(max_examples=50, deadline=None)
@given(
    ratio=st.integers(2, 8),
    height=st.integers(20, 200),
    width=st.integers(20, 200),
    row=st.floats(0, 1),
    column=st.floats(0, 1),
)
def test_the_most_detailed_part_holds_the_detail(ratio, height, width, row, column):
    shape, cell = (height * ratio, width * ratio), -(-32 // ratio) * ratio
    detail = np.zeros([-(-length // cell) for length in shape])
    at = [int(share * (n - 1)) for share, n in zip((row, column), detail.shape, strict=True)]
    detail[tuple(at)] = 1
    found = most_detailed(shape, Survey(None, detail, detail, cell), ratio, 320)
    for place, start, size, length in zip(at, found[:2], found[2:], shape, strict=True):
        assert start % ratio == size % ratio == 0 and 0 <= start <= length - size
        assert size == min(320, length) // ratio * ratio
        seen = range(start, start + size)
        assert place * cell in seen or min(place * cell + cell, length) - 1 in seen

"""The measured MTF is the one that the MS image was made with."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ksdiff.images.optics import measured_gain, measured_gains
from ksdiff.images.translation import shift
from ksdiff.images.wald import degrade_ms
from ksdiff.sensors import sensor_for
from ksdiff.synthetic.scene import procedural_scene

_SIZE, _RATIO, _PHASE = 256, 4, (2.0, 2.0)
_NOMINAL = (0.3, 0.3, 0.3, 0.3)
_TOLERANCE = 0.04


def _pair(gain: float, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """PAN [1, 1, H, W] and an MS image [1, 4, h, w] of PAN's own detail, blurred with ``gain``."""
    pan = torch.from_numpy(procedural_scene(seed=seed, size=_SIZE, bands=4, ratio=_RATIO)[0])
    pan = pan.float()[None]
    slopes = torch.tensor([0.4, 0.6, 0.8, 1.1])[None, :, None, None]
    return pan, degrade_ms(200 + slopes * pan, (gain,) * 4, _RATIO)


@settings(max_examples=8, deadline=None)
@given(gain=st.floats(0.12, 0.5), seed=st.integers(0, 3))
def test_the_gain_that_degraded_the_bands_is_found(gain, seed):
    assert measured_gain([_pair(gain, seed)], _PHASE) == pytest.approx(gain, abs=_TOLERANCE)


def test_bands_keep_their_proportions():
    pan, ms = _pair(0.2)
    gains = sensor_for("qb", 4, _RATIO).ms_gains
    found = measured_gains([(pan, ms)], gains, _PHASE)
    assert sum(found) / 4 == pytest.approx(0.2, abs=_TOLERANCE)
    ratios = [one / other for one, other in zip(found, gains, strict=True)]
    assert max(ratios) == pytest.approx(min(ratios))


def test_a_shift_of_pan_that_is_known_changes_nothing():
    pan, ms = _pair(0.25)
    moved = shift(pan, 1.0, -0.7)
    found = measured_gain([(moved, ms)], _PHASE, (1.0, -0.7))
    assert found == pytest.approx(0.25, abs=_TOLERANCE)


@pytest.mark.parametrize("phase", [(0.0, 0.0), (1.5, 1.5), (3.0, 1.0)])
def test_the_phase_of_the_decimation_changes_nothing(phase):
    pan, _ = _pair(0.25)
    seen = shift(pan, *(2 - at for at in phase))
    ms = degrade_ms(seen.expand(-1, 4, -1, -1), (0.25,) * 4, _RATIO)
    assert measured_gain([(pan, ms)], phase) == pytest.approx(0.25, abs=_TOLERANCE)


def test_windows_are_measured_together():
    windows = [_pair(0.15, seed=1), _pair(0.35, seed=1)]
    assert 0.15 < measured_gain(windows, _PHASE) < 0.35


def test_images_that_have_nothing_in_common_leave_the_sensors_gains():
    pan, _ = _pair(0.3)
    noise = 100 + torch.rand(1, 4, _SIZE // _RATIO, _SIZE // _RATIO)
    assert measured_gains([(pan, noise)], _NOMINAL, _PHASE) == _NOMINAL


@pytest.mark.parametrize("flat", ["pan", "ms"])
def test_constant_images_leave_the_sensors_gains(flat):
    pan, ms = _pair(0.3)
    pan, ms = (torch.full_like(pan, 300.0), ms) if flat == "pan" else (pan, 0 * ms + 300)
    assert measured_gains([(pan, ms)], _NOMINAL, _PHASE) == _NOMINAL


def test_a_measurement_far_from_the_sensor_is_held_back():
    pan, ms = _pair(0.5)
    assert measured_gains([(pan, ms)], (0.2,) * 4, _PHASE) == pytest.approx((0.32,) * 4)

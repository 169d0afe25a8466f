"""Pairs of any band count at any ratio, with weights for any."""

import numpy as np
import pytest
import torch

from ksdiff import KSDiffError, Sharpener
from ksdiff.models.ksdiff import KSDiff
from tests.support.models import any_bands_config


@pytest.fixture(scope="module")
def model() -> KSDiff:
    torch.manual_seed(0)
    return KSDiff(any_bands_config())


def _pair(bands: int, ratio: int, rows: int = 66, columns: int = 70):
    rng = np.random.default_rng(0)
    ms = rng.uniform(100, 900, (bands, rows, columns)).astype(np.float32)
    pan = np.kron(ms.mean(0), np.ones((ratio, ratio), dtype=np.float32))
    return pan + rng.normal(0, 10, pan.shape).astype(np.float32), ms


@pytest.mark.parametrize(
    ("bands", "ratio"), [(1, 4), (2, 3), (3, 2), (5, 5), (6, 6), (7, 7), (10, 8)]
)
def test_a_pair_is_sharpened_whatever_its_bands_and_ratio(model, bands, ratio):
    pan, ms = _pair(bands, ratio)
    fused = Sharpener(model).sharpen(pan, ms)
    assert fused.shape == (bands, *pan.shape)
    assert np.isfinite(fused).all()


@pytest.mark.parametrize("ratio", [3, 4, 5])
def test_windows_leave_no_seam(model, ratio):
    pan, ms = _pair(2, ratio, 1200 // ratio, 300 // ratio)
    whole = Sharpener(model, tile=1280).sharpen(pan, ms)
    cut = Sharpener(model, tile=256).sharpen(pan, ms)
    # At the scene's right and lower rim the windows end at different distances from it.
    inner = (..., slice(None, -40), slice(None, -40))
    np.testing.assert_allclose(cut[inner], whole[inner], rtol=0.02, atol=2)


def test_what_is_told_of_pan_changes_the_amount_of_detail(model):
    pan, ms = _pair(3, 4)
    soft, sharp = (Sharpener(model, pan_gain=told).sharpen(pan, ms) for told in ("0.1", "bicubic"))
    assert np.abs(soft - sharp).max() > 1


@pytest.mark.parametrize("told", ["sharp", "1.5", "-1", "nan"])
def test_a_wrong_gain_of_pan_is_refused(told):
    with pytest.raises(KSDiffError, match="pan_gain: expected auto, bicubic or a number"):
        Sharpener(pan_gain=told)


@pytest.mark.parametrize("ratio", [1, 9])
def test_other_ratios_are_refused(model, ratio):
    pan, ms = _pair(3, ratio)
    with pytest.raises(KSDiffError, match=r"2 to 8|2, 3"):
        Sharpener(model).sharpen(pan, ms)


def test_band_names_of_the_file_choose_the_sensors_bands(model, tmp_path):
    from ksdiff.images.pair import ArrayPair

    pan, ms = _pair(3, 2)
    pair = ArrayPair(pan, ms)
    pair.descriptions = ("Red", "Green", "Blue")
    sensor = Sharpener(model, sensor="landsat8").prepare(pair).sensor
    assert sensor.band_names == ("red", "green", "blue")
    pair.descriptions = (None, None, None)
    with pytest.raises(KSDiffError, match="landsat8 has 7 bands"):
        Sharpener(model, sensor="landsat8").prepare(pair)

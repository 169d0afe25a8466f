import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ksdiff.models.injection import hpm_detail
from ksdiff.sensors import SENSORS
from ksdiff.training.scenarios import RATIOS, Scenario, Scenarios
from ksdiff.training.sources import Source, degraded_pans, halved, southern


def _image(bands: int, side: int, seed: int) -> torch.Tensor:
    """Blobs of many sizes, in bands that share most of them."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.zeros(bands, side, side)
    for size in (2, 4, 8, 16, 32):
        shared = torch.rand(1, 1, side // size + 2, side // size + 2, generator=generator)
        own = torch.rand(1, bands, side // size + 2, side // size + 2, generator=generator)
        scaled = torch.nn.functional.interpolate(
            0.8 * shared + 0.2 * own, size=(side, side), mode="bicubic"
        )
        image += scaled[0] * size**0.5
    return 100 * image


def _sources(side: int = 256) -> list[Source]:
    alone = Source("alone", "a", _image(4, side, 1), SENSORS["gf2"].wavelengths, (0.3,) * 4)
    pan = _image(4, 4 * side, 2)
    ms = torch.nn.functional.avg_pool2d(pan[None], 4)[0]
    pans, told = degraded_pans(pan.mean(0)[None, None], 4)
    pair = Source("pair", "b", ms, (None,) * 4, (0.3,) * 4, pans, told)
    return [alone, halved(alone), pair]


@pytest.fixture(scope="module")
def scenarios() -> Scenarios:
    return Scenarios(_sources())


def _rngs(count: int, seed: int = 0) -> list[np.random.Generator]:
    return [np.random.default_rng((seed, index)) for index in range(count)]


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 10), st.sampled_from(RATIOS), st.integers(0, 7), st.booleans())
def test_any_bands_at_any_ratio_give_finite_aligned_samples(bands, ratio, turn, centred):
    scenario = Scenario(bands, ratio)
    inputs, gt = _made(scenario, turn, centred)
    size = scenario.crop
    assert size % 8 == 0 and size % ratio == 0
    assert gt.shape == inputs.lms.shape == inputs.pan_low.shape == (4, bands, size, size)
    assert inputs.pan.shape == (4, 1, size, size)
    for part in (*inputs, gt):
        assert part.isfinite().all()
    inner = (..., slice(8, -8), slice(8, -8))
    missing, detail = (gt - inputs.lms)[inner], hpm_detail(inputs)[inner]
    # PAN's detail is where the truth's is: the images lie upon each other.
    pairs = torch.stack((missing.flatten(), detail.flatten()))
    assert torch.corrcoef(pairs)[0, 1] > 0.5


_SHARED: list[Scenarios] = []


def _made(scenario: Scenario, turn: int, centred: bool):
    if not _SHARED:
        _SHARED.append(Scenarios(_sources()))
    return _SHARED[0].batch(scenario, turn, centred, _rngs(4))


def test_a_part_of_a_batch_holds_the_same_samples(scenarios):
    scenario = Scenario(3, 4)
    whole = scenarios.batch(scenario, 5, True, _rngs(4))
    part = scenarios.batch(scenario, 5, True, _rngs(4)[2:])
    torch.testing.assert_close(part.gt, whole.gt[2:])
    torch.testing.assert_close(part.inputs.pan, whole.inputs.pan[2:], rtol=1e-4, atol=1e-4)


def test_scenarios_cover_every_ratio_and_one_to_ten_bands():
    rng = np.random.default_rng(0)
    drawn = [Scenario.drawn(rng) for _ in range(600)]
    assert {scenario.ratio for scenario in drawn} == set(RATIOS)
    assert {1, 2, 3, 4, 5, 6, 7, 8, 10} == {scenario.bands for scenario in drawn}


def test_a_place_is_split_with_a_gap():
    source = _sources()[0]
    north, south = southern(source, 1 / 3, False), southern(source, 1 / 3, True)
    rows = source.bands.shape[1]
    assert north.bands.shape[1] + south.bands.shape[1] <= rows - 40
    torch.testing.assert_close(south.bands, source.bands[:, -south.bands.shape[1] :])


def test_halving_keeps_the_mean_and_offers_bicubic_pans():
    source = _sources()[0]
    half = halved(source)
    assert half.bands.shape[-1] == source.bands.shape[-1] // 2
    assert half.bands.mean().item() == pytest.approx(source.bands.mean().item(), rel=0.02)
    assert half.crisp.shape == half.bands.shape

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ksdiff.config import DataConfig
from ksdiff.errors import KSDiffError
from ksdiff.images.expansion import expand
from ksdiff.images.inputs import SceneStatistics, fusion_inputs, to_dn
from ksdiff.images.shifts import estimate_shift
from ksdiff.images.wald import degrade_ms
from ksdiff.io.pancollection import PanCollection
from ksdiff.training.augment import collate, sample
from ksdiff.training.pairs import CollectionPairs, TruthPair, degraded_pair, halved_pair, load_pairs
from tests.support.pancollection import patches, write_h5

GAINS = (0.3,) * 4


@pytest.fixture(scope="module")
def truth(scene) -> TruthPair:
    pan, ms, gt = (torch.from_numpy(np.asarray(image)).float()[None] for image in scene)
    return TruthPair("procedural", pan, gt, ms, (2.0, 2.0), GAINS, 4)


def test_statistics_are_those_of_the_valid_pixels():
    pan, ms = torch.rand(1, 32, 32) + 1, torch.rand(3, 8, 8) + 1
    valid = torch.rand(8, 8) > 0.4
    statistics = SceneStatistics.of(pan, ms, valid)
    chosen = ms[:, valid]
    torch.testing.assert_close(statistics.ms_mean[0], chosen.mean(1))
    torch.testing.assert_close(statistics.contrast[0], chosen.std(1, correction=0) / chosen.mean(1))
    low = F.avg_pool2d(pan, 4)[:, valid]
    torch.testing.assert_close(statistics.pan_std[0], low.std(1, correction=0))


def test_a_constant_scene_gives_finite_inputs():
    pan, ms = torch.full((1, 1, 64, 64), 7.0), torch.zeros(1, 4, 16, 16)
    inputs = fusion_inputs(pan, ms, GAINS, 4, None, SceneStatistics.of(pan[0], ms[0]))
    assert all(tensor.isfinite().all() for tensor in inputs if tensor is not None)


def test_normalising_forgets_gain_and_offset_of_pan_and_gain_of_ms(truth):
    pan, ms = truth.pans, truth.ms
    first = fusion_inputs(pan, ms, GAINS, 4, None, SceneStatistics.of(pan[0], ms[0]))
    pan, ms = 3 * pan + 50, ms * torch.tensor([1.0, 2.0, 4.0, 0.5]).view(1, 4, 1, 1)
    second = fusion_inputs(pan, ms, GAINS, 4, None, SceneStatistics.of(pan[0], ms[0]))
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)


def test_dn_come_back(truth):
    statistics = SceneStatistics.of(truth.pans[0], truth.ms[0])
    inputs = fusion_inputs(truth.pans, truth.ms, GAINS, 4, None, statistics, "circular")
    torch.testing.assert_close(
        to_dn(inputs.lms, statistics), expand(truth.ms, 4), rtol=1e-4, atol=1e-2
    )


def test_scenes_without_truth_are_degraded_and_registered(scene, write, tmp_path):
    from tests.support import PAN_GRID

    pan, ms, _ = scene
    write("a_pan", pan)
    write("a_ms", ms, PAN_GRID @ PAN_GRID.scale(4, 4))
    pair = load_pairs(tmp_path, 4)[0]
    assert pair.gt.shape == (1, 4, 64, 64)
    assert pair.pans.shape[1:] == (1, 64, 64)
    np.testing.assert_allclose(pair.gt[0], ms, rtol=1e-5)
    for variant in pair.pans:
        seen = degrade_ms(pair.gt, GAINS, 2)
        found = estimate_shift(variant[None], seen, GAINS, (1, 1))
        assert found == pytest.approx((0, 0), abs=0.2)
    # Sharpest first: bicubic keeps more detail than any MTF.
    detail = [float(variant.std()) for variant in pair.pans]
    assert detail[0] == max(detail)


def test_halved_scenes_stand_beside_the_others_where_they_are_large_enough(scene, write, tmp_path):
    from tests.support import PAN_GRID

    pan, ms, _ = scene
    write("a_pan", pan)
    write("a_ms", ms, PAN_GRID @ PAN_GRID.scale(4, 4))
    whole, half = load_pairs(tmp_path, 4, least_side=32, halved=True, bicubic_pan=False)
    assert whole.gt.shape == (1, 4, 64, 64) and half.gt.shape == (1, 4, 32, 32)
    assert len(whole.pans) == len(half.pans) == 3  # MTFs only
    np.testing.assert_allclose(half.gt.mean(), whole.gt.mean(), rtol=1e-2)
    assert len(load_pairs(tmp_path, 4, least_side=48, halved=True)) == 1


def test_a_halved_truth_is_as_blurred_as_its_sensors_images(truth):
    scene = truth.pans.expand(-1, 4, -1, -1)
    softer = degrade_ms(scene, (0.15,) * 4, 4)
    pair = degraded_pair("a", truth.pans, softer, (2.0, 2.0), GAINS)
    assert pair.truth_gain == pytest.approx(0.15, abs=0.03)
    # Halved, it is what a sensor of twice the pixel size and a gain of 0.3 would have seen.
    expected = degrade_ms(scene, GAINS, 8)
    half = halved_pair(pair).gt
    assert half.shape == expected.shape
    inner = (..., slice(6, -6), slice(6, -6))
    assert (half - expected)[inner].std() < 0.01 * expected[inner].std()


@pytest.mark.parametrize(("least_gain", "names"), [(0.1, ["a", "a, halved"]), (0.5, ["a, halved"])])
def test_a_truth_that_its_optics_have_blurred_serves_halved_only(
    least_gain, names, scene, write, tmp_path
):
    from tests.support import PAN_GRID

    write("a_pan", scene[0])
    write("a_ms", scene[1], PAN_GRID @ PAN_GRID.scale(4, 4))
    pairs = load_pairs(tmp_path, 4, halved=True, least_gain=least_gain)
    assert [pair.name for pair in pairs] == names


def test_folders_that_cannot_train_are_refused(scene, write, tmp_path):
    from tests.support import PAN_GRID

    with pytest.raises(KSDiffError, match="found none"):
        load_pairs(tmp_path, 4)
    write("a_pan", scene[0])
    write("a_ms", scene[1], PAN_GRID @ PAN_GRID.scale(4, 4))
    with pytest.raises(KSDiffError, match="expected scenes of ratio 2, found none"):
        load_pairs(tmp_path, 2)
    with pytest.raises(
        KSDiffError, match="scene a has 64 x 64 pixels, smaller than the crop of 96"
    ):
        load_pairs(tmp_path, 4, least_side=96)
    with pytest.raises(KSDiffError, match=r"data\.exclude: 'b' is not a scene"):
        load_pairs(tmp_path, 4, exclude=("b",))


def test_a_sample_is_decided_by_its_generator(truth):
    first, again, other = (
        sample(truth, DataConfig(), 4, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first.gt, again.gt)
    assert torch.equal(first.inputs.lms, again.inputs.lms)
    assert not torch.equal(first.gt, other.gt)


@pytest.mark.parametrize("delivered", [True, False])
def test_without_variation_a_sample_is_the_scene_itself(truth, delivered):
    still = DataConfig(gain_jitter=0.0, shift_jitter=0.0, radiometric_jitter=0.0)
    pair = truth if delivered else TruthPair("x", truth.pans, truth.gt, None, None, GAINS, 4)
    inner = (..., slice(12, -12), slice(12, -12))
    for seed in range(16):
        one = sample(pair, still, 4, np.random.default_rng(seed))
        # Whatever the flip and the haze, degrading the truth again gives the lms.
        again = expand(degrade_ms(one.gt, GAINS, 4), 4, None, "reflect")
        error = (again - one.inputs.lms)[inner].abs().mean()
        assert error < 0.25 * (one.gt - one.inputs.lms)[inner].abs().mean() + 1e-3


def test_bands_are_mixed_to_the_count_asked_for(truth):
    mixed = sample(truth, DataConfig(), 8, np.random.default_rng(0))
    assert mixed.gt.shape == (1, 8, 64, 64)
    assert mixed.inputs.contrast.shape == (1, 8)
    both = collate([mixed, mixed])
    assert both.inputs.pan.shape == (2, 1, 64, 64)


def test_a_pancollection_file_gives_pairs(tmp_path):
    arrays = patches()
    source = CollectionPairs(PanCollection(write_h5(tmp_path / "train.h5", arrays), "wv3"))
    assert len(source) == 3
    pair = source[1]
    assert pair.gt.shape == (1, 8, 64, 64)
    assert pair.phase == (2.0, 2.0)
    np.testing.assert_array_equal(pair.ms[0], arrays["ms"][1].astype("float32"))
    assert sample(pair, DataConfig(), 8, np.random.default_rng(0)).gt.shape == (1, 8, 64, 64)

import itertools
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ksdiff.config import Config, DataConfig, InjectionConfig, ModelConfig
from ksdiff.errors import KSDiffError
from ksdiff.inference.sharpen import Sharpener
from ksdiff.io.geotiff import write_scene
from ksdiff.models.ksdiff import KSDiff
from ksdiff.models.weights import load_weights, save_weights
from ksdiff.synthetic.scene import procedural_scene
from ksdiff.training.adapt import Learner, adapt
from ksdiff.training.band_lessons import BandLessons
from ksdiff.training.lessons import FixedBandLessons, Miss, missed
from tests.support.models import any_bands_config


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scene")
    write_scene(folder, "a", *procedural_scene(seed=4, size=320, bands=4))
    return folder / "a_pan.tif", folder / "a_ms.tif"


@pytest.fixture
def weights(tmp_path):
    """Of a small model whose output a bad head spoils."""
    torch.manual_seed(0)
    config = Config(
        model=ModelConfig(widths=(16,), depths=(1,)), data=DataConfig(detail_gain=(1.0, 1.4))
    )
    model = KSDiff(config.model)
    torch.nn.init.normal_(model.network.head.weight, std=0.05)
    save_weights(tmp_path / "bad.safetensors", model, config)
    return tmp_path / "bad.safetensors"


@pytest.fixture
def paced(monkeypatch, request):
    """Time that is spent by being asked for: the same work however busy the machine is."""
    asked, most = itertools.count(1), getattr(request, "param", 160)
    share = property(lambda clock: next(asked) / most)
    monkeypatch.setattr("ksdiff.training.adapt.Clock.share", share)


def test_adapting_mends_what_the_scene_shows_to_be_wrong(files, weights, tmp_path, paced):
    heard = []
    done = adapt(
        *files,
        weights=weights,
        step=lambda share, loss: heard.append((share, loss)),
    )
    assert done.kept and done.after.improves_on(done.before, 0.1)
    assert heard and all(0 < share <= 1 for share, _ in heard)
    before, after = load_weights(weights)[0], done.model
    assert not torch.equal(before.network.head.weight, after.network.head.weight)


def test_adapted_weights_add_the_whole_residual(files, weights, tmp_path, paced):
    _, config = load_weights(weights)
    shy = replace(config.model, injection=InjectionConfig(mode="off", residual_strength=0.5))
    torch.manual_seed(0)
    model = KSDiff(shy)
    torch.nn.init.normal_(model.network.head.weight, std=0.05)
    save_weights(tmp_path / "shy.safetensors", model, replace(config, model=shy))
    begun = tmp_path / "shy.safetensors"
    done = adapt(*files, weights=begun)
    assert done.kept
    done.save(tmp_path / "out.safetensors")
    assert load_weights(tmp_path / "out.safetensors")[1].model.injection.residual_strength == 1.0
    assert load_weights(begun)[1].model.injection.residual_strength == 0.5


def test_without_a_gain_the_weights_stay_as_they_were(files, weights, tmp_path, paced, monkeypatch):
    monkeypatch.setattr("ksdiff.training.lessons.FixedBandLessons.least_gain", 1.0)
    done = adapt(*files, weights=weights)
    assert not done.kept
    same = zip(load_weights(weights)[0].parameters(), done.model.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in same)


def test_bad_requests_are_refused(files, weights, tmp_path):
    with pytest.raises(KSDiffError, match="minutes: expected more than 0"):
        adapt(*files, weights=weights, minutes=0)
    small = procedural_scene(seed=4, size=128, bands=4)
    write_scene(tmp_path, "b", *small)
    with pytest.raises(KSDiffError, match="128 x 128 PAN pixels in common are too few"):
        adapt(tmp_path / "b_pan.tif", tmp_path / "b_ms.tif", weights=weights)
    eight = procedural_scene(seed=4, size=256, bands=8)
    write_scene(tmp_path, "c", *(np.asarray(part) for part in eight))
    with pytest.raises(KSDiffError, match="for 4 bands at ratio 4, but the scene has 8"):
        adapt(tmp_path / "c_pan.tif", tmp_path / "c_ms.tif", weights=weights)


def test_the_lesson_is_learnt_from_once_it_has_judged(files, weights, tmp_path, paced, monkeypatch):
    widths = []
    reduced = FixedBandLessons.reduced

    def watched(lessons):
        widths.append(lessons.pairs[0].gt.shape[-1])
        return reduced(lessons)

    monkeypatch.setattr(FixedBandLessons, "reduced", watched)
    done = adapt(*files, weights=weights)
    assert done.kept and len(widths) == done.steps
    assert widths == sorted(widths) and 2 * widths[0] == widths[-1]


def test_a_miss_is_the_detail_that_lacks_whatever_its_strength():
    torch.manual_seed(0)
    lms = torch.rand(1, 4, 64, 64) + 0.5
    detail, noise = 0.1 * torch.randn(lms.shape), 0.1 * torch.randn(lms.shape)
    strengths = torch.tensor([0.5, 1.0, 2.0, 3.0])[:, None, None]
    missing = lambda added: missed(lms + added, lms + detail, lms)[0]  # noqa: E731
    assert missing(strengths * detail) == pytest.approx(0, abs=1e-5)
    assert missing(noise) == pytest.approx(1, abs=0.01)
    assert missing(detail + noise) == pytest.approx(0.5, abs=0.03)
    assert missed(lms + detail, lms + detail, lms)[1] == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize(
    "after, better",
    [
        (Miss(0.4, 2.0), True),
        (Miss(0.4, 2.01), False),
        (Miss(0.51, 1.0), False),
        (Miss(0.499, 2.0), False),
    ],
)
def test_both_detail_and_angle_decide(after, better):
    assert after.improves_on(Miss(0.5, 2.0), 0.01) == better


def test_a_single_band_is_judged_by_its_detail():
    assert Miss(0.4, 0.0).improves_on(Miss(0.5, 0.0), 0.1)


@pytest.fixture(scope="module")
def triple(tmp_path_factory):
    """A pair of three bands at ratio 2."""
    folder = tmp_path_factory.mktemp("triple")
    pan, ms, _ = procedural_scene(seed=4, size=256, bands=3, ratio=2)
    write_scene(folder, "t", pan, ms)
    return folder / "t_pan.tif", folder / "t_ms.tif"


@pytest.mark.parametrize("paced", [56], indirect=True)
def test_weights_for_any_bands_adapt_to_a_scene_and_stay_usable_for_others(triple, tmp_path, paced):
    torch.manual_seed(0)
    config = Config(model=any_bands_config(), data=DataConfig())
    model = KSDiff(config.model)
    torch.nn.init.normal_(model.network.head.basis, std=0.05)
    save_weights(tmp_path / "any.safetensors", model, config)
    done = adapt(*triple, weights=tmp_path / "any.safetensors", pan_gain="0.3")
    assert done.kept and done.after.improves_on(done.before, BandLessons.least_gain)
    fused = Sharpener(done.model).sharpen(torch.rand(64, 64), torch.rand(5, 16, 16))
    assert fused.shape == (5, 64, 64)


@pytest.mark.parametrize("taken", [0.0, 0.5, 1.0])
def test_a_share_of_what_was_learnt_is_taken_over(taken):
    lessons = SimpleNamespace(taken=taken)
    model = KSDiff(any_bands_config())
    learner = Learner(model, lessons)
    for parameter in learner.average.module.parameters():
        parameter.data.add_(1.0)
    pairs = zip(model.parameters(), learner.learnt.parameters(), strict=True)
    for first, now in pairs:
        torch.testing.assert_close(now, first + taken)

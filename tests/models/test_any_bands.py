import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ksdiff.config import InjectionConfig
from ksdiff.errors import KSDiffError
from ksdiff.images.descriptors import BAND_FEATURES, SCENE_FEATURES
from ksdiff.images.inputs import FusionInputs
from ksdiff.models.injection import hpm_detail
from ksdiff.models.ksdiff import KSDiff
from tests.support.models import any_bands_config

_CONFIG = any_bands_config()


def _inputs(bands: int, batch: int = 2, size: int = 32, seed: int = 0) -> FusionInputs:
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(shape, generator=generator)  # noqa: E731
    return FusionInputs(
        pan=draw(batch, 1, size, size),
        pan_low=draw(batch, bands, size, size),
        lms=1 + 0.3 * draw(batch, bands, size, size),
        contrast=0.3 + 0.05 * draw(batch, bands),
        spread=0.4 + 0.05 * draw(batch, bands),
        descriptors=draw(batch, bands, BAND_FEATURES),
        scene=draw(batch, SCENE_FEATURES),
    )


def _model(trained: bool = True) -> KSDiff:
    torch.manual_seed(0)
    model = KSDiff(_CONFIG)
    if trained:  # the head starts at zero, and would hide what comes before it
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
    return model.eval()


def _ordered(inputs: FusionInputs, order) -> FusionInputs:
    bands = {name: getattr(inputs, name)[:, order] for name in _OF_BANDS}
    return inputs._replace(**bands)


_OF_BANDS = ("pan_low", "lms", "contrast", "spread", "descriptors")


@settings(max_examples=10, deadline=None)
@given(st.permutations(range(5)), st.integers(0, 99))
def test_permuted_bands_permute_the_result(order, seed):
    model, inputs = _model(), _inputs(5, seed=seed)
    with torch.no_grad():
        fused = model(inputs, model.target_prior(inputs, inputs.lms))
        turned = _ordered(inputs, list(order))
        other = model(turned, model.target_prior(turned, turned.lms))
    torch.testing.assert_close(other, fused[:, list(order)], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("bands", [1, 2, 3, 7, 10, 16])
def test_one_model_takes_any_number_of_bands(bands):
    model, inputs = _model(), _inputs(bands)
    with torch.no_grad():
        fused = model.fuse(inputs, model.estimate_kernels(inputs, torch.Generator().manual_seed(0)))
    assert fused.shape == inputs.lms.shape
    assert fused.isfinite().all()


def test_untrained_it_is_high_pass_modulation():
    model, inputs = _model(trained=False), _inputs(3)
    with torch.no_grad():
        fused = model(inputs, model.target_prior(inputs, inputs.lms))
    gain = (fused - inputs.lms) / hpm_detail(inputs)
    assert gain.median() == pytest.approx(1.0, abs=0.3)
    torch.testing.assert_close(
        gain, gain.mean((2, 3), keepdim=True).expand_as(gain), rtol=1e-2, atol=1e-2
    )


def test_a_sample_does_not_depend_on_its_batch():
    model, inputs = _model(), _inputs(4, batch=3)
    with torch.no_grad():
        together = model(inputs, model.target_prior(inputs, inputs.lms))
        first = inputs.first()
        alone = model(first, model.target_prior(first, first.lms))
    torch.testing.assert_close(alone, together[:1], rtol=1e-4, atol=1e-4)


def test_every_parameter_of_both_stages_is_trained():
    model, inputs = _model().train(), _inputs(4)
    target = model.target_prior(inputs, inputs.lms.roll(1, 3))
    condition = model.condition(inputs)
    prior = model.sample_prior(condition, torch.randn_like(target), 2)
    loss = model(inputs, prior).square().mean() + model(inputs, target).square().mean()
    loss.backward()
    without = [name for name, p in model.named_parameters() if p.grad is None]
    assert without == []


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("ratio", 4, "model.ratio: with bands: any expected any, got 4"),
        ("network", "dicnn", "model.network: with bands: any expected pannext-u"),
        ("injection", InjectionConfig(), "model.injection.mode: with bands: any expected off"),
    ],
)
def test_what_cannot_take_any_bands_is_refused(field, value, message):
    from dataclasses import replace

    with pytest.raises(KSDiffError, match=message):
        KSDiff(replace(_CONFIG, **{field: value}))

import torch

from ksdiff.images.descriptors import BAND_FEATURES, SCENE_FEATURES, described
from ksdiff.images.inputs import FusionInputs, scene_inputs
from ksdiff.images.wald import degrade_ms
from ksdiff.synthetic.scene import procedural_scene


def _windows(bands: int = 4) -> tuple[FusionInputs, tuple[float, ...]]:
    torch.manual_seed(0)
    gt = torch.rand(1, bands, 96, 96).cumsum(-1).cumsum(-2) % 7 + 1
    pan = gt.mean(1, keepdim=True)
    gains = (0.3,) * bands
    inputs, _ = scene_inputs(pan, degrade_ms(gt, gains, 4), gains, 4, (2, 2))
    return inputs, gains


def test_shapes_and_finite_values_whatever_is_unknown():
    inputs, gains = _windows()
    for wavelengths, pan_gain, off in (
        ((None,) * 4, None, None),
        (((450, 520), (520, 600), (630, 690), (760, 900)), 0.15, 0.2),
        (((450, 520), None, (630, 690), None), "bicubic", None),
    ):
        seen = described(inputs, 4, wavelengths, gains, pan_gain, off)
        assert seen.descriptors.shape == (1, 4, BAND_FEATURES)
        assert seen.scene.shape == (1, SCENE_FEATURES)
        assert seen.descriptors.isfinite().all() and seen.scene.isfinite().all()


def test_bands_are_described_one_by_one():
    inputs, gains = _windows()
    wavelengths = ((450, 520), (520, 600), (630, 690), (760, 900))
    seen = described(inputs, 4, wavelengths, gains, 0.15)
    order = [2, 0, 3, 1]
    turned = inputs._replace(
        lms=inputs.lms[:, order], pan_low=inputs.pan_low[:, order], spread=inputs.spread[:, order]
    )
    other = described(turned, 4, [wavelengths[i] for i in order], gains, 0.15)
    torch.testing.assert_close(other.descriptors, seen.descriptors[:, order])
    torch.testing.assert_close(other.scene, seen.scene)


def test_a_constant_pan_has_no_slope_and_says_nothing_wrong():
    inputs, gains = _windows()
    flat = inputs._replace(pan=torch.zeros_like(inputs.pan), pan_low=torch.zeros_like(inputs.lms))
    seen = described(flat, 4, (None,) * 4, gains, None)
    torch.testing.assert_close(seen.contrast, inputs.spread)
    assert seen.descriptors.isfinite().all()


def test_a_drawn_scene_has_correlated_detail():
    pan, ms, _ = procedural_scene(0, 256, 4, 4)
    pan, ms = (torch.as_tensor(image).float()[None] for image in (pan, ms))
    inputs, _ = scene_inputs(pan.reshape(1, 1, *pan.shape[-2:]), ms, (0.3,) * 4, 4, (2, 2))
    seen = described(inputs, 4, (None,) * 4, (0.3,) * 4, 0.15)
    correlation = seen.descriptors[0, :, -3]
    assert (correlation.abs() <= 1).all() and correlation.max() > 0.3

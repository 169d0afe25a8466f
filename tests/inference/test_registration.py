import numpy as np
import pytest
import torch

from ksdiff import KSDiffError, Sharpener
from ksdiff.images.pair import ArrayPair
from ksdiff.images.translation import shift
from ksdiff.io.rasters import open_pair
from tests.support.registration import PHASE, drawn, smooth_shifts, undoing, warped

SIZE = 512


@pytest.fixture(scope="module")
def images():
    return drawn(5, SIZE)


def registered(pan, ms, **options):
    return Sharpener(method="exp", **options).prepare(ArrayPair(pan, ms, PHASE))


def missed(scene, shifts):
    """PAN pixels by which the field is off the truth, the median over the scene."""
    places = np.stack(np.meshgrid(*[np.linspace(20, SIZE - 20, 25)] * 2, indexing="ij"), -1)
    places = places.reshape(-1, 2)
    return np.median(np.abs(scene.registration.field.at(places) - undoing(shifts, places)).max(1))


@pytest.mark.parametrize("off", [(15.0, -9.3), (-4.6, 5.2), (0.4, -0.7)])
def test_one_shift_is_found(images, off):
    pan, ms = images
    scene = registered(shift(pan[None], *off)[0], ms)
    np.testing.assert_allclose(scene.shift, off, atol=0.12)
    assert scene.registration.field is None and scene.registration.note is None
    inner = (..., slice(32, -32), slice(32, -32))
    straight = scene.pair.read().pan[0][inner]
    assert (straight - pan[inner]).std() < 0.1 * pan[inner].std()


def test_what_may_be_left_of_a_shift_is_told_to_networks_for_any_bands(images):
    pan, ms = images
    pair = ArrayPair(shift(pan[None], 0.4, -0.7)[0], ms, PHASE)
    sharpener = Sharpener("ksdiff-s")
    scene = sharpener.prepare(pair)
    assert 0 < scene.registration.remaining < 0.1
    unknown = sharpener.with_options(registration="off").prepare(pair)
    assert unknown.registration.remaining is None
    left = [one.inputs.scene[..., 6].unique().tolist() for one in (scene, unknown)]
    assert left == [[pytest.approx(scene.registration.remaining)], [0.0]]


def test_a_registered_pair_stays_as_it_is(images):
    scene = registered(*images)
    assert scene.registration.move is None
    assert torch.equal(scene.pair.read().pan[0], images[0])


@pytest.mark.parametrize(("seed", "mode"), [(1, "auto"), (2, "local")])
def test_a_shift_that_varies_is_found_and_undone(images, seed, mode):
    pan, ms = images
    shifts = smooth_shifts(seed, SIZE, 6.0)
    moved = warped(pan, shifts)
    scene = registered(moved, ms, registration=mode)
    assert missed(scene, shifts) < 0.2
    assert "over the scene" in scene.registration.told
    inner = (..., slice(48, -48), slice(48, -48))
    errors = [
        (image[inner] - pan[inner]).square().mean() for image in (scene.pair.read().pan[0], moved)
    ]
    assert errors[0] < 0.1 * errors[1]


def test_windows_of_a_varying_shift_leave_no_seams(images):
    pan, ms = images
    moved = warped(pan, smooth_shifts(1, SIZE, 4.0))
    fused = [
        Sharpener(method="mtf-glp-hpm", tile=tile).sharpen(moved, ms, PHASE) for tile in (256, 768)
    ]
    assert (fused[0] - fused[1]).abs().max() < 0.02 * ms.std()


def test_one_shift_does_not_follow_a_field_and_says_so(images):
    pan, ms = images
    moved = warped(pan, smooth_shifts(2, SIZE, 6.0))
    found = registered(moved, ms, registration="shift").registration
    assert found.move is None
    assert "no single shift fits" in found.note


def test_nothing_is_moved_when_off(images):
    pan, ms = images
    moved = shift(pan[None], 3.0, 1.0)[0]
    scene = registered(moved, ms, registration="off")
    assert torch.equal(scene.pair.read().pan[0], moved) and scene.registration.note is None
    with pytest.raises(KSDiffError, match="registration: expected auto, off, shift or local"):
        Sharpener(registration="on")


def test_water_and_cloud_show_nothing(images):
    """PAN and MS have noise of their own; clouds have moved between them."""
    rng = torch.Generator().manual_seed(0)
    pan, ms = drawn(7, SIZE)[0], images[1]
    water = torch.zeros(SIZE // 4, SIZE // 4, dtype=torch.bool)
    water[: SIZE // 8] = True
    flat = [300 + torch.randn(image.shape, generator=rng) for image in (pan, ms)]
    pan = torch.where(water.repeat_interleave(4, 0).repeat_interleave(4, 1), flat[0], pan)
    ms = torch.where(water, flat[1], ms)
    for mode in ("auto", "local"):
        found = registered(pan, ms, registration=mode).registration
        assert found.move is None
        assert "windows" in found.note and "PAN" in found.note


def test_a_field_is_found_beside_water(images):
    pan, ms = (image.clone() for image in images)
    shifts = smooth_shifts(3, SIZE, 5.0)
    pan = warped(pan, shifts)
    rng = torch.Generator().manual_seed(0)
    pan[:, :, : SIZE // 4] = 300 + torch.randn(pan[:, :, : SIZE // 4].shape, generator=rng)
    ms[..., : SIZE // 16] = 300 + torch.randn(ms[..., : SIZE // 16].shape, generator=rng)
    found = registered(pan, ms).registration
    assert 0 < sum(window.trusted for window in found.windows) < len(found.windows)
    places = np.array([[y, x] for y in (100.0, 400.0) for x in (250.0, 450.0)])
    np.testing.assert_allclose(found.field.at(places), undoing(shifts, places), atol=0.3)


def test_too_small_a_scene_stays_as_it_is_and_says_so():
    pan, ms = drawn(5, 160)
    found = registered(shift(pan[None], 1.0, 0.0)[0], ms).registration
    assert found.move is None and "160 PAN pixels" in found.note


def test_a_delivery_whose_shift_varies_is_recognised(real_scenes):
    stem = real_scenes / "train" / "unknown4_utm49n"
    with open_pair(f"{stem}_pan.tif", f"{stem}_ms.tif") as pair:
        found = Sharpener(method="exp").prepare(pair).registration
    (top, bottom), _ = found.field.spread
    assert top == pytest.approx(-1.9, abs=0.3) and bottom == pytest.approx(2.1, abs=0.3)


def test_the_delivery_that_is_off_is_recognised(real_scenes):
    stem = real_scenes / "val" / "qb_b_unregistered"
    with open_pair(f"{stem}_pan.tif", f"{stem}_ms.tif") as pair:
        scene = Sharpener(method="exp", sensor="qb").prepare(pair)
    np.testing.assert_allclose(scene.shift, (-2.15, 2.25), atol=0.3)

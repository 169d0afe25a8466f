import os

import numpy as np
import pytest
import rasterio
import torch
from rasterio.control import GroundControlPoint
from rasterio.env import getenv
from rasterio.rpc import RPC
from rasterio.transform import Affine

from ksdiff import KSDiffError, Sharpener
from ksdiff.images.bands import Moves
from ksdiff.images.pair import ArrayPair
from ksdiff.images.translation import shift
from ksdiff.images.wald import degrade_ms
from ksdiff.inference.preview import Preview
from ksdiff.inference.windows import valid_output
from ksdiff.io.geotiff import write_scene
from ksdiff.io.rasters import open_pair
from ksdiff.sensors import get_sensor
from ksdiff.synthetic.scene import procedural_scene
from tests.support import PAN_GRID, UTM
from tests.support.inference import HighPassModulation

NAMES = ("blue", "green", "red", "nir")


def rmse(a, b) -> float:
    return float(np.sqrt(np.mean((np.asarray(a, dtype=float) - np.asarray(b, dtype=float)) ** 2)))


@pytest.fixture(scope="module")
def large():
    """Procedural pan [1, 448, 448], ms [4, 112, 112] and gt."""
    return procedural_scene(seed=11, size=448, bands=4)


@pytest.fixture
def files(tmp_path, scene):
    write_scene(tmp_path, "a", *scene, descriptions=NAMES)
    return tmp_path / "a_pan.tif", tmp_path / "a_ms.tif", tmp_path / "fused.tif"


def test_fusing_is_nearer_to_the_truth_than_interpolation_in_the_visible(scene, quick):
    pan, ms, gt = scene
    fused = Sharpener(quick).sharpen(pan, ms.astype("float32"), (2, 2))
    blurred = np.kron(ms, np.ones((4, 4)))
    assert fused.dtype == np.float32
    assert rmse(fused[:3], gt[:3]) < 0.5 * rmse(blurred[:3], gt[:3])


def test_the_scene_and_not_the_sensors_name_says_how_blurred_the_ms_is(quick):
    drawn = procedural_scene(seed=3, size=256, bands=4, sensor="wv4")
    pan, ms, _ = (part.astype("float32") for part in drawn)
    one, other = (Sharpener(quick, sensor=name).sharpen(pan, ms, (2, 2)) for name in ("gf2", "wv4"))
    np.testing.assert_allclose(one, other, rtol=1e-3, atol=0.1)


@pytest.mark.parametrize(("side", "seen"), [(200, 200), (256, 224), (448, 224)])
def test_the_prior_does_not_see_what_mirrored_images_made(side, seen, quick, monkeypatch):
    sides = []
    estimate = quick.estimate_kernels

    def watched(inputs, generator=None):
        sides.append(tuple(inputs.pan.shape[-2:]))
        return estimate(inputs, generator)

    monkeypatch.setattr(quick, "estimate_kernels", watched)
    pan, ms, _ = procedural_scene(seed=2, size=side, bands=4)
    Sharpener(quick).sharpen(pan, ms, (2, 2))
    assert sides == [(seen, seen)]


def bands_apart(truth, columns):
    """A truth [1, 8, H, W] whose opposite bands are that many PAN pixels off either way."""
    off = [(0.0, 0.0)] * 8
    for one, other in get_sensor("wv3").opposite_bands:
        off[one], off[other] = (0.0, columns), (0.0, -columns)
    return Moves.by(off, 1.0, truth.device)(truth)


def test_detail_goes_where_each_band_has_it(write, tmp_path):
    pan, _, gt = procedural_scene(seed=3, size=256, bands=8)
    sensor = get_sensor("wv3")
    truth = bands_apart(torch.from_numpy(gt).float()[None], 0.8)
    ms = degrade_ms(truth, sensor.ms_gains, 4)[0].numpy()
    model = HighPassModulation(8)
    inner = (..., slice(32, -32), slice(32, -32))
    errors = {}
    for registration in ("auto", "off"):
        fused = Sharpener(model, registration=registration).sharpen(pan, ms, (2, 2), "wv3")
        errors[registration] = (torch.from_numpy(fused) - truth[0])[inner].square().mean()
    assert errors["auto"] < 0.6 * errors["off"]
    files = write("pan", pan), write("ms", ms, PAN_GRID @ PAN_GRID.scale(4, 4))
    done = Sharpener(model).sharpen_files(*files, tmp_path / "out.tif", sensor="wv3")
    assert done.apart == pytest.approx(1.6, abs=0.3)
    assert Sharpener(model).sharpen_files(*files, tmp_path / "generic.tif").apart == 0


def test_bands_are_left_together_if_wanted():
    pan, _, gt = procedural_scene(seed=3, size=256, bands=8)
    sensor, truth = get_sensor("wv3"), torch.from_numpy(gt).float()[None]
    ms = degrade_ms(bands_apart(truth, 0.8), sensor.ms_gains, 4)[0].numpy()
    inner = (..., slice(32, -32), slice(32, -32))
    errors = {}
    for together in (True, False):
        sharpener = Sharpener(HighPassModulation(8), together=together)
        fused = torch.from_numpy(sharpener.sharpen(pan, ms, (2, 2), "wv3"))
        errors[together] = (fused - truth[0])[inner].square().mean()
    assert errors[True] < 0.6 * errors[False]


def test_windows_leave_no_seams(large, shaken):
    pan, ms, _ = (part.astype("float32") for part in large)
    whole = Sharpener(shaken, tile=512).sharpen(pan, ms, (2, 2))
    tiled = Sharpener(shaken, tile=256).sharpen(pan, ms, (2, 2))
    contrast = ms.std((1, 2))[:, None, None]
    detail = rmse(whole / contrast, np.kron(ms, np.ones((4, 4))) / contrast)
    difference = np.abs(tiled - whole) / contrast
    assert detail > 0.1
    assert difference.max() < 0.02
    assert difference.mean() < 2e-4


@pytest.mark.parametrize("phase", [(2.0, 2.0), (0.0, 0.0), (1.5, 1.5), (1.2, 2.35)])
def test_the_result_lies_where_pan_lies_whatever_the_phase(phase, quick):
    y, x = np.mgrid[:256, :256]

    def image(y, x):
        return 500 + 200 * np.sin(x / 9.0) * np.cos(y / 11.0) + 100 * np.sin((x + y) / 15.0)

    pan = image(y, x)[None]
    at = [np.arange(64) * 4 + start for start in phase]
    ms = np.stack([image(*np.meshgrid(*at, indexing="ij")) * gain for gain in (1, 2, 0.5, 1.5)])
    expected = pan * np.array([1, 2, 0.5, 1.5])[:, None, None]
    inner = (slice(None), slice(40, -40), slice(40, -40))

    def error(off: float) -> float:
        told = (phase[0] + off, phase[1] - off)
        fused = Sharpener(quick).sharpen(pan, ms.astype("float32"), told)
        return rmse(fused[inner], expected[inner])

    assert error(0) < 0.75 * min(error(0.5), error(-0.5))


def test_files_and_arrays_give_the_same(files, scene, shaken):
    pan, ms, out = files
    sharpener = Sharpener(shaken)
    done = sharpener.sharpen_files(pan, ms, out)
    arrays = sharpener.sharpen(torch.from_numpy(scene[0]), torch.from_numpy(scene[1]), (2, 2))
    assert isinstance(arrays, torch.Tensor)
    assert (done.path, done.bands, done.height, done.width) == (out, 4, 256, 256)
    with rasterio.open(out) as file:
        np.testing.assert_array_equal(file.read(), np.clip(np.rint(arrays), 0, 65535))


def test_the_output_keeps_georeference_names_and_data_type(files, quick):
    pan, ms, out = files
    Sharpener(quick).sharpen_files(pan, ms, out)
    with rasterio.open(pan) as panchromatic, rasterio.open(out) as file:
        assert (file.crs, file.transform) == (panchromatic.crs, panchromatic.transform)
        assert file.descriptions == NAMES
        assert set(file.dtypes) == {"uint16"}
        assert file.nodata is None
        assert file.compression.name == "deflate"
        assert file.block_shapes[0] == (512, 512)
        assert file.colorinterp[3].name != "alpha"


def test_the_output_is_cut_to_the_shared_extent(write, scene, quick, tmp_path):
    pan, ms, _ = scene
    pan = write("pan", pan[:, 10:, 6:], PAN_GRID @ Affine.translation(6, 10))
    ms = write("ms", ms[:, :, :50], PAN_GRID @ Affine.translation(0.5, 0.5) @ Affine.scale(4))
    Sharpener(quick).sharpen_files(pan, ms, tmp_path / "out.tif")
    with rasterio.open(tmp_path / "out.tif") as file:
        assert file.shape == (244, 196)
        assert file.transform == PAN_GRID @ Affine.translation(6, 12)


def test_the_same_call_gives_the_same_bytes(files, shaken, tmp_path):
    pan, ms, out = files
    Sharpener(shaken).sharpen_files(pan, ms, out, preview=tmp_path / "a.png")
    Sharpener(shaken).sharpen_files(pan, ms, tmp_path / "again.tif", preview=tmp_path / "b.png")
    assert out.read_bytes() == (tmp_path / "again.tif").read_bytes()
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_the_seed_decides_the_prior(scene, shaken):
    pan, ms, _ = scene
    first, again, other = (
        Sharpener(shaken, seed=seed).sharpen(pan, ms.astype("float32")) for seed in (0, 0, 1)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_sides_that_are_no_multiples_of_eight_are_fused_whole(shaken):
    pan, ms, _ = procedural_scene(1, 272, 4)
    pan, ms = pan[:, :268, :260], ms[:, :67, :65].astype("float32")
    fused = Sharpener(shaken, tile=256).sharpen(pan, ms, (2, 2))
    assert fused.shape == (4, 268, 260)
    assert np.isfinite(fused).all()


def test_ratio_two_is_fused(quick):
    pan, ms, gt = procedural_scene(1, 128, 6, ratio=2)
    fused = Sharpener(HighPassModulation(6, 2)).sharpen(pan, ms.astype("float32"), (1, 1))
    blurred = np.kron(ms, np.ones((2, 2)))
    assert rmse(fused[:3], gt[:3]) < 0.7 * rmse(blurred[:3], gt[:3])


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "float64"])
def test_every_data_type_comes_out_as_it_went_in(write, tmp_path, scene, quick, dtype):
    pan, ms, gt = scene
    scale = 250 / gt.max() if dtype == "uint8" else 1
    grid = PAN_GRID @ Affine.translation(0.5, 0.5) @ Affine.scale(4)
    pan, ms = (pan * scale).astype(dtype), (ms * scale).astype(dtype)
    Sharpener(quick).sharpen_files(write("pan", pan), write("ms", ms, grid), tmp_path / "out.tif")
    with rasterio.open(tmp_path / "out.tif") as file:
        fused = file.read()
    assert fused.dtype == dtype
    assert rmse(fused[:3] / scale, gt[:3]) < 30


@pytest.mark.parametrize("value", [0, 300])
def test_constant_images_stay_constant(value, quick, shaken):
    pan = np.full((128, 128), value, dtype="float32")
    ms = np.full((4, 32, 32), value, dtype="float32")
    np.testing.assert_allclose(Sharpener(quick).sharpen(pan, ms), value, atol=value * 2e-3)
    assert np.isfinite(Sharpener(shaken).sharpen(pan, ms)).all()


def collar(scene, marker: float, dtype="uint16"):
    """The scene with a slanting collar and a hole, marked in both images."""
    pan, ms, gt = (part.astype(dtype) for part in scene)
    y, x = np.mgrid[:64, :64]
    outside = (x + y // 2 < 24) | (np.hypot(y - 40, x - 44) < 5)
    pan[:, outside.repeat(4, 0).repeat(4, 1)] = marker
    ms[:, outside] = marker
    return pan, ms, gt, outside.repeat(4, 0).repeat(4, 1)


def fuse_collar(write, scene, model, marker, **tags):
    pan, ms, gt, outside = collar(scene, marker, tags.pop("dtype", "uint16"))
    grid = PAN_GRID @ Affine.translation(0.5, 0.5) @ Affine.scale(4)
    pan = write(f"pan{marker}", pan, **tags)
    ms = write(f"ms{marker}", ms, grid, **tags)
    out = pan.with_name(f"out{marker}.tif")
    Sharpener(model).sharpen_files(pan, ms, out)
    with rasterio.open(out) as file:
        return file.read(), file.nodata, gt, outside


def test_nodata_stays_nodata_and_what_it_is_makes_no_difference(write, scene, shaken):
    zero, nodata, _, outside = fuse_collar(write, scene, shaken, 0, nodata=0)
    assert nodata == 0
    assert (zero[:, outside] == 0).all() and (zero[:, ~outside] != 0).all()
    high, nodata, _, _ = fuse_collar(write, scene, shaken, 65535, nodata=65535)
    assert nodata == 65535
    assert (high[:, outside] == 65535).all()
    zero, high = (np.clip(fused[:, ~outside], 1, 65534) for fused in (zero, high))
    np.testing.assert_array_equal(zero, high)


def test_nan_stays_nan_without_being_declared(write, scene, quick):
    fused, nodata, _, outside = fuse_collar(write, scene, quick, np.nan, dtype="float32")
    assert np.isnan(nodata)
    assert np.isnan(fused[:, outside]).all() and np.isfinite(fused[:, ~outside]).all()


def test_nodata_is_not_smeared_into_its_neighbours(write, scene, quick):
    fused, _, gt, outside = fuse_collar(write, scene, quick, 0, nodata=0)
    near = np.zeros_like(outside)
    for dy in range(-6, 7, 2):
        for dx in range(-6, 7, 2):
            near |= np.roll(outside, (dy, dx), (0, 1))
    near &= ~outside
    near[:8], near[-8:], near[:, :8], near[:, -8:] = False, False, False, False
    undisturbed = Sharpener(quick).sharpen(scene[0], scene[1].astype("float32"), (2, 2))
    assert rmse(fused[:3][:, near], gt[:3][:, near]) < 1.5 * rmse(
        undisturbed[:3][:, near], gt[:3][:, near]
    )


def test_a_band_without_data_somewhere_leaves_the_others_alone(scene, quick):
    pan, ms, _ = scene
    ms = ms.astype("float32")
    ms[3, 10:20, 10:20] = np.nan
    fused = Sharpener(quick).sharpen(pan, ms, (2, 2))
    assert np.isnan(fused[3, 40:80, 40:80]).all()
    assert np.isnan(fused).sum() == 1600


def test_an_ms_pixel_without_data_covers_the_pixels_nearest_to_it(scene):

    ms = scene[1].astype("float32")
    ms[:, 5, 6] = np.nan
    for phase, first in (((1.5, 1.5), 0), ((2.0, 2.0), 0), ((0.0, 0.0), -2)):
        patch = ArrayPair(scene[0], ms, phase).read()
        lost = (~valid_output(patch, 4, phase)[0]).nonzero()
        assert lost.min(0).values.tolist() == [20 + first, 24 + first]
        assert lost.max(0).values.tolist() == [23 + first, 27 + first]


def test_an_existing_output_is_kept_unless_told_otherwise(files, quick):
    pan, ms, out = files
    out.write_text("precious")
    with pytest.raises(KSDiffError, match=r"exists already.*--overwrite"):
        Sharpener(quick).sharpen_files(pan, ms, out)
    assert out.read_text() == "precious"
    Sharpener(quick).sharpen_files(pan, ms, out, overwrite=True)
    with rasterio.open(out) as file:
        assert file.count == 4


def test_paths_are_checked_before_the_work(files, quick, tmp_path, monkeypatch):
    pan, ms, _ = files
    sharpener = Sharpener(quick)
    monkeypatch.setattr(sharpener, "prepare", lambda *_: pytest.fail("work began"))
    (tmp_path / "plain").write_text("")
    for out, match in (
        (tmp_path / "no" / "out.tif", "there is no folder"),
        (tmp_path / "plain" / "out.tif", "out .*: (there is no folder|cannot be written)"),
        ("/proc/ksdiff.tif", "out /proc/ksdiff.tif: cannot be written"),
        (tmp_path, "is a folder"),
    ):
        with pytest.raises(KSDiffError, match=match):
            sharpener.sharpen_files(pan, ms, out)
    with pytest.raises(KSDiffError, match=r"preview .*there is no folder"):
        sharpener.sharpen_files(pan, ms, tmp_path / "out.tif", preview=tmp_path / "no" / "a.png")
    with pytest.raises(KSDiffError, match="is one of the other files"):
        sharpener.sharpen_files(pan, ms, ms, overwrite=True)
    with pytest.raises(KSDiffError, match="is one of the other files"):
        sharpener.sharpen_files(pan, ms, tmp_path / "o.png", preview=tmp_path / "o.png")


def test_a_failure_in_the_middle_leaves_no_file_and_keeps_the_old_one(files, tmp_path):
    class Failing(HighPassModulation):
        def fuse(self, inputs, kernels):
            raise RuntimeError("no more")

    pan, ms, out = files
    out.write_text("precious")
    with pytest.raises(RuntimeError, match="no more"):
        Sharpener(Failing(4)).sharpen_files(pan, ms, out, overwrite=True)
    assert out.read_text() == "precious"
    assert sorted(os.listdir(tmp_path)) == ["a_gt.tif", "a_ms.tif", "a_pan.tif", "fused.tif"]


def test_what_does_not_read_back_is_not_given_its_name(files, tmp_path, quick, monkeypatch):
    from ksdiff.io import geotiff

    pan, ms, out = files
    answers = iter(range(10))
    monkeypatch.setattr(geotiff, "_checksum", lambda values: next(answers))
    with pytest.raises(KSDiffError, match="does not read back"):
        Sharpener(quick).sharpen_files(pan, ms, out)
    assert not out.exists()


def test_weights_must_fit_the_scene(scene, quick):
    eight = np.repeat(scene[1], 2, 0)
    with pytest.raises(KSDiffError, match=r"for 4 bands at ratio 4.*8 bands at ratio 4"):
        Sharpener(quick).sharpen(scene[0], eight)
    with pytest.raises(KSDiffError, match=r"for 4 bands at ratio 4.*7 bands at ratio 4"):
        Sharpener("ksdiff-s-4band").sharpen(scene[0], eight[:7])


@pytest.mark.parametrize(
    ("choice", "match"),
    [
        ({"device": "tpu"}, "device: expected auto, cpu or cuda"),
        ({"tile": 300}, "tile: expected a multiple of 256"),
        ({"weights": "no-such-weights"}, "neither a file nor bundled"),
    ],
)
def test_wrong_choices_are_refused_at_once(choice, match):
    with pytest.raises(KSDiffError, match=match):
        Sharpener(**choice)


def test_an_unknown_sensor_is_refused(scene, quick):
    with pytest.raises(KSDiffError, match="'landsat99' is not known"):
        Sharpener(quick, sensor="landsat99").sharpen(scene[0], scene[1])


def test_files_without_georeference_are_fused(write, scene, quick, tmp_path):
    pan = write("pan", scene[0], Affine.identity(), None)
    ms = write("ms", scene[1], Affine.identity(), None)
    Sharpener(quick).sharpen_files(pan, ms, tmp_path / "out.tif")
    with rasterio.open(tmp_path / "out.tif") as file:
        assert file.crs is None and file.shape == (256, 256)


def test_control_points_and_rational_polynomials_are_kept(write, scene, quick, tmp_path):
    pan = write("pan", scene[0], Affine.identity(), None)
    ms = write("ms", scene[1], Affine.identity(), None)
    points = [GroundControlPoint(row, column, column, -row) for row in (0, 9) for column in (0, 9)]
    names = ("height", "lat", "line", "long", "samp")
    offsets = {f"{name}_{part}": 45.0 for name in names for part in ("off", "scale")}
    names = ("line_num", "line_den", "samp_num", "samp_den")
    rpcs = RPC(**offsets, **{f"{name}_coeff": [1.0] * 20 for name in names})
    with rasterio.open(pan, "r+") as file:
        file.gcps = (points, UTM)
        file.rpcs = rpcs
    Sharpener(quick).sharpen_files(pan, ms, tmp_path / "out.tif")
    with rasterio.open(tmp_path / "out.tif") as file:
        kept, crs = file.gcps
        assert crs == UTM
        assert [(p.row, p.col, p.x, p.y) for p in kept] == [
            (p.row, p.col, p.x, p.y) for p in points
        ]
        assert file.rpcs.lat_off == 45


def test_real_scenes_come_out_sharper_than_interpolated(real_scenes, tmp_path):
    for name, bands in (("wv3_ipcv_low", 8), ("qb_low_b", 4)):
        stem = real_scenes / "val" / name
        Sharpener(HighPassModulation(bands)).sharpen_files(
            f"{stem}_pan.tif", f"{stem}_ms.tif", tmp_path / f"{name}.tif"
        )
        with (
            rasterio.open(f"{stem}_gt.tif") as truth,
            rasterio.open(tmp_path / f"{name}.tif") as fused,
            open_pair(f"{stem}_pan.tif", f"{stem}_ms.tif") as pair,
        ):
            blurred = np.kron(pair.read().ms[0], np.ones((4, 4)))
            assert fused.crs == UTM
            assert rmse(fused.read(), truth.read()) < 0.8 * rmse(blurred, truth.read())


def test_bfloat16_is_nearly_float32(scene, shaken):
    pan, ms = scene[0], scene[1].astype("float32")
    exact, fast = (
        Sharpener(shaken, precision=precision).sharpen(pan, ms, (2, 2))
        for precision in ("float32", "bfloat16")
    )
    assert fast.dtype == np.float32
    difference = np.abs(fast - exact).mean() / exact.mean()
    assert 0 < difference < 0.01


def test_another_precision_is_refused():
    with pytest.raises(KSDiffError, match="precision: expected float32 or bfloat16, got 'half'"):
        Sharpener(precision="half")


def test_another_contrast_is_refused():
    with pytest.raises(KSDiffError, match="contrast: expected slope or deviations, got 'ratio'"):
        Sharpener(contrast="ratio")


def test_contrast_as_high_pass_modulation_has_it(scene):
    """The ratio of the whole scene's deviations over means, PAN seen on the MS grid."""
    pan, ms = scene[0].astype("float32"), scene[1].astype("float32")
    seen = []

    class Watching(HighPassModulation):
        def fuse(self, inputs, kernels):
            seen.append(inputs.contrast)
            return super().fuse(inputs, kernels)

    for contrast in ("deviations", "slope"):
        Sharpener(Watching(4), contrast=contrast).sharpen(pan, ms, (2, 2))
    expected = torch.from_numpy(ms.std((1, 2)) / ms.mean((1, 2)))
    torch.testing.assert_close(seen[0][0], expected)
    assert not torch.allclose(seen[-1][0], expected, rtol=0.01)


def test_rasters_are_read_through_a_cache_of_many_blocks(files, monkeypatch):
    """rasterio takes its size in bytes, unlike GDAL's own option: 128 held no block."""
    sizes = []
    monkeypatch.setattr(Preview, "write", lambda *_: sizes.append(getenv()["GDAL_CACHEMAX"]))
    Sharpener(HighPassModulation(4)).sharpen_files(*files, preview=files[2].with_suffix(".png"))
    assert 2**26 <= sizes[0] <= 2**28


def test_sharpening_undoes_a_shift(shaken):
    pan, ms, _ = procedural_scene(seed=5, size=320, bands=4)
    pan, ms = (torch.from_numpy(image.astype("float32")) for image in (pan, ms))
    moved = shift(pan[None], -0.6, 0.8)[0]
    straight = Sharpener(shaken, registration="off").sharpen(pan, ms, (2, 2))
    inner = (..., slice(16, -16), slice(16, -16))
    errors = {
        registration: (
            Sharpener(shaken, registration=registration).sharpen(moved, ms, (2, 2)) - straight
        )[inner].std()
        for registration in ("auto", "off")
    }
    assert errors["auto"] < 0.3 * errors["off"]


@pytest.mark.parametrize("units", [False, True])
def test_bfloat16_that_is_emulated_is_told(files, quick, monkeypatch, units):
    told = {"avx512_bf16": units, "amx_bf16": False}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: told, raising=False)
    done = Sharpener(quick, precision="bfloat16", device="cpu").sharpen_files(*files)
    assert any("no units for bfloat16" in note for note in done.notes) != units

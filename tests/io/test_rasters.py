import json
import math

import numpy as np
import pytest
import rasterio
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.transform import Affine

from ksdiff.errors import KSDiffError
from ksdiff.images.pair import ArrayPair
from ksdiff.io.geotiff import write_scene
from ksdiff.io.rasters import open_pair
from ksdiff.io.scenes import list_scenes
from tests.support import PAN_GRID, UTM
from tests.support.rasters import ms_grid, ramp


@pytest.fixture
def pair_of(write):
    def make(pan=None, ms=None, pan_grid=PAN_GRID, grid=None, ms_crs=UTM, **tags):
        pan = write("pan", ramp(1, 128, 160) if pan is None else pan, pan_grid)
        ms = ramp(4, 32, 40) if ms is None else ms
        ms = write("ms", ms, ms_grid() if grid is None else grid, ms_crs, **tags)
        return open_pair(pan, ms)

    return make


def test_a_plain_pair_reads_back_whole(pair_of):
    pan, ms = ramp(1, 128, 160), ramp(4, 32, 40)
    with pair_of(pan, ms) as pair:
        patch = pair.read()
        assert (pair.shape, pair.bands, pair.ratio) == ((128, 160), 4, 4)
        assert pair.phase == (1.5, 1.5)
        assert pair.transform == PAN_GRID
        assert pair.crs == UTM
    np.testing.assert_array_equal(patch.pan[0].numpy(), pan)
    np.testing.assert_array_equal(patch.ms[0].numpy(), ms)
    assert patch.pan_valid.all() and patch.ms_valid.all()


def test_a_window_is_the_same_pixels_as_the_whole(pair_of):
    with pair_of() as pair:
        whole = pair.read()
        patch = pair.read(16, 32, 64, 48)
    assert torch.equal(patch.pan, whole.pan[..., 16:80, 32:80])
    assert torch.equal(patch.ms, whole.ms[..., 4:20, 8:20])


@pytest.mark.parametrize(
    "window", [(2, 0, 64, 64), (0, 0, 63, 64), (0, 0, 132, 64), (-4, 0, 64, 64)]
)
def test_a_window_off_the_grid_is_refused(pair_of, window):
    with pair_of() as pair, pytest.raises(ValueError, match="multiples of 4 within 128 x 160"):
        pair.read(*window)


@pytest.mark.parametrize(
    ("dy", "dx", "phase"),
    [(0.5, 0.5, 2.0), (-1.5, -1.5, 0.0), (0.0, 0.0, 1.5), (0.25, -0.3, None)],
)
def test_the_phase_follows_from_the_transforms_and_costs_no_pixel(pair_of, dy, dx, phase):
    with pair_of(grid=ms_grid(4, dy, dx)) as pair:
        assert pair.shape == (128, 160)
        expected = (phase, phase) if phase is not None else (1.75, 1.2)
        assert pair.phase == pytest.approx(expected, abs=1e-3)


def test_ratio_two_has_its_own_phase(pair_of):
    with pair_of(pan=ramp(1, 64, 80), grid=ms_grid(2)) as pair:
        assert (pair.ratio, pair.phase, pair.shape) == (2, (0.5, 0.5), (64, 80))


@settings(max_examples=60, deadline=None)
@given(
    dy=st.floats(-60, 60),
    dx=st.floats(-60, 60),
    ratio=st.sampled_from([2, 4]),
    pan_shape=st.tuples(st.integers(150, 200), st.integers(150, 200)),
)
def test_phase_and_crop_put_every_ms_pixel_where_the_transforms_do(
    tmp_path_factory, dy, dx, ratio, pan_shape
):
    folder = tmp_path_factory.mktemp("pair")
    ms_shape = (240 // ratio, 220 // ratio)
    for name, shape, grid in (
        ("pan", (1, *pan_shape), PAN_GRID),
        ("ms", (2, *ms_shape), ms_grid(ratio, dy, dx)),
    ):
        profile = {"driver": "GTiff", "count": shape[0], "height": shape[1], "width": shape[2]}
        profile |= {"dtype": "uint16", "transform": grid, "crs": UTM}
        with rasterio.open(folder / f"{name}.tif", "w", **profile) as file:
            file.write(ramp(*shape))
    with open_pair(folder / "pan.tif", folder / "ms.tif") as pair:
        patch = pair.read()
        x, y = ~pair.transform @ (pair.ms_transform @ (0.5, 0.5))
        assert (y - 0.5, x - 0.5) == pytest.approx(pair.phase, abs=1e-3)
        assert all(-0.5 <= at <= ratio - 0.5 for at in pair.phase)
        rows, columns = pair.shape[0] // ratio, pair.shape[1] // ratio
        shared = [
            (min(pan_shape[axis], offset + 240 - 20 * axis) - max(0, offset)) / ratio
            for axis, offset in enumerate((dy, dx))
        ]
        assert shared[0] - 2 < rows <= shared[0] + 1
        assert shared[1] - 2 < columns <= shared[1] + 1
        x, y = ~PAN_GRID @ (pair.transform @ (0, 0))
        expected = ramp(1, *pan_shape)[:, round(y) : round(y) + pair.shape[0]]
        expected = expected[:, :, round(x) : round(x) + pair.shape[1]]
        np.testing.assert_array_equal(patch.pan[0].numpy(), expected)
        x, y = ~ms_grid(ratio, dy, dx) @ (pair.ms_transform @ (0, 0))
        expected = ramp(2, *ms_shape)[:, round(y) : round(y) + rows, round(x) : round(x) + columns]
        np.testing.assert_array_equal(patch.ms[0].numpy(), expected)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "float32", "float64"])
def test_every_real_data_type_is_read_exactly(pair_of, dtype):
    pan = (ramp(1, 128, 160) % 200).astype(dtype)
    with pair_of(pan, (ramp(4, 32, 40) % 200).astype(dtype)) as pair:
        assert pair.dtype == dtype
        np.testing.assert_array_equal(pair.read().pan[0].numpy(), pan.astype("float32"))


def test_nodata_is_masked_per_band_and_reads_as_zero(pair_of):
    ms = ramp(4, 32, 40) % 1000 + 1
    ms[1, 5:8, 6] = 7777
    with pair_of(ms=ms, nodata=7777) as pair:
        patch = pair.read()
        assert pair.nodata == 7777
    assert torch.equal(~patch.ms_valid[0], torch.from_numpy(ms == 7777))
    assert (patch.ms[0, 1, 5:8, 6] == 0).all()


def test_nan_and_infinity_are_invalid_without_being_declared(pair_of):
    pan = ramp(1, 128, 160, "float32")
    pan[0, 3, 4], pan[0, 5, 6] = math.nan, math.inf
    with pair_of(pan=pan) as pair:
        patch = pair.read()
        assert pair.nodata == 0
    assert (~patch.pan_valid).nonzero().tolist() == [[0, 0, 3, 4], [0, 0, 5, 6]]
    assert torch.isfinite(patch.pan).all()


def test_a_mask_beside_the_bands_counts(tmp_path, pair_of):
    with pair_of() as pair:
        assert pair.nodata is None
    mask = np.full((32, 40), 255, dtype=np.uint8)
    mask[:4] = 0
    with rasterio.open(tmp_path / "ms.tif", "r+") as file:
        file.write_mask(mask)
    with open_pair(tmp_path / "pan.tif", tmp_path / "ms.tif") as pair:
        assert not pair.read().ms_valid[0, :, :4].any()
        assert pair.nodata == 0


def test_files_without_georeference_cover_the_same_ground(pair_of):
    with pair_of(pan_grid=Affine.identity(), grid=Affine.identity()) as pair:
        assert (pair.ratio, pair.phase, pair.georeferenced) == (4, (1.5, 1.5), False)


def refused(match: str):
    return pytest.raises(KSDiffError, match=match)


def test_a_missing_file_is_named(write, tmp_path):
    with refused("ms .*nowhere.tif: there is no such file"):
        open_pair(write("pan", ramp(1, 64, 64)), tmp_path / "nowhere.tif")


def test_a_file_that_is_no_raster_is_named(write, tmp_path):
    (tmp_path / "text.tif").write_text("not a raster")
    with refused("pan .*text.tif: not a readable raster"):
        open_pair(tmp_path / "text.tif", write("ms", ramp(4, 16, 16), ms_grid()))


def test_a_truncated_file_is_named_when_it_is_read(tmp_path, pair_of):
    noise = np.random.default_rng(0).integers(0, 4000, (1, 128, 160)).astype("uint16")
    with pair_of(pan=noise):
        pass
    whole = (tmp_path / "pan.tif").read_bytes()
    (tmp_path / "pan.tif").write_bytes(whole[: len(whole) // 2])
    with (
        refused("pan.tif: (cannot be read|not a readable)"),
        open_pair(tmp_path / "pan.tif", tmp_path / "ms.tif") as pair,
    ):
        pair.read()


def test_exchanged_roles_are_recognised_by_bands(write):
    with refused("look exchanged"):
        open_pair(write("ms", ramp(4, 32, 40), ms_grid()), write("pan", ramp(1, 128, 160)))


def test_exchanged_roles_are_recognised_by_pixel_size(pair_of):
    with refused("look exchanged"):
        pair_of(ms=ramp(4, 256, 256), grid=ms_grid(0.25))


def test_band_counts_are_checked(pair_of):
    with refused("pan .*: expected one band, got 2"):
        pair_of(pan=ramp(2, 128, 160))
    with pair_of(ms=ramp(1, 32, 40)) as pair:
        assert pair.bands == 1


def test_complex_values_are_refused(pair_of):
    with refused("band 1 is complex64"):
        pair_of(ms=ramp(4, 32, 40, "complex64"))


def test_different_crs_are_refused_with_both_names(pair_of):
    with refused("EPSG:32631.*EPSG:32632"):
        pair_of(ms_crs=CRS.from_epsg(32632))
    with refused("no coordinate reference system"):
        pair_of(ms_crs=None)


@pytest.mark.parametrize("ratio", [3, 5, 8])
def test_every_whole_ratio_from_two_to_eight_is_taken(pair_of, ratio):
    with pair_of(pan=ramp(1, 32 * ratio, 40 * ratio), grid=ms_grid(ratio)) as pair:
        assert (pair.ratio, pair.shape) == (ratio, (32 * ratio, 40 * ratio))


@pytest.mark.parametrize("ratio", [1, 9, 2.5])
def test_other_ratios_are_refused(pair_of, ratio):
    with refused("expected a whole number from 2 to 8"):
        pair_of(grid=ms_grid(ratio))


def test_ratios_that_differ_between_the_axes_are_refused(pair_of):
    with refused("expected a whole number from 2 to 8"):
        pair_of(grid=PAN_GRID @ Affine.scale(4, 2))


def test_a_nearly_right_ratio_that_drifts_is_refused(pair_of):
    with refused("drift apart by 0.8 PAN pixels"):
        pair_of(grid=ms_grid(4.02))


def test_rotated_grids_are_refused(pair_of):
    with refused("rotated"):
        pair_of(grid=ms_grid() @ Affine.rotation(5))
    with refused("mirrored"):
        pair_of(grid=ms_grid() @ Affine.scale(-1, 1))


def test_grids_rotated_alike_are_fine(pair_of):
    turned = PAN_GRID @ Affine.rotation(20)
    with pair_of(pan_grid=turned, grid=turned @ Affine.scale(4)) as pair:
        assert pair.phase == pytest.approx((1.5, 1.5), abs=1e-3)


def test_no_overlap_shows_both_bounds(pair_of):
    with refused(r"do not overlap .*bounds \(500000, .*\) and \(500500"):
        pair_of(grid=ms_grid(dx=1000))


def test_too_little_overlap_is_refused(pair_of):
    with refused("at least 64 x 64 PAN pixels, got 28 x 160"):
        pair_of(grid=ms_grid(dy=100))


def test_shapes_must_fit_without_georeference(pair_of):
    with refused("exactly 2, 3, ... or 8 times"):
        pair_of(pan=ramp(1, 128, 162), pan_grid=Affine.identity(), grid=Affine.identity())
    with refused("exchanged"):
        pair_of(ms=ramp(4, 512, 640), pan_grid=Affine.identity(), grid=Affine.identity())


def test_one_georeferenced_file_is_not_enough(pair_of):
    with refused("pan.tif: has no georeference"):
        pair_of(pan_grid=Affine.identity())


def test_truth_is_read_on_the_shared_extent(tmp_path, scene):
    pan, ms, gt = scene
    write_scene(tmp_path, "a", pan, ms[:, 4:, 6:], gt, phase=2)
    with rasterio.open(tmp_path / "a_ms.tif", "r+") as file:
        file.transform = file.transform @ Affine.translation(6, 4)
    with open_pair(tmp_path / "a_pan.tif", tmp_path / "a_ms.tif") as pair:
        truth = pair.read_truth(tmp_path / "a_gt.tif")
        assert pair.phase == (2.0, 2.0)
    np.testing.assert_array_equal(truth[0].numpy(), gt[:, 16:, 24:])


def test_truth_on_another_grid_is_refused(tmp_path, scene):
    pan, ms, gt = scene
    write_scene(tmp_path, "a", pan, ms, gt)
    with rasterio.open(tmp_path / "a_gt.tif", "r+") as file:
        file.transform = file.transform @ Affine.translation(0.5, 0)
    with open_pair(tmp_path / "a_pan.tif", tmp_path / "a_ms.tif") as pair:
        with refused("ground truth must lie on the pixel grid"):
            pair.read_truth(tmp_path / "a_gt.tif")
        with refused("ground truth has 1 bands"):
            pair.read_truth(tmp_path / "a_pan.tif")


def test_array_pairs_know_ratio_phase_and_nan(scene):
    pan, ms, _ = scene
    ms = ms.astype("float32")
    ms[2, 3, 4] = np.nan
    pair = ArrayPair(pan[0], ms)
    assert (pair.shape, pair.ratio, pair.bands, pair.phase) == ((256, 256), 4, 4, (1.5, 1.5))
    patch = pair.read(0, 0, 64, 64)
    assert (~patch.ms_valid).nonzero().tolist() == [[0, 2, 3, 4]]
    assert patch.ms[0, 2, 3, 4] == 0


@pytest.mark.parametrize(
    ("pan", "ms", "match"),
    [
        ((2, 64, 64), (4, 16, 16), r"pan: expected an array \[H, W\] or \[1, H, W\]"),
        ((64, 64), (16, 16), "ms: expected an array"),
        ((64, 64), (4, 16, 20), "exactly 2, 3, ... or 8 times"),
        ((32, 32), (4, 8, 8), "at least 64 x 64"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(pan, ms, match):
    with refused(match):
        ArrayPair(np.zeros(pan), np.zeros(ms))


def test_flipped_views_and_lists_are_arrays_too(scene):
    pan, ms, _ = scene
    patch = ArrayPair(pan[0, ::-1, ::-1], ms[:, ::-1, ::-1].tolist()).read()
    np.testing.assert_array_equal(patch.pan[0, 0].numpy(), pan[0, ::-1, ::-1])
    np.testing.assert_array_equal(patch.ms[0].numpy(), ms[:, ::-1, ::-1])


def test_scenes_are_listed_with_sensor_and_truth(tmp_path, scene):
    write_scene(tmp_path, "b", *scene)
    write_scene(tmp_path, "a", *scene[:2])
    (tmp_path / "scenes.json").write_text(json.dumps([{"name": "a", "sensor": "qb"}]))
    first, second = list_scenes(tmp_path)
    assert (first.name, first.sensor, first.gt) == ("a", "qb", None)
    assert (second.name, second.sensor, second.gt) == ("b", None, tmp_path / "b_gt.tif")


def test_folders_without_complete_scenes_are_refused(tmp_path, scene):
    with refused("there is no such folder"):
        list_scenes(tmp_path / "nowhere")
    with refused("found none"):
        list_scenes(tmp_path)
    write_scene(tmp_path, "a", *scene)
    (tmp_path / "scenes.json").write_text("{}]")
    with refused("expected a list of objects with name and sensor"):
        list_scenes(tmp_path)
    (tmp_path / "a_ms.tif").unlink()
    (tmp_path / "scenes.json").unlink()
    with refused("a_ms.tif is missing"):
        list_scenes(tmp_path)


def test_real_scenes_have_the_phase_of_their_kind(real_scenes):
    phases = {"native": None, "wald": 2.0, "wald-0": 0.0, "wald-box": 1.5}
    for part in ("train", "val"):
        for entry in json.loads((real_scenes / part / "scenes.json").read_text()):
            stem = real_scenes / part / entry["name"]
            with open_pair(f"{stem}_pan.tif", f"{stem}_ms.tif") as pair:
                phase = phases[entry["kind"]]
                phase = (entry["ratio"] - 1) / 2 if phase is None else phase
                assert pair.phase == (phase, phase), entry["name"]
                assert list(pair.shape) == entry["pan"], entry["name"]
                assert (pair.bands, pair.ratio) == (entry["bands"], entry["ratio"])

"""Grids that do not fit each other."""

import numpy as np
import pytest
import rasterio
from rasterio.control import GroundControlPoint
from rasterio.transform import Affine
from rasterio.warp import calculate_default_transform

from ksdiff.errors import KSDiffError
from ksdiff.io.geotiff import write_raster
from ksdiff.io.input_options import InputOptions
from ksdiff.io.rasters import open_pair
from tests.support import PAN_GRID, UTM
from tests.support.rasters import ms_grid, rpcs

AUTO = InputOptions(align="auto")


def field(x, y):
    """A smooth ground that any grid can sample."""
    return 2000 + 500 * np.sin(x / 23) * np.cos(y / 29) + 3 * (x - 500_000)


def sampled(grid: Affine, height: int, width: int, crs=UTM) -> np.ndarray:
    columns, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    x, y = grid @ (columns.ravel(), rows.ravel())
    if crs != UTM:
        x, y = map(np.array, rasterio.warp.transform(crs, UTM, x, y))
    return field(x, y).reshape(1, height, width).repeat(2, 0).astype("float32")


def check(pair, least_share=0.5) -> None:
    """MS pixels hold the ground that lies under their blocks of PAN."""
    patch = pair.read()
    truth = sampled(pair.ms_transform, *patch.ms.shape[-2:])
    valid = patch.ms_valid[0].numpy()
    assert valid.mean() > least_share
    inner = np.pad(valid[:, 3:-3, 3:-3], ((0, 0), (3, 3), (3, 3)))
    for axis in (1, 2):  # at the rim the kernel sees half of its pixels
        inner &= np.roll(valid, 3, axis) & np.roll(valid, -3, axis)
    assert np.abs(patch.ms[0].numpy() - truth)[inner].max() < 4


@pytest.mark.parametrize(
    ("grid", "ratio"),
    [
        (ms_grid(2.76), 3),
        (ms_grid(4.02), 4),
        (ms_grid(4, 20, 30) @ Affine.rotation(7), 4),
        (ms_grid(5.3) @ Affine.scale(1, -1) @ Affine.translation(0, -48), 5),
    ],
)
def test_ms_is_put_onto_a_grid_of_whole_ratio(write, grid, ratio):
    pan = write("pan", sampled(PAN_GRID, 256, 256)[:1])
    with open_pair(pan, write("ms", sampled(grid, 64, 64), grid), AUTO) as pair:
        assert pair.ratio == ratio and pair.phase == pytest.approx([(ratio - 1) / 2] * 2)
        assert any("--align off refuses" in note for note in pair.notes)
        assert not pair.masked_by_alpha
        check(pair)


def test_another_reference_system_is_warped(write):
    there = rasterio.crs.CRS.from_epsg(4326)
    grid, width, height = calculate_default_transform(
        UTM, there, 64, 64, 500_000, 5_399_872, 500_128, 5_400_000
    )
    pan = write("pan", sampled(PAN_GRID, 256, 256)[:1])
    with open_pair(
        pan, write("ms", sampled(grid, height, width, there), grid, there), AUTO
    ) as pair:
        check(pair)


def test_nodata_does_not_bleed_when_it_is_resampled(write):
    grid = ms_grid(2.76)
    values = sampled(grid, 64, 64)
    values[:, :20] = 0
    pan = write("pan", sampled(PAN_GRID, 160, 160)[:1])
    for tags in ({"nodata": 0}, {}):
        with open_pair(pan, write("ms", values, grid, **tags), AUTO) as pair:
            check(pair)
            assert pair.nodata == 0


def test_off_refuses_with_the_command(write):
    pan = write("pan", sampled(PAN_GRID, 256, 256)[:1])
    ms = write("ms", sampled(ms_grid(2.5), 64, 64), ms_grid(2.5))
    with pytest.raises(
        KSDiffError, match=r"gdalwarp -t_srs EPSG:32631 -r cubic -te 500000"
    ) as told:
        open_pair(pan, ms, InputOptions(align="off"))
    assert "-ts 80 80" in str(told.value) and str(ms) in str(told.value)


def test_what_lies_elsewhere_or_is_too_coarse_is_refused(write):
    pan = write("pan", sampled(PAN_GRID, 256, 256)[:1])
    far = ms_grid(2.5, dx=9000)
    with pytest.raises(KSDiffError, match="do not overlap: the MS image lies at PAN's rows 0"):
        open_pair(pan, write("ms", sampled(far, 64, 64), far), AUTO)
    with pytest.raises(KSDiffError, match="expected a whole number from 2 to 8"):
        open_pair(pan, write("ms", sampled(ms_grid(11), 64, 64), ms_grid(11)), AUTO)
    with pytest.raises(KSDiffError, match="align: expected auto or off, got 'maybe'"):
        InputOptions(align="maybe")


def unplaced(path, values, step: float, down: float = 0, right: float = 0, **model):
    """A raster that RPC place, or ground control points."""
    model = model or {"rpcs": rpcs(step, down, right)}
    write_raster(path, values, **model)
    return path


def seen(step: float, down: float, right: float, height: int, width: int) -> np.ndarray:
    grid = PAN_GRID @ Affine.translation(right, down) @ Affine.scale(step)
    return sampled(grid, height, width)


def test_rpc_place_an_image_that_has_no_grid(tmp_path):
    """As GF-2's level 1A, of 27620 rows against 4 x 6908."""
    pan = unplaced(tmp_path / "pan.tif", seen(1, 0, 0, 250, 260)[:1], 1)
    ms = unplaced(tmp_path / "ms.tif", seen(4, -3.3, 1.6, 65, 66), 4, -3.3, 1.6)
    with open_pair(pan, ms, AUTO) as pair:
        assert pair.ratio == 4 and not pair.georeferenced
        assert "placed by their RPC" in pair.notes[0] and "PAN is 250x260" in pair.notes[0]
        patch, grid = pair.read(), PAN_GRID @ pair.ms_transform
        truth = sampled(grid, *patch.ms.shape[-2:])
        valid = patch.ms_valid[0, 0].numpy()
        error = np.abs(patch.ms[0].numpy() - truth)[:, 3:-3, 3:-3]
        assert valid[3:-3, 3:-3].all() and error.max() < 4
        kept = pair.rpcs
        assert kept.line_off == pytest.approx(rpcs(1).line_off - pair.transform.f)
    with pytest.raises(
        KSDiffError, match=r"gdalwarp -rpc -to RPC_DEM=DEM.tif -t_srs EPSG:32631 -tr"
    ):
        open_pair(pan, ms, InputOptions(align="off"))


def test_control_points_place_an_image_that_has_no_grid(tmp_path):
    def points(step, down, right, height, width):
        grid = PAN_GRID @ Affine.translation(right, down) @ Affine.scale(step)
        corners = [(0, 0), (0, width), (height, 0), (height, width), (height / 2, width / 3)]
        return [GroundControlPoint(row, col, *(grid @ (col, row))) for row, col in corners], UTM

    pan, ms = tmp_path / "pan.tif", tmp_path / "ms.tif"
    unplaced(pan, seen(1, 0, 0, 250, 260)[:1], 1, gcps=points(1, 0, 0, 250, 260))
    unplaced(ms, seen(4, 5.5, 2.4, 60, 61), 4, gcps=points(4, 5.5, 2.4, 60, 61))
    with open_pair(pan, ms, AUTO) as pair:
        assert pair.ratio == 4 and "their ground control points" in pair.notes[0]
        values = pair.read().ms[0].numpy()
        truth = sampled(PAN_GRID @ pair.ms_transform, *values.shape[-2:])
        assert np.abs(values - truth)[:, 3:-3, 3:-3].max() < 4


def test_images_that_relief_moves_apart_want_orthorectification(tmp_path):
    pan = unplaced(tmp_path / "pan.tif", seen(1, 0, 0, 250, 260)[:1], 1)
    ms = unplaced(tmp_path / "ms.tif", seen(4, 0, 0, 65, 66), 4, rpcs=rpcs(4, tilt=3))
    with pytest.raises(KSDiffError, match=r"relief adds 15.0; orthorectify both, gdalwarp"):
        open_pair(pan, ms, AUTO)


def test_sizes_that_do_not_fit_and_nothing_that_places_them(tmp_path):
    pan, ms = tmp_path / "pan.tif", tmp_path / "ms.tif"
    write_raster(pan, seen(1, 0, 0, 250, 264)[:1])
    write_raster(ms, seen(4, 0, 0, 65, 66))
    with pytest.raises(
        KSDiffError,
        match=r"PAN is 250x264, MS 65x66; if their upper left corners coincide: gdal_translate "
        r"-srcwin 0 0 264 248 .*pan.tif pan_cut.tif && gdal_translate -srcwin 0 0 66 62 .*ms.tif",
    ):
        open_pair(pan, ms, AUTO)


def test_rpc_of_the_ms_are_scaled_to_the_output(tmp_path):
    write_raster(tmp_path / "pan.tif", seen(1, 0, 0, 256, 256)[:1])
    ms = unplaced(tmp_path / "ms.tif", seen(4, 0, 0, 64, 64), 4)
    with open_pair(tmp_path / "pan.tif", ms) as pair:
        scaled, expected = pair.rpcs.to_dict(), rpcs(1).to_dict()
        for key in ("line_off", "samp_off", "line_scale", "samp_scale"):
            unit = expected[key] if "off" in key else 4 * rpcs(4).to_dict()[key]
            assert scaled[key] == pytest.approx(unit, abs=1e-6)


@pytest.mark.parametrize(("dy", "dx"), [(0, 0), (-8, 12), (40, -6), (2, 2)])
def test_a_union_holds_both_images(write, dy, dx):
    pan = write("pan", sampled(PAN_GRID, 120, 130)[:1])
    grid = ms_grid(4, dy, dx)
    ms = write("ms", sampled(grid, 30, 33).astype("uint16"), grid)
    with (
        open_pair(pan, ms, InputOptions(extent="union")) as whole,
        open_pair(pan, ms) as shared,
    ):
        assert whole.phase == shared.phase and whole.nodata == 0
        rows, columns = whole.shape
        corner = ~whole.transform @ (PAN_GRID.c, PAN_GRID.f)
        assert min(corner) >= 0 and rows >= corner[1] + 120 and columns >= corner[0] + 130
        left, top = ~whole.ms_transform @ (grid.c, grid.f)
        height, width = (side // 4 for side in whole.shape)
        assert min(left, top) >= -1e-6 and height >= top + 30 and width >= left + 33
        patch = whole.read()
        assert int(patch.ms_valid[0, 0].sum()) == 30 * 33
        assert int(patch.pan_valid.sum()) == 120 * 130
        at = ~whole.transform @ (shared.transform.c, shared.transform.f)
        x, y = round(at[0]), round(at[1])
        part = patch.pan[..., y : y + shared.shape[0], x : x + shared.shape[1]]
        np.testing.assert_array_equal(part.numpy(), shared.read().pan.numpy())
    with pytest.raises(KSDiffError, match="extent: expected intersection or union, got 'all'"):
        InputOptions(extent="all")

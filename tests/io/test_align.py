"""Grids that do not fit each other."""

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine
from rasterio.warp import calculate_default_transform

from ksdiff.errors import KSDiffError
from ksdiff.io.input_options import InputOptions
from ksdiff.io.rasters import open_pair
from tests.support import PAN_GRID, UTM
from tests.support.rasters import ms_grid

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

import pickle
import threading

import dask
import dask.array as da
import distributed
import numpy as np
import pytest
import rasterio
import rioxarray
import xarray
from dask.callbacks import Callback

from ksdiff import KSDiffError, Sharpener
from ksdiff.io.geotiff import write_scene
from ksdiff.synthetic.scene import procedural_scene
from ksdiff.xarray import sharpen
from tests.support.registration import drawn, smooth_shifts, warped

NAMES = ("blue", "green", "red", "nir")
SIDES = (576, 832)  # three windows of 256 along the shorter side, the last of them 64 pixels


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A scene with a hole in the MS, PAN off by two thirds of a pixel, four bands named."""
    folder = tmp_path_factory.mktemp("scene")
    pan, ms, _ = procedural_scene(seed=3, size=832, bands=4, ratio=4)
    pan, ms = pan[:, : SIDES[0], : SIDES[1]], ms[:, : SIDES[0] // 4, : SIDES[1] // 4].copy()
    pan = (pan.astype(float) * 2 / 3 + np.roll(pan, 2, 2) / 3).round().astype(pan.dtype)
    ms[:, 60:70, 30:90] = 0
    write_scene(folder, "a", pan, ms, descriptions=NAMES, nodata=0, pan_nodata=0)
    return folder


@pytest.fixture(scope="module")
def paths(folder):
    return folder / "a_pan.tif", folder / "a_ms.tif"


def opened(paths, chunks=None):
    pan, ms = (rioxarray.open_rasterio(path, chunks=chunks) for path in paths)
    return pan, ms.assign_coords(wavelength=("band", [480.0, 560.0, 660.0, 830.0]))


def command(paths, out, **options):
    """What the command writes."""
    fused = Sharpener(**options).sharpen_files(*paths, out)
    with rasterio.open(out) as dataset:
        return fused, dataset.read(), dataset.transform, dataset.crs, dataset.nodata


@pytest.mark.parametrize("chunks", [None, {"x": 512, "y": 512}, {"x": 61, "y": 97}])
def test_values_and_place_are_those_of_the_command(paths, tmp_path, chunks):
    options = {"method": "gsa", "tile": 256}
    fused, values, transform, crs, nodata = command(paths, tmp_path / "out.tif", **options)
    assert any(fused.shift)
    out = sharpen(*opened(paths, chunks), **options)
    assert isinstance(out.data, da.Array) == (chunks is not None)
    assert out.dtype == values.dtype
    assert np.array_equal(out.values, values)
    assert (out == 0).any()
    assert out.rio.nodata == nodata == 0
    assert out.rio.crs == crs
    np.testing.assert_allclose(out.rio.transform(recalc=True), transform, atol=1e-9)


def test_the_network_gives_the_values_of_the_command(paths, tmp_path):
    _, values, *_ = command(paths, tmp_path / "out.tif", seed=4)
    assert np.array_equal(sharpen(*opened(paths, {"x": 300}), seed=4).values, values)


def test_coordinates_attributes_and_nodata_of_the_ms_are_kept(paths):
    pan, ms = opened(paths, {})
    ms.attrs["acquired"] = "2024-05-01"
    out = sharpen(pan, ms.rename("scene"), method="exp")
    assert out.dims == ("band", "y", "x") and out.name == "scene"
    assert out.wavelength.values.tolist() == [480.0, 560.0, 660.0, 830.0]
    assert out.attrs["long_name"] == NAMES and out.attrs["acquired"] == "2024-05-01"
    np.testing.assert_array_equal(out.x, pan.x[: out.sizes["x"]])
    np.testing.assert_array_equal(out.y, pan.y[: out.sizes["y"]])


def test_masked_arrays_stay_masked(paths):
    pan, ms = (rioxarray.open_rasterio(path, masked=True) for path in paths)
    out = sharpen(pan, ms, method="exp")
    assert out.dtype == np.float32 and np.isnan(out).any()
    assert np.isnan(out.rio.nodata) and out.rio.encoded_nodata == 0


def test_a_part_of_a_scene_lies_where_it_lay(paths):
    pan, ms = opened(paths, {})
    out = sharpen(pan[:, 100:400, 50:600], ms, method="exp")
    inner = pan.sel(x=out.x, y=out.y, method=None)
    assert inner.shape[1:] == out.shape[1:]
    assert 292 < out.sizes["y"] <= 300 and 542 < out.sizes["x"] <= 550
    assert out.rio.transform() == pytest.approx(out.rio.transform(recalc=True))


def test_a_zarr_store_takes_chunk_after_chunk_and_gives_the_image_back(paths, tmp_path):
    pytest.importorskip("zarr")
    lazy = sharpen(*opened(paths, {"x": 300, "y": 300}), method="exp", tile=256)
    lazy.to_dataset(name="fused").chunk(y=256, x=256).to_zarr(tmp_path / "a.zarr")
    again = xarray.open_zarr(tmp_path / "a.zarr", decode_coords="all", mask_and_scale=False).fused
    assert np.array_equal(again.values, lazy.values)
    assert again.rio.crs == lazy.rio.crs and again.rio.nodata == lazy.rio.nodata
    assert again.wavelength.values.tolist() == lazy.wavelength.values.tolist()


def test_a_cog_is_compressed_by_dask(paths, tmp_path):
    cog = pytest.importorskip("odc.geo.cog")
    pytest.importorskip("tifffile")
    lazy = sharpen(*opened(paths, {"x": 300, "y": 300}), method="exp", tile=256)
    cog.save_cog_with_dask(lazy, str(tmp_path / "a.tif"), overview_resampling="average").compute()
    with rasterio.open(tmp_path / "a.tif") as dataset:
        assert np.array_equal(dataset.read(), lazy.values)
        assert dataset.crs == lazy.rio.crs and dataset.transform == lazy.rio.transform()
        assert dataset.nodata == lazy.rio.nodata and dataset.overviews(1)
        assert dataset.descriptions == NAMES


class Counted:
    """An array that counts its pixels as they are read."""

    def __init__(self, values):
        self.values, self.read, self.lock = values, 0, threading.Lock()
        self.shape, self.dtype, self.ndim = values.shape, values.dtype, values.ndim

    def __getitem__(self, area):
        part = self.values[area]
        with self.lock:
            self.read += part.size
        return part


def test_nothing_is_read_before_it_is_computed_and_then_twice_and_samples(paths):
    pan, ms = opened(paths)
    source = Counted(pan.values)
    lazy = pan.copy(data=da.from_array(source, chunks=(1, 192, 256), asarray=True, meta=pan.values))
    out = sharpen(lazy, ms, method="exp", tile=256)
    assert source.read == 0
    out.compute()
    # Were it less than twice, chunks would wait in memory from the survey to the windows.
    assert 2 * pan.size <= source.read <= 2 * pan.size + 8 * (256 + 2 * 24) ** 2


def test_workers_take_arrays_that_lie_on_the_cluster(paths):
    options = {"method": "gsa", "tile": 256}
    expected = sharpen(*opened(paths), **options).values
    cluster = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.Client(processes=True, **cluster):
        pan, ms = (image.persist() for image in opened(paths, {"x": 300, "y": 300}))
        assert np.array_equal(sharpen(pan, ms, **options).values, expected)


class Held(Callback):
    """The most windows that lie in memory at once."""

    def __init__(self):
        super().__init__(posttask=self._count)
        self.most = 0

    def _count(self, key, result, graph, state, worker):
        held = [key for key in list(state["cache"]) if str(key[0]).startswith("ksdiff-window")]
        self.most = max(self.most, len(held))


def test_windows_in_memory_do_not_grow_with_the_length_of_a_scene(paths):
    pan, ms = (image.values for image in opened(paths))
    most = []
    for times in (2, 8):
        images = []
        for values, side in ((pan, 1.0), (ms, 4.0)):
            long = np.tile(values[:, : int(512 / side), : int(512 / side)], (1, times, 1))
            y, x = (side * (np.arange(length) + 0.5) for length in long.shape[1:])
            image = xarray.DataArray(long, {"y": -y, "x": x}, ("band", "y", "x"))
            images.append(image.rio.write_crs(32631).chunk(256))
        with Held() as held, dask.config.set(scheduler="threads", num_workers=2):
            out = sharpen(*images, method="exp", tile=256)
            da.store(out.data, np.empty(out.shape, out.dtype))
        most.append(held.most)
        assert out.data.npartitions == 4 * times
    assert 1 <= most[1] <= 12, most


def test_a_part_computed_alone_is_that_part_of_the_whole(paths):
    out = sharpen(*opened(paths, {"x": 256, "y": 256}), method="exp", tile=256)
    whole = out.values
    assert np.array_equal(out[:, 300:400, 300:600].values, whole[:, 300:400, 300:600])


def test_another_nodata_value_of_the_same_arrays_is_another_result(paths):
    pan, ms = opened(paths, {})
    value = int(ms[0, 5, 5])
    one = sharpen(pan, ms, method="exp")
    other = sharpen(pan, ms.rio.write_nodata(value), method="exp")
    one, other = dask.compute(one, other)
    assert not (one[0, 20:24, 20:24] == 0).any() and (other[0, 20:24, 20:24] == value).all()


def test_the_graph_can_go_to_another_process(paths):
    lazy = sharpen(*opened(paths, {"x": 300, "y": 300}), method="exp", tile=256)
    again = pickle.loads(pickle.dumps(lazy))
    assert np.array_equal(lazy.values, again.values)


def test_the_order_of_dimensions_is_told(paths):
    pan, ms = opened(paths)
    with pytest.raises(KSDiffError, match=r"ms: expected dimensions \(band, y, x\).*transpose"):
        sharpen(pan, ms.transpose("y", "x", "band"))


def test_a_missing_crs_is_told(paths):
    pan, ms = opened(paths)
    with pytest.raises(KSDiffError, match=r"pan: has no coordinate reference system; .*write_crs"):
        sharpen(pan.drop_vars("spatial_ref"), ms)


def test_a_rotated_grid_is_told(paths):
    pan, ms = opened(paths)
    turned = ms.rio.transform() @ rasterio.Affine.rotation(10)
    ms = ms.drop_vars(("x", "y")).rio.write_transform(turned)
    with pytest.raises(KSDiffError, match="ms: its grid is rotated"):
        sharpen(pan, ms)


def test_uneven_coordinates_are_told(paths):
    pan, ms = opened(paths)
    kept = [0, 1, *range(3, pan.sizes["x"])]
    with pytest.raises(KSDiffError, match="pan: coordinates along x are not evenly spaced"):
        sharpen(pan[:, :, kept], ms)


def test_missing_dimensions_coordinates_and_bands_are_told(paths):
    pan, ms = opened(paths)
    with pytest.raises(KSDiffError, match=r"ms: no dimensions y and x among \('band', 'a', 'b'\)"):
        sharpen(pan, ms.rename(y="a", x="b"))
    with pytest.raises(KSDiffError, match="pan: expected coordinates"):
        sharpen(pan.drop_vars("x"), ms)
    with pytest.raises(KSDiffError, match="ms: expected dimensions"):
        sharpen(pan, ms[0])
    with pytest.raises(KSDiffError, match=r"expected an xarray\.DataArray, got Dataset; choose"):
        sharpen(pan.to_dataset(name="pan"), ms)
    with pytest.raises(KSDiffError, match="ms: expected real numbers, got complex64"):
        sharpen(pan, ms.astype("complex64"))


def test_exchanged_images_and_unknown_options_are_told(paths):
    pan, ms = opened(paths, {})
    with pytest.raises(KSDiffError, match="exchanged"):
        sharpen(ms, pan)
    with pytest.raises(KSDiffError, match="tyle: unknown option; expected some of method, sensor"):
        sharpen(pan, ms, tyle=256)
    with pytest.raises(KSDiffError, match="sensor"):
        sharpen(pan, ms, sensor="wv9")


def test_a_scene_without_data_says_so_when_it_is_computed(paths):
    pan, ms = opened(paths, {})
    with pytest.raises(KSDiffError, match="no pixel with data in common"):
        sharpen(pan, ms * 0, method="exp").compute()


def test_a_shift_that_varies_is_undone_as_by_the_command(tmp_path):
    pan, ms = drawn(5, 512)
    moved = warped(pan, smooth_shifts(1, 512, 4.0)).round().clamp(1).numpy().astype("uint16")
    write_scene(tmp_path, "a", moved, ms.numpy().astype("uint16"))
    options = {"method": "mtf-glp-hpm", "tile": 256}
    files = tmp_path / "a_pan.tif", tmp_path / "a_ms.tif"
    fused, values, *_ = command(files, tmp_path / "out.tif", **options)
    assert fused.registration.field is not None
    assert np.array_equal(sharpen(*opened(files, {"x": 300}), **options).values, values)

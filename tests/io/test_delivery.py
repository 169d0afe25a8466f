import os
import resource
import signal
import subprocess
import sys

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp
from rasterio.rpc import RPC

from ksdiff.errors import KSDiffError
from ksdiff.io.delivery import delivered
from ksdiff.io.description import Description
from ksdiff.io.formats import Format
from ksdiff.io.geotiff import write_raster
from ksdiff.io.output_options import OutputOptions
from tests.support import PAN_GRID, ROOT, UTM

cogeo = pytest.importorskip("rio_cogeo.cogeo")


def smooth(count, height, width, dtype="uint16"):
    y, x = np.mgrid[:height, :width]
    bands = [900 + 400 * np.sin(x / (9 + band)) * np.cos(y / 17) for band in range(count)]
    return np.stack(bands).astype(dtype)


def deliver(path, values, form=None, options=None, tile=512, **keywords):
    form = form or Format.of(path, options or OutputOptions(), str(values.dtype))
    size = (*values.shape, str(values.dtype))
    keywords = {"transform": PAN_GRID, "crs": UTM, **keywords}
    with delivered(path, form, *size, **keywords) as target:
        for top in range(0, values.shape[1], tile):
            for left in range(0, values.shape[2], tile):
                target.write(values[:, top : top + tile, left : left + tile], top, left)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
@pytest.mark.parametrize("nodata", [None, 7])
def test_a_geotiff_is_a_valid_cog_with_overviews_and_statistics(tmp_path, dtype, nodata):
    values = smooth(4, 1100, 1300, dtype)
    values[:, 500:700, 100:800] = 7
    deliver(tmp_path / "a.tif", values, nodata=nodata)
    valid, errors, warnings = cogeo.cog_validate(tmp_path / "a.tif", strict=True)
    assert valid, (errors, warnings)
    with rasterio.open(tmp_path / "a.tif") as file:
        np.testing.assert_array_equal(file.read(), values)
        assert (file.transform, file.crs, file.nodata) == (PAN_GRID, UTM, nodata)
        assert file.block_shapes == [(512, 512)] * 4
        assert file.overviews(1) == [2, 4]
        told = file.tags(2)
        counted = values[1][values[1] != nodata] if nodata is not None else values[1]
        for key, value in (
            ("MINIMUM", counted.min()),
            ("MAXIMUM", counted.max()),
            ("MEAN", counted.mean(dtype=float)),
            ("STDDEV", counted.std(dtype=float)),
            ("VALID_PERCENT", 100 * counted.size / values[1].size),
        ):
            assert float(told[f"STATISTICS_{key}"]) == pytest.approx(value, rel=1e-3), key
    assert os.listdir(tmp_path) == ["a.tif"]


def test_overviews_leave_pixels_without_data_out(tmp_path):
    values = smooth(3, 1024, 1024)
    values[:, :, :501] = 0
    deliver(tmp_path / "a.tif", values, nodata=0)
    with rasterio.open(tmp_path / "a.tif", OVERVIEW_LEVEL=0) as half:
        edge = half.read(1)[:, 250]
        assert (half.read(1)[:, :250] == 0).all()
        np.testing.assert_allclose(edge, values[0, ::2, 501:502].mean(1), atol=60)


def test_a_small_image_needs_no_overviews(tmp_path):
    deliver(tmp_path / "a.tif", smooth(2, 100, 512))
    assert cogeo.cog_validate(tmp_path / "a.tif", strict=True)[0]
    with rasterio.open(tmp_path / "a.tif") as file:
        assert file.overviews(1) == []


@pytest.mark.parametrize(
    ("name", "driver", "sidecars"),
    [
        ("a.tif", "GTiff", []),
        ("a.jp2", "JP2OpenJPEG", []),
        ("a.img", "HFA", []),
        ("a.png", "PNG", ["a.png.aux.xml"]),
        ("a.bil", "EHdr", ["a.bil.aux.xml", "a.hdr", "a.prj"]),
    ],
)
def test_the_ending_chooses_the_format(tmp_path, name, driver, sidecars):
    values = smooth(3, 300, 257)
    deliver(tmp_path / name, values, about=Description(names=("red", "green", "blue")))
    with rasterio.open(tmp_path / name) as file:
        assert file.driver == driver
        np.testing.assert_array_equal(file.read(), values)
        assert file.transform.almost_equals(PAN_GRID) and file.crs == UTM
    assert set(sidecars) <= set(os.listdir(tmp_path))
    assert not [left for left in os.listdir(tmp_path) if "part" in left]


def test_a_plain_geotiff_has_no_overviews(tmp_path):
    values = smooth(3, 700, 700)
    deliver(tmp_path / "a.tif", values, options=OutputOptions(cog=False))
    with rasterio.open(tmp_path / "a.tif") as file:
        np.testing.assert_array_equal(file.read(), values)
        assert (file.overviews(1), file.compression.name) == ([], "deflate")
        assert file.profile["blockxsize"] == 512


@pytest.mark.parametrize("cog", [True, False])
@pytest.mark.parametrize(
    ("compress", "found"),
    [("zstd", "zstd"), ("LZW", "lzw"), ("none", None), ("deflate", "deflate")],
)
def test_compression_is_chosen_by_name(tmp_path, cog, compress, found):
    values = smooth(2, 600, 600)
    deliver(tmp_path / "a.tif", values, options=OutputOptions(cog=cog, compress=compress))
    with rasterio.open(tmp_path / "a.tif") as file:
        assert (file.compression and file.compression.name) == found
        np.testing.assert_array_equal(file.read(), values)


def test_creation_options_reach_the_driver(tmp_path):
    values = np.minimum(smooth(2, 600, 600), 1023)
    options = OutputOptions(co=("BLOCKSIZE=256", "nbits=10"))
    deliver(tmp_path / "a.tif", values, options=options)
    with rasterio.open(tmp_path / "a.tif") as file:
        assert file.block_shapes[0] == (256, 256)
        assert file.tags(1, ns="IMAGE_STRUCTURE")["NBITS"] == "10"
        np.testing.assert_array_equal(file.read(), values)


def test_what_is_known_of_the_bands_is_kept(tmp_path):
    ms = smooth(4, 64, 64)
    source = tmp_path / "ms.tif"
    write_raster(source, ms, transform=PAN_GRID, crs=UTM)
    with rasterio.open(source, "r+") as file:
        file.colorinterp = [ColorInterp[c] for c in ("blue", "green", "red", "undefined")]
        file.scales, file.offsets = (0.01,) * 4, (-0.1, 0, 0, 0)
        file.units = ["reflectance"] * 4
        file.update_tags(ACQUISITIONDATE="2024-05-01", TIFFTAG_IMAGEDESCRIPTION="roofs")
        file.update_tags(ns="IMAGERY", CLOUDCOVER="3", SATELLITEID="X")
        file.update_tags(3, wavelength="0.66", STATISTICS_MEAN="1")
        about = Description.of(file, (3, 2, 1, 4)).with_tags({"MADE": "here"})
    one = [1.0] + [0.0] * 19
    names = ("lat", "long", "height", "line", "samp")
    places = {f"{name}_{part}": 2.0 for name in names for part in ("off", "scale")}
    series = {f"{name}_{part}_coeff": one for name in ("line", "samp") for part in ("num", "den")}
    rpc = RPC(**places, **series, err_bias=0.0, err_rand=0.0)
    deliver(tmp_path / "a.tif", smooth(4, 600, 600), about=about, rpcs=rpc)
    with rasterio.open(tmp_path / "a.tif") as file:
        assert [c.name for c in file.colorinterp] == ["red", "green", "blue", "undefined"]
        assert (file.scales, file.offsets) == ((0.01,) * 4, (0, 0, -0.1, 0))
        assert file.units == ("reflectance",) * 4
        tags = file.tags()
        assert (tags["ACQUISITIONDATE"], tags["MADE"]) == ("2024-05-01", "here")
        assert tags["TIFFTAG_IMAGEDESCRIPTION"] == "roofs"
        assert tags["CLOUDCOVER"] == "3"
        assert file.tags(1)["wavelength"] == "0.66"
        assert float(file.tags(1)["STATISTICS_MEAN"]) > 100
        assert file.rpcs is not None and file.rpcs.line_off == rpc.line_off
    assert cogeo.cog_validate(tmp_path / "a.tif", strict=True)[0]


def test_true_colours_follow_from_names_where_nothing_else_says_so(tmp_path):
    write_raster(
        tmp_path / "ms.tif", smooth(4, 64, 64), descriptions=("Blue", "green", "red", "nir")
    )
    with rasterio.open(tmp_path / "ms.tif") as file:
        names = [c.name for c in Description.of(file, (1, 2, 3, 4)).colours]
    assert names == ["blue", "green", "red", "gray"]


def test_an_alpha_band_is_marked_and_counts_out_of_statistics(tmp_path):
    values = smooth(4, 600, 600) // 6
    values = values.astype("uint8")
    values[3], values[:, :300] = 255, 0
    about = Description(colours=(ColorInterp.red, ColorInterp.green, ColorInterp.blue))
    about = about.with_alpha()
    deliver(tmp_path / "a.tif", values, about=about, alpha=True)
    with rasterio.open(tmp_path / "a.tif") as file:
        assert file.colorinterp[3] == ColorInterp.alpha
        assert float(file.tags(1)["STATISTICS_VALID_PERCENT"]) == 50
        assert float(file.tags(1)["STATISTICS_MINIMUM"]) == values[0, 300:].min() > 0


def test_what_lay_beside_a_replaced_raster_goes_with_it(tmp_path):
    for name in ("a.tif", "a.tif.aux.xml", "a.tif.ovr", "b.tif.aux.xml"):
        (tmp_path / name).write_text("old")
    deliver(tmp_path / "a.tif", smooth(2, 64, 64))
    assert sorted(os.listdir(tmp_path)) == ["a.tif", "b.tif.aux.xml"]


def test_an_error_leaves_nothing(tmp_path):
    with (
        pytest.raises(ZeroDivisionError),
        delivered(
            tmp_path / "a.tif", Format.of("a.tif", OutputOptions(), "uint8"), 1, 64, 64, "uint8"
        ),
    ):
        raise ZeroDivisionError
    assert os.listdir(tmp_path) == []


# The plain file holds 2 x 1024 x 1024 bytes, its overviews a third more; the COG about as much.
@pytest.mark.parametrize("limit", [1_000_000, 2_300_000])
def test_a_full_disk_is_reported_at_the_image_and_at_the_overviews(tmp_path, limit):
    code = f"""
import numpy as np
from ksdiff.io.delivery import delivered
from ksdiff.io.formats import Format
from ksdiff.io.output_options import OutputOptions
values = np.random.default_rng(0).integers(0, 255, (2, 1024, 1024)).astype("uint8")
form = Format.of("a.tif", OutputOptions(), "uint8")
with delivered(r"{tmp_path / "a.tif"}", form, *values.shape, "uint8") as target:
    target.write(values, 0, 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        preexec_fn=lambda: limited(limit),
    )
    assert done.returncode == 1
    assert "is the disk full?" in done.stderr.splitlines()[-1]
    assert os.listdir(tmp_path) == []


def limited(size: int) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.mark.parametrize(
    ("name", "options", "count", "dtype", "words"),
    [
        ("a.vrt", {}, 4, "uint16", "ending tells a format"),
        ("a", {}, 4, "uint16", "got none"),
        ("a.xyzzy", {}, 4, "uint16", r"got \.xyzzy"),
        ("a.png", {}, 8, "uint16", "PNG cannot take 8 bands of uint16"),
        ("a.jpg", {}, 3, "uint8", "would change values"),
        ("a.tif", {"co": ("FOO=1",)}, 4, "uint16", "with FOO=1.*not support creation option FOO"),
        ("a.tif", {"co": ("FOO=1",), "cog": False}, 4, "uint16", "creation option FOO"),
        ("a.tif", {"compress": "magic"}, 4, "uint16", "COMPRESS=magic.*unexpected value"),
        ("a.tif", {"compress": "jpeg"}, 4, "uint16", "COMPRESS=jpeg"),
        ("a.jp2", {"compress": "lzw"}, 4, "uint16", "compress: only for GeoTIFFs"),
    ],
)
def test_what_cannot_be_written_is_refused_beforehand(name, options, count, dtype, words):
    with pytest.raises(KSDiffError, match=words):
        Format.of(name, OutputOptions(**options), dtype).tried(name, count, dtype)


def test_a_lossy_compression_is_taken_when_asked_for(tmp_path):
    form = Format.of("a.tif", OutputOptions(compress="jpeg"), "uint8")
    assert not form.tried("a.tif", 3, "uint8")
    values = smooth(3, 600, 600, "float32").clip(0, 1500) / 6
    values = values.astype("uint8")
    deliver(tmp_path / "a.tif", values, form, exact=False)
    with rasterio.open(tmp_path / "a.tif") as file:
        assert file.compression.name == "jpeg"
        np.testing.assert_allclose(file.read(), values, atol=30)


@pytest.mark.parametrize(
    "options", [{"co": ("NBITS",)}, {"co": ("=1",)}, {"dtype": "complex64"}, {"dtype": "many"}]
)
def test_options_that_say_nothing_are_refused(options):
    with pytest.raises(KSDiffError, match="expected"):
        OutputOptions(**options)

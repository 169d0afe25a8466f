"""What the QGIS plugin makes of layers: names for the command, parts, true colours."""

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from rasterio.transform import Affine

from tests.support.qgis import plugin

sources, colours = plugin("sources"), plugin("colours")
Band = colours.Band


def test_files_and_what_gdal_opens_elsewhere_keep_their_names(tmp_path):
    path = tmp_path / "a b.tif"
    path.write_text("")
    for name in (
        str(path),
        f'NETCDF:"{path}":red',
        f"GTIFF_DIR:1:{path}",
        "/vsicurl/https://example.org/a.tif",
        f"/vsizip/{tmp_path}/a.zip/a.tif",
    ):
        assert sources.source_name("PAN", "a", "gdal", name) == name
    assert sources.source_name("PAN", "a", "gdal", f"{path}|option:NUM_THREADS=2") == str(path)


@pytest.mark.parametrize(
    ("provider", "source", "kind"),
    [
        ("wms", "type=xyz&url=https://example.org/{z}/{x}/{y}.png", "wms"),
        ("postgresraster", "dbname='a' table=\"b\"", "postgresraster"),
        ("gdal", "/vsimem/a.tif", "memory"),
        ("gdal", "<GDAL_WMS></GDAL_WMS>", "gdal"),
        ("gdal", "/nowhere/gone.tif", "gdal"),
    ],
)
def test_a_layer_that_is_no_file_is_named_with_what_to_do(provider, source, kind):
    message = rf"^MS: layer 'Map of x' is not a file \({kind}\).*Export ‣ Save As….*GeoTIFF"
    with pytest.raises(sources.NotAFile, match=message):
        sources.source_name("MS", "Map of x", provider, source)


side = st.floats(-60, 60)


@given(side, side, st.floats(0.1, 50), st.floats(0.1, 50), st.sampled_from([0, 30]))
def test_a_part_covers_the_extent_as_far_as_the_raster_goes(x, y, width, height, angle):
    grid = Affine.translation(10, 20) @ Affine.rotation(angle) @ Affine.scale(0.5, -0.5)
    corners = [(x + a * width, y + b * height) for a in (0, 1) for b in (0, 1)]
    places = np.array([~grid @ corner for corner in corners])
    inside = (places.max(0) > 1e-3).all() and (places.min(0) < np.array([100, 80]) - 1e-3).all()
    bounds = (x, y, x + width, y + height)
    try:
        name = sources.part_of("/a.tif", grid.to_gdal(), (100, 80), bounds, 2)
    except sources.OutsideExtent as error:
        assert "beside /a.tif" in str(error)
        assert not inside
        return
    left, top, columns, rows = map(int, name.partition("?srcwin=")[2].split(","))
    assert 0 <= left <= max(places.min(0)[0], 0)
    assert 0 <= top <= max(places.min(0)[1], 0)
    assert left + columns >= min(places.max(0)[0], 100) - 1e-3
    assert top + rows >= min(places.max(0)[1], 80) - 1e-3
    assert left + columns <= 100 and top + rows <= 80


def test_a_part_opens_as_that_part(write):
    pan = write("pan", np.arange(64, dtype="uint16").reshape(1, 8, 8))
    with rasterio.open(pan) as whole:
        grid, (x, y) = whole.transform, whole.transform @ (2, 3)
        bounds = (x, y - 2 * -grid.e, x + 3 * grid.a, y)
    name = sources.part_of(str(pan), grid.to_gdal(), (8, 8), bounds, 1)
    with rasterio.open(name) as part, rasterio.open(pan) as whole:
        np.testing.assert_array_equal(part.read(), whole.read()[:, 2:6, 1:6])
        assert part.transform == grid @ Affine.translation(1, 2)


def test_a_raster_without_a_place_and_a_name_that_cannot_be_cut_are_refused():
    with pytest.raises(sources.OutsideExtent, match="no place on the ground"):
        sources.part_of("/a.tif", None, (8, 8), (0, 0, 1, 1), 0)
    with pytest.raises(sources.OutsideExtent, match="rename the file"):
        sources.part_of("/a?.tif", (0, 1, 0, 0, 0, -1), (8, 8), (0, 0, 1, 1), 0)


@pytest.mark.parametrize(
    ("bands", "expected"),
    [
        ([Band("blue"), Band("green"), Band("red"), Band("gray"), Band("alpha")], (3, 2, 1)),
        ([Band(wavelength=um) for um in (0.44, 0.48, 0.56, 0.655, 0.865)], (4, 3, 2)),
        ([Band(name=name) for name in ("NIR", "Red", "Green", "Blue")], (2, 3, 4)),
        ([Band("gray"), *[Band("undefined")] * 7], (5, 3, 2)),
        ([Band("gray"), *[Band("undefined")] * 3], (3, 2, 1)),
        ([Band()] * 3, (1, 2, 3)),
        ([Band("gray"), Band("alpha")], None),
        ([], None),
    ],
)
def test_true_colours_are_found_by_what_the_file_says(bands, expected):
    assert colours.true_colours(bands)[0] == expected


def test_a_guess_of_colours_is_told():
    assert colours.true_colours([Band()] * 4)[1].startswith("a guess")

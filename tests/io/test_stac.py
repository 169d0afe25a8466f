"""STAC items, in files and on a server."""

import json
import sys

import numpy as np
import pytest

from ksdiff.errors import KSDiffError
from ksdiff.io.products import read_product
from ksdiff.io.rasters import open_pair
from tests.support.products import STAC_BANDS, ground, sampled, stac_item

ORDER = ("blue", "green", "red", "nir")


def check(product) -> None:
    """The bands hold what their names say, by rising wavelength."""
    assert (product.name, product.ms.sensor) == ("scene_7", None)
    with open_pair(product.pan, product.ms) as pair:
        assert (pair.descriptions, pair.ratio, pair.phase) == (ORDER, 4, (1.5, 1.5))
        centres = [sum(limits) / 2000 for limits in pair.wavelengths]
        assert centres == pytest.approx([STAC_BANDS[name][0] for name in ORDER])
        values = pair.read().ms[0].numpy()
        for value, name in zip(values, ORDER, strict=True):
            seen = ground(list(STAC_BANDS).index(name), 10)
            np.testing.assert_array_equal(value, sampled(seen, pair.ms_transform, 32, 32))


@pytest.mark.parametrize("version", ["1.0.0", "1.1.0"])
@pytest.mark.parametrize("one_file", [False, True])
def test_assets_are_found_by_the_common_names_of_their_bands(tmp_path, version, one_file):
    product = read_product(stac_item(tmp_path, version, one_file))
    check(product)
    assert len(product.ms.names) == (1 if one_file else 4)
    assert product.ms.tags["ACQUISITIONDATETIME"] == "2022-08-09 10:11:12"


def test_an_item_on_a_server_is_read(tmp_path, served):
    stac_item(tmp_path)
    check(read_product(f"{served[0]}/item.json"))


def test_addresses_that_answer_nothing_useful_are_named(tmp_path, served):
    address, _ = served
    item = stac_item(tmp_path)
    with pytest.raises(KSDiffError, match=rf"{address}/no.json: the server answers 404"):
        read_product(f"{address}/no.json")
    item.rename(tmp_path / "broken.json")
    (tmp_path / "broken.json").write_text("{" + " " * 30_000 + "}")
    with pytest.raises(KSDiffError, match=r"broken.json: the server answers 500"):
        read_product(f"{address}/broken.json")
    (tmp_path / "cut.json").write_text("{" + " " * 30_000 + "}")
    with pytest.raises(KSDiffError, match=r"cut.json: the answer stops in the middle"):
        read_product(f"{address}/cut.json")
    with pytest.raises(KSDiffError, match=r"127.0.0.1:9/x.json: cannot be fetched: .*refused"):
        read_product("http://127.0.0.1:9/x.json")
    with pytest.raises(KSDiffError, match="expected an address with http"):
        read_product("s3://bucket/item.json")


def test_an_asset_that_the_server_lacks_is_named(tmp_path, served):
    address, _ = served
    stac_item(tmp_path)
    (tmp_path / "green.tif").unlink()
    product = read_product(f"{address}/item.json")
    with pytest.raises(KSDiffError, match=rf"ms {address}/green.tif: cannot be opened: .*404"):
        open_pair(product.pan, product.ms)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda item: item["assets"].pop("P1"), "one panchromatic asset.* none among X_red"),
        (lambda item: item["assets"].update(P2=item["assets"]["P1"]), "found P1, P2"),
        (
            lambda item: [item["assets"].pop(f"X_{name}") for name in STAC_BANDS],
            "expected multispectral assets.* found none among P1, thermal, qa, browse",
        ),
        (lambda item: item.update(type="Collection"), "Feature with stac_version, got type Coll"),
        (lambda item: item.pop("stac_version"), "type Feature with stac_version, got type Feature"),
        (lambda item: item["properties"].pop("datetime"), "is not a valid STAC item"),
    ],
)
def test_items_without_what_is_needed_are_refused(tmp_path, change, words):
    path = stac_item(tmp_path)
    item = json.loads(path.read_text())
    change(item)
    path.write_text(json.dumps(item))
    with pytest.raises(KSDiffError, match=rf"item.json: .*{words}"):
        read_product(path)


def test_the_platform_tells_the_sensor_and_its_names(tmp_path):
    path = stac_item(tmp_path)
    item = json.loads(path.read_text())
    for platform, sensor, near in (
        ("worldview-2", "wv2", "nir1"),
        ("PHR1A", "pleiades", "nir"),
        ("pleiades-neo-3", "pleiades-neo", "nir"),
        ("landsat-8", "landsat8", "nir"),
        ("unheard-of", None, "nir"),
    ):
        item["properties"]["platform"] = platform
        path.write_text(json.dumps(item))
        product = read_product(path)
        assert product.ms.sensor == sensor
        assert product.pan.nodata == product.ms.nodata == (0 if sensor == "landsat8" else None)
        assert [band.name for band in product.ms.bands] == ["blue", "green", "red", near]


def test_without_pystac_the_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pystac", None)
    with pytest.raises(KSDiffError, match=r"needs pystac: pip install 'ksdiff\[stac\]'"):
        read_product(stac_item(tmp_path))

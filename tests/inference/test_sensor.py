import numpy as np
import pytest

from ksdiff import Sharpener
from ksdiff.images.pair import ArrayPair
from ksdiff.inference.sensor import sensor_of
from ksdiff.io.geotiff import write_scene
from ksdiff.sensors import get_sensor, usual_wavelengths


def pair_of(bands: int) -> ArrayPair:
    rng = np.random.default_rng(bands)
    return ArrayPair(rng.random((64, 64)), rng.random((bands, 16, 16)))


def test_bands_lie_where_their_names_say():
    blue, *_, nir = usual_wavelengths(["Blue", " green", "RED", "nir"])
    assert blue == (450.0, 510.0) and nir == (780.0, 920.0)
    named = usual_wavelengths(["nir", "NDVI", None, "swir1"])
    assert [limits is None for limits in named] == [False, True, True, False]


def test_without_names_the_number_of_bands_says_where_they_lie():
    assert usual_wavelengths([None] * 8) == get_sensor("wv3").wavelengths
    assert usual_wavelengths(["band 1", "band 2", "band 3", "band 4"])[0] == (450.0, 510.0)
    for bands in (1, 2, 3, 5, 6, 7, 10):
        assert usual_wavelengths([None] * bands) == (None,) * bands


def test_a_named_sensor_is_taken_at_its_word():
    sensor = sensor_of("qb", pair_of(4))
    assert sensor.known and sensor.wavelengths == get_sensor("qb").wavelengths
    sensor = sensor_of(None, pair_of(4))
    assert not sensor.known and sensor.wavelengths == usual_wavelengths([None] * 4)


@pytest.mark.parametrize("names", [(), ("blue", "green", "red", "nir")])
def test_what_the_bands_were_taken_for_is_told(names, scene, tmp_path):
    pan, ms, gt = scene
    write_scene(tmp_path, "a", pan, ms, gt, descriptions=names)
    files = tmp_path / "a_pan.tif", tmp_path / "a_ms.tif"
    done = Sharpener().sharpen_files(*files, tmp_path / "fused.tif")
    assert done.weights == "ksdiff-s"
    told = [note for note in done.notes if "450-510, 510-580, 630-690, 780-920 nm" in note]
    assert len(told) == (not names)


def test_weights_for_one_band_count_serve_sensors_that_are_named(scene):
    pan, ms, _ = scene
    named = Sharpener(sensor="wv4").sharpen(pan, ms, (2, 2))
    np.testing.assert_array_equal(
        named, Sharpener("ksdiff-s-4band", sensor="wv4").sharpen(pan, ms, (2, 2))
    )
    told = Sharpener(sensor="wv4", pan_gain="0.2").sharpen(pan, ms, (2, 2))
    shared = Sharpener("ksdiff-s", sensor="wv4", pan_gain="0.2").sharpen(pan, ms, (2, 2))
    np.testing.assert_array_equal(told, shared)

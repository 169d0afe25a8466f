import pytest

from ksdiff.errors import KSDiffError
from ksdiff.sensors import SENSORS, get_sensor, sensor_for


def test_every_sensor_named_in_the_protocol_is_known():
    with_gains = {"wv2", "wv3", "wv4", "gf2", "qb", "ikonos", "geoeye1"}
    others = {"pleiades", "pleiades-neo", "spot6", "spot7", "superview", "gf1", "gf6", "zy3"}
    coarse = {"landsat7", "landsat8", "landsat9", "sentinel2", "cbers4a", "kompsat3", "planetscope"}
    assert set(SENSORS) == with_gains | others | coarse


@pytest.mark.parametrize("name", sorted(SENSORS))
def test_each_band_has_a_gain_and_a_name(name):
    sensor = SENSORS[name]
    assert len(sensor.ms_gains) == len(sensor.band_names) == sensor.bands
    assert all(0.05 < gain < 0.5 for gain in (*sensor.ms_gains, sensor.pan_gain))


def test_gains_are_the_toolboxes():
    assert get_sensor("QB").ms_gains == (0.34, 0.32, 0.30, 0.22)
    assert get_sensor("ikonos").pan_gain == 0.17
    assert get_sensor("wv2").ms_gains == (0.35,) * 7 + (0.27,)
    assert sum(get_sensor("wv3").ms_gains) == pytest.approx(2.765)


def test_unknown_sensors_get_generic_gains_for_any_band_count():
    for name in (None, "unknown"):
        sensor = sensor_for(name, 5, 2)
        assert sensor.ms_gains == (0.30,) * 5
        assert (sensor.pan_gain, sensor.ratio, len(sensor.band_names)) == (0.15, 2, 5)


def test_a_named_sensor_takes_the_ratio_of_the_scene():
    assert sensor_for("wv3", 8, 2).ratio == 2
    assert get_sensor("wv3").ratio == 4


def test_an_unknown_name_is_refused_and_the_known_ones_are_listed():
    with pytest.raises(KSDiffError, match=r"'wv5'.*geoeye1.*wv4"):
        get_sensor("wv5")


def test_a_band_count_that_does_not_fit_the_sensor_is_refused():
    with pytest.raises(KSDiffError, match=r"wv3 has 8 bands \(coastal, .*\), the MS image has 5"):
        sensor_for("wv3", 5, 4)


@pytest.mark.parametrize("name", sorted(SENSORS))
def test_wavelengths_are_limits_in_nanometres(name):
    sensor = SENSORS[name]
    for low, high in (*sensor.wavelengths, *filter(None, (sensor.pan_wavelengths,))):
        assert 350 < low < high < 2500


def test_bands_of_a_subset_keep_their_gains_wavelengths_and_arrays():
    wv3 = get_sensor("wv3")
    some = wv3.subset(("NIR2", "blue", "nir1"))
    assert some.band_names == ("nir2", "blue", "nir1")
    assert some.ms_gains == (0.315, 0.355, 0.335)
    assert some.wavelengths == (wv3.wavelengths[7], wv3.wavelengths[1], wv3.wavelengths[6])
    assert some.opposite_bands == ((2, 0),)


def test_a_subset_is_named_or_usual_and_refused_where_it_is_neither():
    assert sensor_for("landsat8", 4, 2).band_names == ("blue", "green", "red", "nir")
    assert sensor_for("landsat8", 6, 2).band_names[-1] == "swir2"
    assert sensor_for("landsat9", 3, 2, ("red", "green", "blue")).band_names[0] == "red"
    with pytest.raises(KSDiffError, match="landsat8 has 7 bands"):
        sensor_for("landsat8", 2, 2)
    for names in (("green", "green"), ("ultraviolet",)):
        with pytest.raises(KSDiffError, match="is not a band of landsat8 or is named twice"):
            sensor_for("landsat8", len(names), 2, names)

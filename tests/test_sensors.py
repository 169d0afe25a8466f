import pytest

from ksdiff.errors import KSDiffError
from ksdiff.sensors import SENSORS, get_sensor, sensor_for


def test_every_sensor_named_in_the_protocol_is_known():
    with_gains = {"wv2", "wv3", "wv4", "gf2", "qb", "ikonos", "geoeye1"}
    assert set(SENSORS) == with_gains | {"pleiades", "spot6", "landsat8"}


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
    with pytest.raises(KSDiffError, match="wv3 has 8 bands, the MS image has 4"):
        sensor_for("wv3", 4, 4)

"""Classical methods on real scenes with ground truth: what the field knows of them holds."""

import pytest
import torch

from ksdiff.baselines import METHODS, ClassicalPair
from ksdiff.io.rasters import open_pair
from ksdiff.metrics import reduced_indexes
from ksdiff.sensors import get_sensor, sensor_for

SCENES = {
    "wv3_ipcv_low": "wv3",
    "qb_low_b": "qb",
    "geoeye1_london": "geoeye1",
    "wv4_mexico_nat": "wv4",
}


def read(folder, name, sensor):
    with open_pair(folder / f"{name}_pan.tif", folder / f"{name}_ms.tif") as source:
        patch, ratio, phase = source.read(), source.ratio, source.phase
        gt = source.read_truth(folder / f"{name}_gt.tif")
    gains = sensor_for(sensor, patch.ms.shape[1], ratio).ms_gains
    return patch, gt, gains, ratio, phase


@pytest.fixture(scope="module")
def table(real_scenes):
    rows = {}
    for name, sensor in SCENES.items():
        patch, gt, gains, ratio, phase = read(real_scenes / "val", name, sensor)
        pan_gain = get_sensor(sensor).pan_gain
        pair = ClassicalPair.of(patch.pan, patch.ms, gains, ratio, phase, pan_gain=pan_gain)
        rows[name] = {
            method: reduced_indexes(function(pair), gt, ratio, 2047)
            for method, function in METHODS.items()
        }
    return rows


@pytest.mark.parametrize("name", SCENES)
def test_every_method_beats_exp_by_a_third_in_ergas_and_in_q2n(table, name):
    exp = table[name]["exp"]
    for method in METHODS:
        if method != "exp":
            assert table[name][method]["ERGAS"] < 0.67 * exp["ERGAS"], method
            assert table[name][method]["Q2n"] > exp["Q2n"] + 0.1, method


@pytest.mark.parametrize("name", SCENES)
def test_high_pass_modulation_is_never_far_from_the_best(table, name):
    best = min(row["ERGAS"] for row in table[name].values())
    assert table[name]["mtf-glp-hpm"]["ERGAS"] < 1.11 * best


@pytest.mark.parametrize("name", SCENES)
def test_haze_correction_and_learnt_injection_pay(table, name):
    row = table[name]
    assert row["bt-h"]["SAM"] < 0.95 * row["brovey"]["SAM"]
    assert row["bdsd-pc"]["ERGAS"] < 1.06 * row["mtf-glp-hpm"]["ERGAS"]
    assert row["bdsd-pc"]["Q2n"] > row["mtf-glp-hpm"]["Q2n"] - 0.01


def test_proportional_methods_keep_the_angles_of_the_lms(table):
    for row in table.values():
        for method in ("rcs", "brovey"):
            assert row[method]["SAM"] == pytest.approx(row["exp"]["SAM"], abs=0.02)


def test_a_wrong_phase_costs_half_the_gain(real_scenes):
    patch, gt, gains, ratio, phase = read(real_scenes / "val", "qb_low_b", "qb")
    assert phase == pytest.approx((0, 0))

    def error(method, phase):
        pair = ClassicalPair.of(patch.pan, patch.ms, gains, ratio, phase)
        return reduced_indexes(METHODS[method](pair), gt, ratio, 2047)["ERGAS"]

    exp, right, wrong = error("exp", phase), error("mtf-glp", phase), error("mtf-glp", None)
    assert exp - wrong < 0.5 * (exp - right)


def test_methods_run_on_eight_bit_six_band_and_ratio_two_deliveries(real_scenes):
    for name, sensor in (("landsat8_017051", "landsat8"), ("geoeye1_u8", "geoeye1")):
        folder = real_scenes / "train"
        with open_pair(folder / f"{name}_pan.tif", folder / f"{name}_ms.tif") as source:
            patch, ratio, phase = source.read(0, 0, 256, 256), source.ratio, source.phase
        gains = sensor_for(sensor, patch.ms.shape[1], ratio).ms_gains
        pair = ClassicalPair.of(patch.pan, patch.ms, gains, ratio, phase, "reflect")
        for method in METHODS.values():
            fused = method(pair)
            assert torch.isfinite(fused).all()
            difference = fused.mean((-1, -2)) / pair.lms.mean((-1, -2)) - 1
            assert difference.abs().max() < 0.02

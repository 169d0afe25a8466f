from dataclasses import replace

import torch

from benchmarks.results import Result
from benchmarks.studies.held_out import (
    case_row,
    classical,
    prior_rows,
    prior_text,
    scores,
    text,
)
from ksdiff.images.expansion import expand
from ksdiff.images.wald import degrade_ms
from ksdiff.models.ksdiff import KSDiff
from ksdiff.runtime import machine_header
from ksdiff.training.held_out import Case
from tests.support.models import any_bands_config


def _case(bands: int = 3, ratio: int = 3) -> Case:
    torch.manual_seed(0)
    coarse = torch.rand(1, bands, 24, 24) + torch.rand(1, 1, 24, 24)
    gt = 100 * torch.nn.functional.interpolate(coarse, size=(96, 96), mode="bicubic") + 50
    gains = (0.3,) * bands
    ms = degrade_ms(gt, gains, ratio)
    return Case("drawn", gt.mean(1, True), ms, gt, ratio, gains, (None,) * bands, 0.3)


def test_the_truth_has_no_error_and_half_its_detail_wants_twice_as_much():
    case = _case()
    perfect = scores(case, case.gt)
    assert perfect["ERGAS"] < 1e-4 and abs(perfect["factor"] - 1) < 1e-4
    lms = expand(case.ms, case.ratio, case.phase, "reflect")
    assert abs(scores(case, (lms + case.gt) / 2)["factor"] - 2) < 1e-3


def test_a_row_names_the_best_classical_method_and_becomes_a_line():
    torch.manual_seed(0)
    model = KSDiff(any_bands_config())
    case = _case()
    with torch.inference_mode():
        row = case_row(model, case)
        others = classical(case)
    value, name = row["best"]["ERGAS"]
    assert value == min(one["ERGAS"] for one in others.values()) == others[name]["ERGAS"]
    lines = text(Result(machine_header(), [row])).splitlines()
    assert lines[2].startswith("| drawn |") and lines[3].startswith("| mean |")


def test_the_prior_is_judged_by_the_number_of_bands():
    torch.manual_seed(0)
    model = KSDiff(any_bands_config()).eval()
    drawn = [_case(bands) for bands in (1, 2, 3, 4, 5, 8) for _ in range(2)]
    every = [replace(case, name=f"{index} {case.name}") for index, case in enumerate(drawn)]
    rows = list(prior_rows(model, every))
    assert [row["scenes"] for row in rows] == [2] * 6
    lines = prior_text(Result(machine_header(), rows)).splitlines()
    assert lines[2].startswith("| 1 | 2 |") and lines[7].startswith("| 8, 10 | 2 |")

"""Compares two measures of a band's contrast.

For every training pair: the share of high-pass modulation's detail that the truth holds, with the
slope of a band on the low-passed PAN between neighbours and with the ratio of standard deviations
(high-pass modulation's own). For every validation scene: its scores with either, PAN and bands
registered or as they lie.
"""

import itertools
from pathlib import Path
from statistics import fmean, pstdev

import torch
from torch import Tensor

from benchmarks.markdown import indexes as shown
from benchmarks.markdown import origin, pivot, table
from benchmarks.results import read
from benchmarks.studies.scenes import data, indexes
from ksdiff.config import load_config
from ksdiff.evaluation.scenes import subjects
from ksdiff.images.inputs import FusionInputs, SceneStatistics, detail_contrast, fusion_inputs
from ksdiff.images.wald import degrade_ms
from ksdiff.inference.sharpen import Sharpener
from ksdiff.models.injection import hpm_detail
from ksdiff.training.pairs import TruthPair, load_pairs

_RIM = 16  # pixels, where filters meet the border


def ratio_of_deviations(inputs: FusionInputs, ratio: int) -> Tensor:
    return inputs.contrast[:1]


MEASURES = {"slope": detail_contrast, "deviations": ratio_of_deviations}


@torch.no_grad()
def shares(pair: TruthPair) -> dict[str, list[float]]:
    """By measure, the logarithm of each band's share of detail, with the pair's softest PAN."""
    height, width = (side // pair.ratio * pair.ratio for side in pair.gt.shape[-2:])
    gt, pan = pair.gt[..., :height, :width], pair.pans[-1:, :, :height, :width]
    ms = degrade_ms(gt, pair.gains, pair.ratio)
    statistics = SceneStatistics.of(pan[0], ms[0])
    inputs = fusion_inputs(pan, ms, pair.gains, pair.ratio, None, statistics, "reflect")
    inner = (..., slice(_RIM, -_RIM), slice(_RIM, -_RIM))
    missing = (gt / statistics.ms_mean[..., None, None] - inputs.lms)[inner]
    found = {}
    for name, measure in MEASURES.items():
        detail = hpm_detail(inputs._replace(contrast=measure(inputs, pair.ratio)))[inner]
        share = (detail * missing).sum((0, 2, 3)) / detail.square().sum((0, 2, 3))
        found[name] = share.clamp_min(0.05).log().tolist()
    return found


def spread(rows: list[dict]) -> dict[str, dict[str, float]]:
    """Standard deviations of the logarithms: of scenes' means, and of bands within scenes."""
    return {
        name: {
            "between scenes": pstdev(fmean(row["shares"][name]) for row in rows),
            "between bands": fmean(pstdev(row["shares"][name]) for row in rows),
        }
        for name in MEASURES
    }


def scores() -> list[dict]:
    rows = []
    for subject in subjects(data("val"), None):
        for contrast, registered in itertools.product(MEASURES, (True, False)):
            registration = "auto" if registered else "off"
            sharpener = Sharpener(registration=registration, contrast=contrast)
            row = {"scene": subject.info.name, "contrast": contrast, "registered": registered}
            rows.append({**row, "indexes": indexes(sharpener, subject)})
    return rows


def measure() -> dict[str, list[dict]]:
    chosen = load_config("ksdiff-s-4band").data
    pairs = load_pairs(
        data("train"), 4, chosen.exclude, chosen.crop, chosen.halved, True, chosen.least_gain
    )
    rows = [{"pair": pair.name, "shares": shares(pair)} for pair in pairs]
    return {"contrast": [*rows, *scores()]}


def scores_table(path: Path) -> str:
    """Contrast and registration down, scenes across."""
    found = read(path)
    places = {True: "registered", False: "as they lie"}

    def cell(row: dict) -> str:
        if "SAM" in row["indexes"]:
            return shown(row["indexes"], ("SAM", "ERGAS"), "23")
        return shown(row["indexes"], ("D_lambda_K", "D_s", "HQNR"), "333")

    rows = (
        row | {"how": f"{row['contrast']}, {places[row['registered']]}"}
        for row in found.rows
        if "scene" in row
    )
    note = f"\nSAM / ERGAS, or D_λ^K / D_s / HQNR. {origin(found.header)}\n"
    return pivot(rows, "how", "scene", cell, "contrast, PAN and bands") + note


def spread_table(path: Path) -> str:
    found = [row for row in read(path).rows if "pair" in row]
    head = ["spread of the share, as a factor", "between scenes", "between bands of a scene"]
    rows = [
        [name, *(f"e^±{value:.2f}" for value in own.values())]
        for name, own in spread(found).items()
    ]
    return table(head, rows) + f"\n{len(found)} training pairs.\n"

"""What is added to the bands: by which measure of their contrast, and how much of the residual.

The contrast is the slope of a band on the low-passed PAN between neighbours, or the ratio of
standard deviations (high-pass modulation's own).
"""

import dataclasses
import itertools
from collections.abc import Iterator
from statistics import fmean, pstdev

import torch

from benchmarks.markdown import noted, pivot, table
from benchmarks.results import Result
from benchmarks.studies.scenes import data, scenes, score_cell, scored
from ksdiff.config import load_config
from ksdiff.images.inputs import SceneStatistics, detail_contrast, fusion_inputs
from ksdiff.images.wald import degrade_ms
from ksdiff.inference.sharpen import Sharpener
from ksdiff.models.injection import hpm_detail
from ksdiff.models.weights import load_weights, weights_for
from ksdiff.training.pairs import TruthPair, load_pairs

STRENGTHS = (1.0, 0.85, 0.75, 0.65, 0.5, 0.25, 0.0)
_RIM = 16  # pixels, where filters meet the border


# Of inputs and ratio, [1, C]; high-pass modulation's own is what inputs bring.
MEASURES = {"slope": detail_contrast, "deviations": lambda inputs, ratio: inputs.contrast[:1]}


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


def spread(rows: list[dict]) -> dict[str, tuple[float, float]]:
    """Standard deviations of the logarithms: of scenes' means, and of bands within scenes."""
    found = {}
    for name in MEASURES:
        own = [row["shares"][name] for row in rows]
        found[name] = pstdev(map(fmean, own)), fmean(map(pstdev, own))
    return found


def measure() -> Iterator[dict]:
    """Scores of every validation scene with either, PAN and bands registered or as they lie."""
    for subject in scenes("val"):
        for contrast, registered in itertools.product(MEASURES, (True, False)):
            registration = "auto" if registered else "off"
            sharpener = Sharpener(registration=registration, contrast=contrast)
            yield scored(subject, sharpener, contrast=contrast, registered=registered)


def measure_spread() -> Iterator[dict]:
    """The share of high-pass modulation's detail that the truth of a training pair holds."""
    chosen = load_config("ksdiff-s-4band").data
    for pair in load_pairs(
        data("train"), 4, chosen.exclude, chosen.crop, chosen.halved, True, chosen.least_gain
    ):
        yield {"pair": pair.name, "shares": shares(pair)}


def measure_strength() -> Iterator[dict]:
    """Scores of every validation scene at several strengths of the learnt residual."""
    for subject in scenes("val"):
        model, _ = load_weights(weights_for(subject.ms.shape[1], 4, as_delivered=True))
        head = model.injection
        for strength in STRENGTHS:
            head.config = dataclasses.replace(head.config, residual_strength=strength)
            yield scored(subject, Sharpener(model), strength=strength)


def text(found: Result) -> str:
    """Contrast and registration down, scenes across."""
    places = {True: "registered", False: "as they lie"}
    rows = [row | {"how": f"{row['contrast']}, {places[row['registered']]}"} for row in found.rows]
    scores = score_cell("{SAM:.2f} / {ERGAS:.3f}", "{D_lambda_K:.3f} / {D_s:.3f} / {HQNR:.3f}")
    lines = pivot(rows, "how", "scene", scores, "contrast, PAN and bands")
    return noted(lines, found, "SAM / ERGAS, or D_λ^K / D_s / HQNR. ")


def spread_text(found: Result) -> str:
    rows = [[name, *(f"e^±{x:.2f}" for x in own)] for name, own in spread(found.rows).items()]
    head = ["spread of the share, as a factor", "between scenes", "between bands of a scene"]
    return f"{table(head, rows)}\n{len(found.rows)} training pairs.\n"


def strength_text(found: Result) -> str:
    """Strengths down and scenes across."""
    rows = (row | {"strength": f"{row['strength']:g}"} for row in found.rows)
    scores = score_cell("{SAM:.2f} / {ERGAS:.3f} / {Q2n:.3f}", "{HQNR:.3f}")
    lines = pivot(rows, "strength", "scene", scores, "residual_strength")
    return noted(lines, found, "SAM / ERGAS / Q2n, or HQNR. ")

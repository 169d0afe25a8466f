"""Compares two measures of a band's contrast: `python -m benchmarks.studies.contrast`

For every training pair: the share of high-pass modulation's detail that the truth holds, with the
slope of a band on the low-passed PAN between neighbours and with the ratio of standard deviations
(high-pass modulation's own). For every validation scene: its scores with either, PAN and bands
registered or as they lie. The result is benchmarks/results/contrast.json.
"""

import argparse
import itertools
from pathlib import Path
from statistics import fmean, pstdev

import torch
from torch import Tensor

from benchmarks.markdown import indexes as shown
from benchmarks.markdown import origin, table
from benchmarks.results import RESULTS, read, write
from benchmarks.studies import indexes
from ksdiff.config import load_config
from ksdiff.evaluation.scenes import subjects
from ksdiff.images.inputs import FusionInputs, SceneStatistics, detail_contrast, fusion_inputs
from ksdiff.images.wald import degrade_ms
from ksdiff.inference.sharpen import Sharpener
from ksdiff.models.injection import hpm_detail
from ksdiff.runtime import machine_header
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


def scores(folder: Path) -> list[dict]:
    rows = []
    for subject in subjects(folder, None):
        for contrast, registered in itertools.product(MEASURES, (True, False)):
            registration = "auto" if registered else "off"
            sharpener = Sharpener(registration=registration, contrast=contrast)
            row = {"scene": subject.info.name, "contrast": contrast, "registered": registered}
            rows.append({**row, "indexes": indexes(sharpener, subject)})
    return rows


def scores_table(path: Path) -> str:
    """Contrast and registration down, scenes across."""
    found = read(path)
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for row in found.rows:
        if "scene" in row:
            place = "registered" if row["registered"] else "as they lie"
            own = row["indexes"]
            names, digits = (
                (("SAM", "ERGAS"), "23") if "SAM" in own else (("D_lambda_K", "D_s", "HQNR"), "333")
            )
            cells.setdefault((row["contrast"], place), {})[row["scene"]] = shown(own, names, digits)
    scenes = list(next(iter(cells.values())))
    rows = [[*key, *(own[scene] for scene in scenes)] for key, own in cells.items()]
    note = f"\nSAM / ERGAS, or D_λ^K / D_s / HQNR. {origin(found.header)}\n"
    return table(["contrast", "PAN and bands", *scenes], rows) + note


def spread_table(path: Path) -> str:
    found = [row for row in read(path).rows if "pair" in row]
    head = ["spread of the share, as a factor", "between scenes", "between bands of a scene"]
    rows = [
        [name, *(f"e^±{value:.2f}" for value in own.values())]
        for name, own in spread(found).items()
    ]
    return table(head, rows) + f"\n{len(found)} training pairs.\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    folder = parser.parse_args().data
    data = load_config("ksdiff-s-4band").data
    pairs = load_pairs(
        folder / "train", 4, data.exclude, data.crop, data.halved, True, data.least_gain
    )
    rows = [{"pair": pair.name, "shares": shares(pair)} for pair in pairs]
    write(RESULTS / "contrast.json", machine_header(), [*rows, *scores(folder / "val")])


if __name__ == "__main__":
    main()

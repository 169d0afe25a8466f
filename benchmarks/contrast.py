"""How well two measures of contrast foretell a band's detail: `python -m benchmarks.contrast`

For every training pair the share of high-pass modulation's detail that the truth holds, once with
the slope of a band on the low-passed PAN between neighbours, once with the ratio of standard
deviations (high-pass modulation's own); and the scores of the validation scenes with either, PAN
and bands put in place or as they lie. Results go to benchmarks/results/contrast.json, the scores
into docs/model.md.
"""

import argparse
import itertools
import json
from pathlib import Path
from statistics import fmean, pstdev

import torch
from torch import Tensor

from benchmarks import scoring
from benchmarks.text import origin, put_between, table
from ksdiff.config import load_config
from ksdiff.evaluation.scenes import subjects
from ksdiff.images.inputs import FusionInputs, SceneStatistics, detail_contrast, fusion_inputs
from ksdiff.images.wald import degrade_ms
from ksdiff.inference.sharpen import Sharpener
from ksdiff.models.injection import hpm_detail
from ksdiff.runtime import machine_header
from ksdiff.training.pairs import TruthPair, load_pairs

RESULTS = Path(__file__).parent / "results/contrast.json"
PAGE = Path(__file__).parents[1] / "docs/model.md"
BEGIN, END = "<!-- contrast:begin -->", "<!-- contrast:end -->"
_RIM = 16  # pixels, where filters meet the border


def ratio_of_deviations(inputs: FusionInputs, ratio: int) -> Tensor:
    return inputs.contrast[:1]


MEASURES = {"slope": detail_contrast, "deviations": ratio_of_deviations}


@torch.no_grad()
def shares(pair: TruthPair) -> dict[str, list[float]]:
    """By measure, the logarithm of each band's share of detail, with the softest PAN there is."""
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
        for contrast, register in itertools.product(MEASURES, (True, False)):
            sharpener = Sharpener(register=register, contrast=contrast)
            row = {"scene": subject.info.name, "contrast": contrast, "registered": register}
            rows.append({**row, "indexes": scoring.indexes(sharpener, subject)})
    return rows


def filled(page: str, found: dict) -> str:
    """The page with the scores between its marks: contrast and registration by scene."""
    scenes = list(dict.fromkeys(row["scene"] for row in found["scores"]))
    cells = {}
    for row in found["scores"]:
        place = "put in place" if row["registered"] else "as they lie"
        indexes = row["indexes"]
        cells.setdefault((row["contrast"], place), {})[row["scene"]] = (
            f"{indexes['SAM']:.2f} / {indexes['ERGAS']:.3f}"
            if "SAM" in indexes
            else f"{indexes['D_lambda_K']:.3f} / {indexes['D_s']:.3f} / {indexes['HQNR']:.3f}"
        )
    rows = [[*key, *(cells[key][scene] for scene in scenes)] for key in cells]
    text = table(["contrast", "PAN and bands", *scenes], rows)
    note = f"SAM / ERGAS, or D_λ^K / D_s / HQNR. {origin(found['header'])}"
    return put_between(page, BEGIN, f"{text}\n{note}\n", END)


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
    rows = [{"name": pair.name, "shares": shares(pair)} for pair in pairs]
    found = {
        "header": machine_header(),
        "spread": spread(rows),
        "pairs": rows,
        "scores": scores(folder / "val"),
    }
    scoring.write(RESULTS, found)
    PAGE.write_text(filled(PAGE.read_text(), found))
    print(json.dumps(found["spread"], indent=1))


if __name__ == "__main__":
    main()

"""Training, its reports, and checks of its data."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from ksdiff.cli.options import Overwrite

data = typer.Typer(help="Check and repair PanCollection HDF5 files.", no_args_is_help=True)


Stage = Literal["1", "2", "all"]


def train(
    config: Annotated[
        str,
        typer.Argument(
            help="YAML file with the keys of ksdiff/config.py, or a bundled one by name: wv3, gf2, "
            "qb, wv2 (PanCollection, in the folder KSDIFF_DATA), ksdiff-s-4band, ..."
        ),
    ],
    stage: Annotated[Stage, typer.Option(help="Which of the two stages to run.")] = "all",
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue from the newest checkpoint of the run.")
    ] = False,
) -> None:
    """Train KSDiff from a configuration file."""
    from ksdiff.config import load_config
    from ksdiff.training import run

    print(f"{run(load_config(config), stage, resume)}: weights")


def ablate(
    config: Annotated[
        Path,
        typer.Argument(
            help="YAML file with folder, seeds, base and tables; see docs/ablations.md."
        ),
    ],
) -> None:
    """Train the variants that an ablation file lists; finished runs are not repeated."""
    from ksdiff.evaluation.ablation import load_ablation
    from ksdiff.evaluation.ablation import train as train_all
    from ksdiff.evaluation.ablation_report import markdown, report, write

    ablation = load_ablation(config)
    train_all(ablation, lambda text: print(text, file=sys.stderr))
    values = report(ablation)
    print(markdown(values), end="")
    for path in write(values, ablation.folder):
        print(f"{path}: written", file=sys.stderr)


def prior(
    data: Annotated[Path, typer.Option(help="Folder of NAME_pan.tif, NAME_ms.tif, NAME_gt.tif.")],
    weights: Annotated[str, typer.Option(help="Bundled name or .safetensors file.")],
    json: Annotated[Path | None, typer.Option(help="JSON file to write.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Measure how close the sampled prior is to the true one, and how much it contributes."""
    from ksdiff.evaluation.prior import inspect_weights, write_json
    from ksdiff.io.outputs import check_output

    if json is not None:
        check_output(json, overwrite, "json")
    found = inspect_weights(weights, data)
    print(found.markdown(), end="")
    if json is not None:
        write_json(found, weights, json)


@data.command(epilog="Example: ksdiff data check train_qb.h5 --sensor qb")
def check(
    file: Annotated[Path, typer.Argument(help="PanCollection's .h5 file.")],
    sensor: Annotated[str, typer.Option(help="Sensor of the file: wv2, wv3, gf2 or qb.")],
) -> None:
    """Check that a file has the layout that training and evaluation expect."""
    from ksdiff.io.pancollection import PanCollection

    print(PanCollection(file, sensor, truth=False).describe())


@data.command(epilog="Example: ksdiff data repair train_qb.h5 --out repaired.h5")
def repair(
    file: Annotated[Path, typer.Argument(help="PanCollection's .h5 file.")],
    out: Annotated[Path, typer.Option(help="Repaired copy to write.")],
    overwrite: Overwrite = False,
) -> None:
    """Repair patches whose ms is shifted by one pixel (QuickBird files), using lms."""
    from ksdiff.io.outputs import check_output
    from ksdiff.io.repair import repair as repair_file

    done = repair_file(file, check_output(out, overwrite))
    print(f"{out}: {done.shifted} of {done.patches} patches repaired")

"""Measures a study again: `python -m benchmarks.studies NAME`, into benchmarks/results

Scenes are those of the folder KSDIFF_DATA (default ../shared/data). Some studies need weights
first: `adaptation` those of `ksdiff train benchmarks/studies/left-out.yaml`, `held-out-tenth` those
of `ksdiff train ksdiff/configs/ksdiff-s-tenth.yaml`. NAME --help tells a study's options.
"""

import inspect
import sys
from pathlib import Path
from typing import Annotated

import torch
import typer

from benchmarks.results import RESULTS, Result, header, write
from benchmarks.studies import STUDIES, Study
from ksdiff.errors import KSDiffError

app = typer.Typer(add_completion=False, rich_markup_mode=None, help=__doc__)


def _add(name: str, study: Study) -> None:
    """The study as a command; the parameters of its ``measure`` are the options."""

    def run(out: Annotated[Path, typer.Option(help="Another folder.")] = RESULTS, **given) -> None:
        head = header("cpu")
        try:
            rows = list(study.measure(**given))
        except KSDiffError as error:
            sys.exit(f"benchmarks.studies: {name}: {error}")
        head["threads"] = torch.get_num_threads()  # a study may choose its own
        write(out / f"{name}.json", head, rows)
        print(study.table(Result(head, rows)))

    out = inspect.signature(run).parameters["out"]
    options = inspect.signature(study.measure).parameters.values()
    run.__signature__ = inspect.Signature([out, *options])
    run.__annotations__ |= study.measure.__annotations__
    app.command(name, help=study.measure.__doc__ or inspect.getmodule(study.measure).__doc__)(run)


for name, study in STUDIES.items():
    _add(name, study)

if __name__ == "__main__":
    app()

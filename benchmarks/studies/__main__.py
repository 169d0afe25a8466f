"""Measures a study again: `python -m benchmarks.studies NAME`, into benchmarks/results

Scenes are those of the folder KSDIFF_DATA (default ../shared/data). Some studies need weights
first: `adaptation` those of `ksdiff train benchmarks/studies/left-out.yaml`, `held-out-tenth` those
of `ksdiff train ksdiff/configs/ksdiff-s-tenth.yaml`. NAME --help tells a study's options.
"""

import argparse
import inspect
import sys
from pathlib import Path

import torch

from benchmarks.results import RESULTS, Result, header, write
from benchmarks.studies import STUDIES
from ksdiff.errors import KSDiffError


def main(arguments: list[str] | None = None) -> None:
    given = vars(_parser().parse_args(arguments))
    name, out = given.pop("name"), given.pop("out")
    head = header("cpu")
    try:
        rows = list(STUDIES[name].measure(**given))
    except KSDiffError as error:
        sys.exit(f"benchmarks.studies: {name}: {error}")
    head["threads"] = torch.get_num_threads()  # a study may choose its own
    write(out / f"{name}.json", head, rows)
    print(STUDIES[name].table(Result(head, rows)))


def _parser() -> argparse.ArgumentParser:
    """Each study is a command; the parameters of its ``measure`` are the options."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.studies",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="name", metavar="NAME", required=True)
    for name, (measure, _) in STUDIES.items():
        told = inspect.getdoc(measure) or inspect.getmodule(measure).__doc__
        command = commands.add_parser(name, help=told.splitlines()[0], description=told)
        command.add_argument("--out", type=Path, default=RESULTS, help="another folder")
        for option in inspect.signature(measure).parameters.values():
            flag = f"--{option.name.replace('_', '-')}"
            default = f"default: {option.default}"
            command.add_argument(
                flag, type=type(option.default), default=option.default, help=default
            )
    return parser


if __name__ == "__main__":
    main()

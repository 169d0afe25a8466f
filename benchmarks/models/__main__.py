"""Measures KSDiff against its baselines: `python -m benchmarks.models [SECTION...] [--device cuda]`

Without sections: all of them, about twenty minutes on two CPU cores. Each is a file of
benchmarks/results/models-DEVICE; `python -m benchmarks.docs` makes tables and plots of them.
"""

import argparse
import functools
import sys
import time
from pathlib import Path

import torch

from benchmarks import results
from benchmarks.models import sections
from benchmarks.models.contenders import WEIGHTS, networks
from benchmarks.models.quality import quality
from benchmarks.models.scenes import scene
from benchmarks.models.tables import UNTIMED
from ksdiff.errors import KSDiffError
from ksdiff.runtime import keep_freed_memory

# Malloc is measured before the process keeps freed memory. Scores of one band count are a section,
# so that networks of one can be trained again without the other.
_TIMED = (
    *(sections.malloc, sections.cost, sections.latency, sections.long, sections.growth),
    *(sections.batch, scene, sections.memory),
)
SECTIONS = {section.__name__: section for section in _TIMED}
SECTIONS |= {f"quality-{bands}": functools.partial(quality, bands) for bands in WEIGHTS}
_BUDGET = 40.0  # seconds for the calls of a section; long calls run once


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument(
        "--only", action="append", metavar="NETWORK", help="time this alone; may be repeated"
    )
    parser.add_argument("--out", type=Path, help="another folder for the results")
    given = parser.parse_args(arguments)
    for name in given.sections:
        if name not in SECTIONS:
            parser.error(f"section {name!r}: expected one of {', '.join(SECTIONS)}")
    if given.device == "cuda" and not torch.cuda.is_available():
        print(
            "skipped: PyTorch sees no CUDA device; where there is one: "
            "python -m benchmarks.models --device cuda"
        )
        return 0
    folder = given.out or results.RESULTS / f"models-{given.device}"
    chosen = [name for name in SECTIONS if name in (given.sections or SECTIONS)]
    return max(_measured(name, folder, given) for name in chosen)


def _measured(name: str, folder: Path, given: argparse.Namespace) -> int:
    began = time.perf_counter()
    try:
        with torch.no_grad():
            head = results.header(given.device)
            results.read_folder(folder, UNTIMED, {name: results.Result(head, [])})
            if name != "malloc":
                keep_freed_memory()  # as the command line does: all contenders gain by it
            rows = SECTIONS[name](_networks(given), given.device, _BUDGET)
    except (KSDiffError, RuntimeError) as problem:
        if not (isinstance(problem, KSDiffError) or _out_of_memory(problem)):
            raise
        print(
            f"{name}: skipped: {problem}; when that is fixed: "
            f"python -m benchmarks.models {name} --device {given.device}"
        )
        return 1
    results.write(folder / f"{name}.json", head, rows)
    seconds = time.perf_counter() - began
    print(f"{name}: {len(rows)} rows in {folder}, {seconds:.0f} s", flush=True)
    return 0


def _networks(given: argparse.Namespace) -> sections.Networks:
    found = networks(given.device)
    only = given.only or list(found)
    for name in only:
        if name not in found:
            raise KSDiffError(f"--only {name!r}: expected some of {', '.join(found)}")
    return {name: found[name] for name in only}


def _out_of_memory(problem: RuntimeError) -> bool:
    """PyTorch has a type for it on a GPU, only a message on a CPU."""
    return isinstance(problem, torch.OutOfMemoryError) or "allocate memory" in str(problem)


if __name__ == "__main__":
    sys.exit(main())

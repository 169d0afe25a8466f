"""Measures KSDiff against its baselines: `python -m benchmarks.models [SECTION...] [--device cuda]`

Without sections: all of them, about twenty minutes on two CPU cores. Each puts its rows into
benchmarks/results/models-DEVICE.json; `python -m benchmarks.models.report` makes tables and plots.
"""

import argparse
import sys
import time
from pathlib import Path

import torch

from benchmarks.machine import describe
from benchmarks.models import results
from benchmarks.models.as_it_comes import as_it_comes
from benchmarks.models.quality import SECTIONS as QUALITY
from benchmarks.models.scenes import scene
from benchmarks.models.speed import SECTIONS
from ksdiff.errors import KSDiffError
from ksdiff.runtime import keep_freed_memory

_BUDGET = 40.0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    sections = SECTIONS | {"as_it_comes": as_it_comes, "scene": scene} | QUALITY
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(sections))
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument(
        "--budget",
        type=float,
        default=_BUDGET,
        help="seconds a section repeats its calls in; what is long runs once (default %(default)s)",
    )
    parser.add_argument("--json", type=Path, help="result file, if not the usual one")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.sections if name not in sections]
    if unknown:
        parser.error(f"section {unknown[0]!r}: expected one of {', '.join(sections)}")
    if arguments.device == "cuda" and not torch.cuda.is_available():
        print(
            "skipped: PyTorch sees no CUDA device; where there is one: "
            "python -m benchmarks.models --device cuda"
        )
        return 0
    keep_freed_memory()  # as the command line does: all contenders gain by it
    path = arguments.json or results.default_path(arguments.device)
    names = arguments.sections or list(sections)
    try:
        results.start(path, names, describe(arguments.device))
    except KSDiffError as problem:
        print(problem)
        return 1
    failed = 0
    for name in names:
        machine = describe(arguments.device)
        began = time.perf_counter()
        try:
            with torch.no_grad():
                rows = sections[name](arguments.device, arguments.budget)
            results.write(path, name, machine, rows)
        except (KSDiffError, RuntimeError) as problem:
            if not (isinstance(problem, KSDiffError) or _out_of_memory(problem)):
                raise
            print(
                f"{name}: skipped: {problem}; once that is mended: "
                f"python -m benchmarks.models {name} --device {arguments.device}"
            )
            failed = 1
            continue
        print(
            f"{name}: {len(rows)} rows in {path}, {time.perf_counter() - began:.0f} s", flush=True
        )
    return failed


def _out_of_memory(problem: RuntimeError) -> bool:
    """PyTorch has a type for that on a GPU, on a CPU only words."""
    return isinstance(problem, torch.OutOfMemoryError) or "allocate memory" in str(problem)


if __name__ == "__main__":
    sys.exit(main())

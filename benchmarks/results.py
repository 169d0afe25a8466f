"""The one format of results, ``{"header": {...}, "rows": [...]}``, and the header of a machine.

A row holds facts that identify a measurement and what was measured (`MEASURES`).
"""

import json
import os
import subprocess
from collections.abc import Iterable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks.measure import cores
from ksdiff.errors import KSDiffError
from ksdiff.io.outputs import atomic
from ksdiff.runtime import machine_header, measure_machine, output

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks/results"
# What must agree before times stand in one table; scores and counts need equal versions only.
VERSIONS = ("python", "torch", "cuda", "triton", "ksdiff", "operators")
MACHINE = ("device", "processor", "gpu", "cores", "threads", "omp_wait_policy")
LIMITS = ("copy_gb_per_s", "fma_gflop_per_s")
PERCENTILES = ("p20", "p25", "p50", "p75", "p80")
MEASURES = {
    *(*PERCENTILES, "rounds", "peak_bytes", "least_bytes", "flops", "parameters", "left_out"),
    *("backend", "timing", "pixels_seen", "ratio", "measured"),
}


class Result(NamedTuple):
    header: dict
    rows: list[dict]


def header(device: str) -> dict[str, object]:
    """Machine, load and versions of a benchmark, without the machine's name or any path."""
    facts = machine_header() | {
        "device": device,
        "cores": cores(),
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY", "default"),
        "triton": version("triton") if find_spec("triton") else "not installed",
        "operators": _last_change("csrc", "ksdiff_ops"),
        "load_before": round(os.getloadavg()[0], 2),
    }
    facts["gpu"] = torch.cuda.get_device_name() if device == "cuda" else None
    cuda = {"cuda": torch.version.cuda} if device == "cuda" else {}
    limits = measure_machine(torch.device(device))
    rates = (limits.bytes_per_second, limits.flops_per_second)
    return (
        facts
        | cuda
        | {name: round(rate / 1e9, 1) for name, rate in zip(LIMITS, rates, strict=True)}
    )


def _last_change(*folders: str) -> str:
    """The last commit that touched the folders, with "-dirty" if their files changed since."""
    git = ("git", "-C", str(ROOT), "--no-optional-locks")
    try:
        commit = output(*git, "log", "-1", "--format=%h", "--abbrev=12", "--", *folders)
        changed = output(*git, "status", "--porcelain", "-uno", *folders)
    except (OSError, subprocess.SubprocessError):  # no git, or no checkout
        return "unknown"
    return f"{commit}-dirty" if changed else commit or "unknown"


def read(path: Path) -> Result:
    """A result file.

    Raises:
        KSDiffError: the file is missing, damaged or of another format.
    """
    try:
        content = json.loads(path.read_text())
        return Result(content["header"], content["rows"])
    except OSError as error:
        raise KSDiffError(f"results {path}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError):
        raise KSDiffError(
            f"results {path}: expected JSON with header and rows; measure again or name another "
            "file"
        ) from None


def write(path: Path, head: dict, rows: Iterable[dict]) -> None:
    """Write a result file, one row a line; it appears at once."""
    lines = ",\n".join(json.dumps(row) for row in rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as partial:
        partial.write_text(f'{{"header": {json.dumps(head, indent=1)},\n"rows": [\n{lines}\n]}}\n')


def kept(path: Path, head: dict, facts: tuple[str, ...] = MACHINE + VERSIONS) -> Result:
    """What a file holds, which new rows join; ``head`` and no rows if there is no file.

    Raises:
        KSDiffError: it was measured with what differs from ``head`` in ``facts``.
    """
    if not path.exists():
        return Result(head, [])
    earlier = read(path)
    differing = differences(earlier.header, head, facts)
    if differing:
        raise KSDiffError(
            f"{path}: measured with another {'; '.join(differing)}; remove the file, or name "
            "another with --json"
        )
    return earlier


def differences(one: dict, other: dict, facts: tuple[str, ...]) -> list[str]:
    return [
        f"{fact}: {one.get(fact)} / {other.get(fact)}"
        for fact in facts
        if one.get(fact) != other.get(fact)
    ]


def identity(row: dict) -> str:
    """The facts that tell a row from every other one."""
    return json.dumps({k: v for k, v in row.items() if k not in MEASURES}, sort_keys=True)

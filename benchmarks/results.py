"""The one format of results, ``{"header": {...}, "rows": [...]}``, and the header of a machine.

A row holds facts that identify a measurement and what was measured (`MEASURES`).
"""

import json
import os
import subprocess
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks.measure import cores, limits
from ksdiff.errors import KSDiffError
from ksdiff.io.outputs import atomic
from ksdiff.runtime import machine_header

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
        "triton": _version("triton"),
        "operators": _last_change("csrc", "ksdiff_ops"),
        "load_before": round(os.getloadavg()[0], 2),
    }
    facts["gpu"] = torch.cuda.get_device_name() if device == "cuda" else None
    return facts | ({"cuda": torch.version.cuda} if device == "cuda" else {}) | limits(device)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _last_change(*folders: str) -> str:
    """The last commit that touched the folders, with "-dirty" if their files changed since."""
    commit = _git("log", "-1", "--format=%h", "--abbrev=12", "--", *folders)
    changed = commit and _git("--no-optional-locks", "status", "--porcelain", "-uno", *folders)
    return f"{commit}-dirty" if changed else commit or "unknown"


def _git(*arguments: str) -> str:
    """What git prints; nothing without git, or outside a checkout."""
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    except OSError:
        return ""
    return done.stdout.strip()


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

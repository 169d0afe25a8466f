"""The one format of results, ``{"header": {...}, "rows": [...]}``, and the header of a machine.

A row holds facts that identify a measurement and what was measured (`MEASURES`). The sections of
a larger benchmark are files of one folder, ``FOLDER/SECTION.json``.
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
    *("backend", "timing", "pixels_seen", "ratio"),
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
    command = ["git", *arguments]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
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
    partial = path.with_suffix(".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial.write_text(f'{{"header": {json.dumps(head, indent=1)},\n"rows": [\n{lines}\n]}}\n')
    partial.replace(path)


def read_folder(
    folder: Path, untimed: tuple[str, ...] = (), new: dict[str, Result] | None = None
) -> dict[str, Result]:
    """The sections of a folder by name.

    Args:
        untimed: how the names of sections begin that hold no times; they may come from another
            machine.
        new: sections in place of the folder's.

    Raises:
        KSDiffError: sections of different machines or versions.
    """
    new = new or {}
    found = {p.stem: read(p) for p in sorted(folder.glob("*.json")) if p.stem not in new} | new
    for facts, names in (
        (VERSIONS, list(found)),
        (MACHINE, [name for name in found if not name.startswith(untimed)]),
    ):
        for name in names[1:]:
            differing = differences(found[names[0]].header, found[name].header, facts)
            if differing:
                raise KSDiffError(
                    f"results {folder}: {names[0]} and {name} differ in {'; '.join(differing)}; "
                    "measure both again, or into another folder with --out"
                )
    return found


def differences(one: dict, other: dict, facts: tuple[str, ...]) -> list[str]:
    return [
        f"{fact}: {one.get(fact)} / {other.get(fact)}"
        for fact in facts
        if one.get(fact) != other.get(fact)
    ]


def identity(row: dict) -> str:
    """The facts that tell a row from every other one."""
    return json.dumps({k: v for k, v in row.items() if k not in MEASURES}, sort_keys=True)

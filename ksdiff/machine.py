"""What measured numbers and runs were made with: versions, code, machine."""

import os
import platform
import subprocess
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def machine_header() -> dict[str, object]:
    """Date, versions and machine, to stand above measured numbers."""
    import torch

    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "ksdiff": _version("ksdiff"),
        "code": code_version(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def code_version() -> str | None:
    """``git describe`` of the checkout that the package runs from; None if it is none."""
    package = Path(__file__).resolve().parent
    git = ("git", "-C", str(package))
    try:
        # An installed package can lie inside a checkout of something else.
        tracked = _output(*git, "ls-files", "--error-unmatch", Path(__file__).name)
        return _output(*git, "describe", "--always", "--dirty", "--tags") if tracked else None
    except (OSError, subprocess.SubprocessError):
        return None


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()


def processor() -> str:
    """The processor's model."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(
            line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")
        )
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "source"

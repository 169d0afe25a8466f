"""Order of the tests: what answers quickly comes first. Side by side, each process has one core."""

import os
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

_SLOW = ("models", "baselines", "inference", "cli", "ops", "training", "cuda_host")
_TESTS = Path(__file__).parent / "tests"


def _place(item) -> int:
    folder = item.path.relative_to(_TESTS).parts[0] if item.path.is_relative_to(_TESTS) else ""
    return _SLOW.index(folder) + 1 if folder in _SLOW else 0


def pytest_collection_modifyitems(items):
    items.sort(key=_place)

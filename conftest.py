"""Order of the tests: what answers quickly comes first."""

from pathlib import Path

_SLOW = ("models", "baselines", "inference", "cli", "ops", "training", "cuda_host")
_TESTS = Path(__file__).parent / "tests"


def _place(item) -> int:
    folder = item.path.relative_to(_TESTS).parts[0] if item.path.is_relative_to(_TESTS) else ""
    return _SLOW.index(folder) + 1 if folder in _SLOW else 0


def pytest_collection_modifyitems(items):
    items.sort(key=_place)

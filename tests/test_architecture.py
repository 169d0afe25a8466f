"""What imports what: only downwards, and never in a circle."""

from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.imports import imports

# From the ground up; the packages of one line do not import each other.
LAYERS = (
    {"ksdiff_ops", "ksdiff.errors"},
    {"ksdiff.config", "ksdiff.sensors", "ksdiff.runtime"},
    {"ksdiff.images"},
    {"ksdiff.io", "ksdiff.models", "ksdiff.metrics", "ksdiff.baselines"},
    {"ksdiff.synthetic"},
    {"ksdiff.inference"},
    {"ksdiff.training", "ksdiff.xarray", "ksdiff.serve"},
    {"ksdiff.evaluation"},
    {"ksdiff.cli"},
    {"ksdiff.__main__"},
)
LAYER = {package: number for number, line in enumerate(LAYERS) for package in line}


def modules(root: Path) -> dict[str, Path]:
    """Every module of the two packages by name."""
    paths = [*(root / "ksdiff").rglob("*.py"), *(root / "ksdiff_ops").rglob("*.py")]
    names = (".".join(path.relative_to(root).with_suffix("").parts) for path in paths)
    found = {name.removesuffix(".__init__"): path for name, path in zip(names, paths, strict=True)}
    # Names the version and what it loads when asked for: above and below all others.
    found.pop("ksdiff", None)
    return found


def package(module: str) -> str:
    """The package or module of LAYERS that ``module`` is in."""
    parts = module.split(".")
    return parts[0] if parts[0] == "ksdiff_ops" else ".".join(parts[:2])


def upward(root: Path) -> list[str]:
    """Imports of a package's own layer or a higher one, outside the package."""
    known = modules(root)
    bad = []
    for name, path in known.items():
        own = package(name)
        for other in imports(path, known):
            there = package(other)
            if there != own and LAYER[there] >= LAYER[own]:
                bad.append(f"{name} imports {other}")
    return bad


def circle(root: Path, within: str) -> list[str] | None:
    """Modules of a package that import each other in a circle; None if there is none."""
    known = {n: path for n, path in modules(root).items() if n.split(".")[0] == within}
    try:
        TopologicalSorter({n: imports(path, known) for n, path in known.items()}).prepare()
    except CycleError as error:
        return error.args[1]
    return None


def test_every_module_has_a_layer():
    assert {package(name) for name in modules(ROOT)} == LAYER.keys()


def test_nothing_imports_upward():
    assert not upward(ROOT)


def test_nothing_imports_in_a_circle():
    assert circle(ROOT, "ksdiff") is None


@pytest.fixture
def tree(tmp_path):
    def write(**files: str) -> Path:
        for name, text in files.items():
            path = tmp_path / "ksdiff" / (name.replace("__", "/") + ".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return write


def test_an_upward_import_would_be_found(tree):
    root = tree(
        models__low="def late():\n    from ksdiff.inference.high import x\n",
        inference__high="x = 1\n",
        io__beside="import ksdiff.models.low\n",
        errors="",
    )
    assert sorted(upward(root)) == [
        "ksdiff.io.beside imports ksdiff.models.low",
        "ksdiff.models.low imports ksdiff.inference.high",
    ]


def test_a_circle_would_be_found(tree):
    root = tree(
        models__a="from ksdiff.models import b\n",
        models__b="from ksdiff.models.c import x\n",
        models__c="x = 1\nimport ksdiff.models.a\n",
    )
    assert set(circle(root, "ksdiff")) == {f"ksdiff.models.{name}" for name in "abc"}

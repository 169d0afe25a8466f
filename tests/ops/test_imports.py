"""Who imports whom in `ksdiff_ops`: no circles, and backends are known by registration alone."""

from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import ksdiff_ops
from tests.support.imports import imports

ROOT = Path(ksdiff_ops.__file__).parent
MODULES = {
    ".".join(("ksdiff_ops", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(
        ".__init__"
    ): path
    for path in sorted(ROOT.rglob("*.py"))
}


# At their heads, inside functions, or by a name given to `import_module`.
GRAPH = {name: imports(path, MODULES, by_name=True) - {name} for name, path in MODULES.items()}


def test_no_module_imports_itself_through_others():
    try:
        TopologicalSorter(GRAPH).prepare()
    except CycleError as error:
        pytest.fail(f"circle: {' <- '.join(error.args[1])}")


def test_no_module_imports_the_public_package():
    assert [name for name in GRAPH if "ksdiff_ops" in GRAPH[name]] == []


def test_a_circle_would_be_found():
    with pytest.raises(CycleError):
        TopologicalSorter({**GRAPH, "ksdiff_ops.native": {"ksdiff_ops.triton"}}).prepare()


def test_the_choice_of_a_backend_imports_none():
    assert GRAPH["ksdiff_ops.backends"] == set()


def test_lowest_files_import_nothing_of_the_package():
    for name in ("arguments", "autocast", "bias", "flops", "native"):
        assert GRAPH[f"ksdiff_ops.{name}"] == set(), name
    assert GRAPH["ksdiff_ops.reference"] == {"ksdiff_ops.arguments"}

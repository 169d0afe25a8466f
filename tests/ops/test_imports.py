"""Who imports whom in `ksdiff_ops`: no circles, and backends are known by registration alone."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import ksdiff_ops

ROOT = Path(ksdiff_ops.__file__).parent
MODULES = {
    ".".join(("ksdiff_ops", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(
        ".__init__"
    ): path
    for path in sorted(ROOT.rglob("*.py"))
}


def imported(name: str) -> set[str]:
    """The modules of `ksdiff_ops` that one imports, at its head, inside functions, or by a name
    given to `import_module`.
    """
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                if not alias.name.startswith("_C"):  # compiled, so it imports nothing
                    found.add(inner if inner in MODULES else node.module)
        elif isinstance(node, ast.Constant) and node.value in MODULES:
            found.add(node.value)
    return found & set(MODULES) - {name}


GRAPH = {name: imported(name) for name in MODULES}


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

"""What the operators' benchmarks share: a fixture that measures a case and records it."""

import json

import pytest

from benchmarks.ops.cases import Case
from benchmarks.ops.measure import measure
from benchmarks.ops.tables import summary_lines
from benchmarks.timing import playback

_records = pytest.StashKey[list[dict]]()


def pytest_configure(config):
    config.stash[_records] = []


def pytest_collection_modifyitems(config, items):
    done = set()
    for path in config.getoption("--without"):
        done |= {entry["fullname"] for entry in json.loads(path.read_text())["benchmarks"]}
    measured = [item for item in items if item.nodeid in done]
    if measured:
        config.hook.pytest_deselected(items=measured)
        items[:] = [item for item in items if item.nodeid not in done]


@pytest.fixture
def record(benchmark, device, request):
    """`record(case, direction)` times all forms of a case; ours is the benchmark's result."""

    def run(case: Case, direction: str) -> None:
        compile_forms = not request.config.getoption("--eager")
        found = measure(case, direction, device, compile_forms=compile_forms)
        benchmark.extra_info.update(found.facts)
        request.config.stash[_records].append(found.facts)
        playback.play(benchmark, found.samples)

    return run


def pytest_terminal_summary(terminalreporter, config):
    for line in summary_lines(config.stash[_records]):
        terminalreporter.write_line(line)

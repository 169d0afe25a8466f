"""The result file of `python -m benchmarks.models`: one section per measurement."""

import json
from collections.abc import Collection, Iterable
from pathlib import Path

from benchmarks.models.names import QUALITY
from ksdiff.errors import KSDiffError

RESULTS = Path(__file__).resolve().parents[1] / "results"
# What must agree before numbers may stand in one table; scores and counts ask for versions only.
_VERSIONS = ("torch", "ksdiff")
_MACHINE = ("device", "cpu", "gpu", "cores", "threads", "operators")
_UNTIMED = ("cost", QUALITY, "memory")  # how their names begin


def default_path(device: str) -> Path:
    return RESULTS / f"models-{device}.json"


def read(path: Path) -> dict[str, dict]:
    """Sections by name, each {"machine": facts, "rows": [...]}; none where there is no file.

    Raises:
        KSDiffError: sections come from different machines or versions.
    """
    sections = _load(path)
    _check(path, _machines(sections))
    return sections


def start(path: Path, names: Collection[str], machine: dict) -> None:
    """Before ``names`` are measured on ``machine``: nothing of another may stay beside them.

    Sections of ``names`` that another machine or version has measured leave the file.

    Raises:
        KSDiffError: another one has measured a section that is not to be measured again.
    """
    sections = _load(path)
    kept = {name: section for name, section in sections.items() if name not in names}
    _check(path, [*_machines(kept), *((name, machine) for name in names)])
    for name in sections.keys() - kept.keys():
        if not _differences([(name, sections[name]["machine"]), (name, machine)]):
            kept[name] = sections[name]
    if kept.keys() != sections.keys():
        _save(path, kept)


def write(path: Path, name: str, machine: dict, rows: list[dict]) -> None:
    """Put one section into the file; the others stay, if they are of the same machine.

    Raises:
        KSDiffError: the file's other sections come from another machine or other versions.
    """
    sections = _load(path) | {name: {"machine": machine, "rows": rows}}
    _check(path, _machines(sections))
    _save(path, sections)


def _load(path: Path) -> dict[str, dict]:
    return json.loads(path.read_text())["sections"] if path.exists() else {}


def _save(path: Path, sections: dict[str, dict]) -> None:
    partial = path.with_suffix(".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial.write_text(json.dumps({"sections": sections}, indent=1) + "\n")
    partial.replace(path)


_Measured = Iterable[tuple[str, dict]]  # sections' names and machines


def _machines(sections: dict[str, dict]) -> _Measured:
    return [(name, section["machine"]) for name, section in sections.items()]


def _differences(measured: _Measured) -> dict[str, list[str]]:
    """The values of every fact that should be one."""
    values = {
        fact: {
            str(machine.get(fact))
            for name, machine in measured
            if fact in _VERSIONS or not name.startswith(_UNTIMED)
        }
        for fact in (*_VERSIONS, *_MACHINE)
    }
    return {fact: sorted(found) for fact, found in values.items() if len(found) > 1}


def _check(path: Path, measured: _Measured) -> None:
    for fact, found in _differences(measured).items():
        raise KSDiffError(
            f"results {path}: {fact} differs between sections ({', '.join(found)}); measure all of "
            "them again (python -m benchmarks.models), or write to another file with --json"
        )

"""The result file of `python -m benchmarks.models`: one section per measurement."""

import json
from pathlib import Path

from ksdiff.errors import KSDiffError

RESULTS = Path(__file__).resolve().parents[1] / "results"
# What must agree before numbers may stand in one table; scores and counts ask for versions only.
_VERSIONS = ("torch", "ksdiff")
_MACHINE = ("device", "cpu", "gpu", "cores", "threads")
_UNTIMED = ("cost", "quality", "memory")


def default_path(device: str) -> Path:
    return RESULTS / f"models-{device}.json"


def read(path: Path) -> dict[str, dict]:
    """Sections by name, each {"machine": facts, "rows": [...]}; none where there is no file."""
    if not path.exists():
        return {}
    sections = json.loads(path.read_text())["sections"]
    check_same_machine(path, sections)
    return sections


def write(path: Path, name: str, machine: dict, rows: list[dict], **settings: object) -> None:
    """Put one section into the file; the others stay, if they are of the same machine.

    Raises:
        KSDiffError: the file's other sections come from another machine or other versions.
    """
    sections = read(path)
    sections[name] = {"machine": machine, **settings, "rows": rows}
    check_same_machine(path, sections)
    partial = path.with_suffix(".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial.write_text(json.dumps({"sections": sections}, indent=1) + "\n")
    partial.replace(path)


def check_same_machine(path: Path, sections: dict[str, dict]) -> None:
    for fact in (*_VERSIONS, *_MACHINE):
        found = {
            str(section["machine"].get(fact))
            for name, section in sections.items()
            if fact in _VERSIONS or name not in _UNTIMED
        }
        if len(found) > 1:
            raise KSDiffError(
                f"results {path}: {fact} differs between sections ({', '.join(sorted(found))}); "
                "measure all of them again, or write to another file with --json"
            )

"""Result files of `pytest benchmarks --benchmark-json`: read, checked, and put together."""

import json
from collections.abc import Iterable
from pathlib import Path

# Two results may stand in one table only if all of these are the same.
MACHINE = ("device", "cpu", "gpu", "cores", "threads", "omp_wait_policy", "system")
VERSIONS = ("python", "torch", "cuda", "triton", "ksdiff", "operators")
_LIMITS = ("copy_gb_per_s", "fma_gflop_per_s", "load_before")


class ResultError(Exception):
    """A result file cannot be read, or does not go together with another."""


def load(path: Path) -> dict | None:
    """A result, or None if it is JSON of another kind.

    Raises:
        ResultError: the file is missing, is no JSON, or lacks the facts of its machine.
    """
    try:
        result = json.loads(path.read_text())
    except OSError as error:
        raise ResultError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:
        raise ResultError(f"{path}: no JSON ({error}); a run that was cut short?") from error
    if not isinstance(result, dict) or "benchmarks" not in result:
        return None
    missing = {"device", "cpu", "torch", *_LIMITS[:2]} - set(result.get("machine_info", {}))
    if missing:
        raise ResultError(
            f"{path}: machine_info lacks {', '.join(sorted(missing))}; "
            "expected a file of `pytest benchmarks --benchmark-json`: measure again"
        )
    return result


def key(machine: dict, facts: tuple[str, ...] = MACHINE + VERSIONS) -> tuple:
    return tuple(str(machine.get(fact)) for fact in facts)


def differences(one: dict, other: dict, facts: tuple[str, ...]) -> list[str]:
    """What differs between two machine headers, in words."""
    return [
        f"{fact}: {one.get(fact)} / {other.get(fact)}"
        for fact in facts
        if str(one.get(fact)) != str(other.get(fact))
    ]


def case_name(entry: dict) -> str:
    """What tells a measurement from every other one, whichever file of tests it came from."""
    facts = {k: v for k, v in entry["extra_info"].items() if k not in _MEASURED}
    return json.dumps(facts, sort_keys=True)


_MEASURED = {"forms", "backend", "least_bytes", "flops", "device", "parameters"}


def groups(named: dict[str, dict]) -> dict[str, dict]:
    """Results by the name of their first file; those of one machine and version put together."""
    found: dict[tuple, dict[str, dict]] = {}
    for name, result in named.items():
        found.setdefault(key(result["machine_info"]), {})[name] = result
    return {next(iter(pieces)): merge(pieces) for pieces in found.values()}


def merge(pieces: dict[str, dict]) -> dict:
    """One result out of several of the same machine and versions.

    The limits are the best that any piece saw, the load is the highest.

    Raises:
        ResultError: they differ in machine or version, or measured the same thing twice.
    """
    (first_name, first), *rest = pieces.items()
    owners = {case_name(entry): first_name for entry in first["benchmarks"]}
    machine = dict(first["machine_info"])
    entries = list(first["benchmarks"])
    for name, result in rest:
        other = result["machine_info"]
        found = differences(machine, other, MACHINE + VERSIONS)
        if found:
            raise ResultError(f"{first_name} and {name} do not go together: {'; '.join(found)}")
        for limit in _LIMITS:
            machine[limit] = max(machine.get(limit, 0), other.get(limit, 0))
        for entry in result["benchmarks"]:
            case = case_name(entry)
            if case in owners:
                raise ResultError(
                    f"{owners[case]} and {name} both hold {entry['name']}; leave out one of them"
                )
            owners[case] = name
        entries += result["benchmarks"]
    return first | {"machine_info": machine, "benchmarks": entries}


def write(path: Path, result: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")


def load_all(paths: Iterable[Path]) -> dict[str, dict]:
    """Results by file stem; JSON of other kinds, and results without entries, are left out."""
    loaded = {path.stem: load(path) for path in paths}
    return {name: result for name, result in loaded.items() if result and result["benchmarks"]}

"""Tables, durations and origins as the pages show them."""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.results import Result

Cell = Callable[[dict], str]


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def listing(rows: Iterable[dict], columns: Mapping[str, Cell | str]) -> str:
    """A line for every row; a column is its head, and a cell or the format of one."""
    cells = [cell.format_map if isinstance(cell, str) else cell for cell in columns.values()]
    return table(columns, [[cell(row) for cell in cells] for row in rows])


def pivot(rows: Iterable[dict], down: str, across: str, cell: Cell, corner: str = "") -> str:
    """A table with the values of ``down`` as rows and those of ``across`` as columns."""
    cells: dict[str, dict[str, str]] = {}
    for row in rows:
        cells.setdefault(str(row[down]), {})[row[across]] = cell(row)
    columns = list(dict.fromkeys(name for own in cells.values() for name in own))
    lines = [[name, *(own.get(column, "–") for column in columns)] for name, own in cells.items()]
    return table([corner, *map(str, columns)], lines)


def times(value: object) -> str:
    """A size as 1×32×64×64, any other value as it is."""
    return "×".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def duration(seconds: float) -> str:
    """Three significant digits and a unit: 1.23 s, 45.6 ms, 789 µs."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"


def spread(row: dict) -> str:
    """The durations that most samples lie between."""
    return f"{duration(row['p20'])} – {duration(row['p80'])}"


def mebibytes(count: float) -> str:
    return f"{count / 2**20:,.0f} MiB"


def indexes(values: dict[str, float], names: tuple[str, ...], digits: str = "233") -> str:
    """Quality indexes in the order of ``names``, each with its number of digits."""
    pairs = zip(names, digits, strict=True)
    return " / ".join(f"{values[name]:.{count}f}" for name, count in pairs)


def origin(header: dict) -> str:
    """Machine, versions and date of a result."""
    threads = header["threads"]
    return (
        f"{header.get('gpu') or header['processor']}, {threads} thread{'s' * (threads > 1)}; "
        f"KSDiff {header['ksdiff']}, PyTorch {header['torch']}, {header['date'][:10]}."
    )


def load(header: dict) -> str:
    return f"Load {header['load_before']} of other programs before. "


def noted(text: str, found: "Result", note: str = "") -> str:
    """A table with a note and the origin of its numbers below."""
    return f"{text}\n{note}{origin(found.header)}\n"

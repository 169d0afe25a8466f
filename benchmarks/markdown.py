"""Tables, durations and origins as the pages show them."""

from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

from benchmarks.results import Result

Cell = Callable[[dict], str]
Row = SimpleNamespace  # a row's facts, as attributes
Cells = Callable[[Row], str]


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    return _lines(" | ".join(head), (" | ".join(row) for row in rows))


def listing(rows: Iterable[dict], head: str, cells: Cells) -> str:
    """A line for every row. Bars part columns in ``head`` and in what ``cells`` gives."""
    return _lines(head, (cells(Row(**row)) for row in rows))


def _lines(head: str, lines: Iterable[str]) -> str:
    rule = " | ".join("---" for _ in head.split("|"))
    return "".join(f"| {line} |\n" for line in (head, rule, *lines))


def nested(
    rows: Iterable[dict], down: str | tuple[str, ...], across: str
) -> dict[Any, dict[Any, dict]]:
    """The rows by their values of ``down``, then by those of ``across``."""
    found: dict[Any, dict[Any, dict]] = {}
    for row in rows:
        key = row[down] if isinstance(down, str) else tuple(row[name] for name in down)
        found.setdefault(key, {})[row[across]] = row
    return found


def pivot(rows: Iterable[dict], down: str, across: str, cell: Cell, corner: str = "") -> str:
    """A table with the values of ``down`` as rows and those of ``across`` as columns."""
    lines = nested(rows, down, across)
    columns = dict.fromkeys(name for own in lines.values() for name in own)
    cells = [
        [str(name), *(cell(own[column]) if column in own else "–" for column in columns)]
        for name, own in lines.items()
    ]
    return table([corner, *map(str, columns)], cells)


def times(value: object) -> str:
    """A size as 1×32×64×64, any other value as it is."""
    return "×".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def duration(seconds: float) -> str:
    """Three significant digits and a unit: 1.23 s, 45.6 ms, 789 µs."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"


def percent(change: float, digits: int = 0) -> str:
    """A relative change, with its sign."""
    return f"{100 * change:+.{digits}f} %"


def two_digits(value: float) -> str:
    return f"{float(f'{value:.2g}'):,.0f}" if value >= 10 else f"{value:.2g}"


def megabytes(count: int | None) -> str:
    return "" if count is None else f"{count / 1e6:.1f}" if count < 1e8 else f"{count / 1e6:.0f}"


def mebibytes(count: float | None) -> str:
    return "not measurable" if count is None else f"{count / 2**20:,.0f} MiB"


def origin(header: dict) -> str:
    """Machine, versions and date of a result."""
    threads = header["threads"]
    return (
        f"{header.get('gpu') or header['processor']}, {threads} thread{'s' * (threads > 1)}; "
        f"KSDiff {header['ksdiff']}, PyTorch {header['torch']}, {header['date'][:10]}."
    )


def load(found: Result) -> str:
    return f"Load {found.header['load_before']} of other programs before. "


def cores_and_load(found: Result) -> str:
    cores, before = found.header["cores"], found.header["load_before"]
    return f"{cores} cores, load {before:.0f} of other programs before. "


def noted(text: str, found: Result, note: str = "") -> str:
    """A table with a note and the origin of its numbers."""
    return f"{text}\n{note}{origin(found.header)}\n"


def row_table(
    found: Result, head: str, cells: Cells, note: str = "", rows: Iterable[dict] | None = None
) -> str:
    """A `listing` of the rows, or of others made of them, and of facts of the header; `noted`."""
    every = (found.header | row for row in (found.rows if rows is None else rows))
    return noted(listing(every, head, cells), found, note)

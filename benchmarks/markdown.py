"""Tables, durations and origins as the pages show them."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from benchmarks.results import Result

Cell = Callable[[dict], str]
# Formats of notes.
LOAD = "Load {load_before} of other programs before. "
CORES_AND_LOAD = "{cores} cores, load {load_before:.0f} of other programs before. "


def told(text: str, facts: Mapping[str, object]) -> str:
    """``text`` as an f-string of facts and functions of here: ``{size}² in {duration(p50)}``."""
    # Texts are written in this package, never read from a file.
    return eval(f"f{text!r}", {**globals(), **facts})


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    return _lines(" | ".join(head), (" | ".join(row) for row in rows))


def listing(rows: Iterable[dict], head: str, cells: str) -> str:
    """A line for every row: the cells, `told`. Bars part columns in ``head`` and ``cells``."""
    return _lines(head, (told(cells, row) for row in rows))


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


def noted(text: str, found: Result, note: str = "") -> str:
    """A table with a note, `told` of header and first row, and the origin of its numbers."""
    return f"{text}\n{told(note, found.header | found.rows[0])}{origin(found.header)}\n"


def row_table(
    found: Result, head: str, cells: str, note: str = "", rows: Iterable[dict] | None = None
) -> str:
    """A `listing` of the rows, or of others made of them, and of facts of the header; `noted`."""
    every = (found.header | row for row in (found.rows if rows is None else rows))
    return noted(listing(every, head, cells), found, note)


def fact_table(found: Result, lines: str, note: str = "") -> str:
    """The only row: what it is of, then lines of a name and a fact each, all `told`; `noted`."""
    head, *others = told(lines, found.header | found.rows[0]).splitlines()
    return noted(_lines(f"{head} | ", others), found, note)

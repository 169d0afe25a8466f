"""Tables, durations and origins as the pages show them."""

import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from benchmarks.results import Result

Cell = Callable[[dict], str]


class _Formatter(string.Formatter):
    """Knows four more formats: ``{x:time}``, ``{x:MB}``, ``{x:MiB}``, and ``{x:×}`` of a size."""

    def format_field(self, value: Any, format_spec: str) -> str:
        formats = {"time": duration, "MB": megabytes, "MiB": mebibytes, "×": times}
        own = formats.get(format_spec)
        return own(value) if own else super().format_field(value, format_spec)


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def listing(rows: Iterable[dict], columns: Mapping[str, str]) -> str:
    """A line for every row; a column is its head, and the format of its cells."""
    form = _Formatter().vformat
    return table(columns, [[form(cell, (), row) for cell in columns.values()] for row in rows])


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


def megabytes(count: int | None) -> str:
    return "" if count is None else f"{count / 1e6:.1f}" if count < 1e8 else f"{count / 1e6:.0f}"


def mebibytes(count: float | None) -> str:
    return "not measurable" if count is None else f"{count / 2**20:,.0f} MiB"


def indexes(values: dict[str, float], names: Sequence[str], digits: str = "") -> str:
    """Quality indexes in the order of ``names``, each with its number of digits: an angle has two,
    others three, unless they are given."""
    digits = digits or "".join("2" if name == "SAM" else "3" for name in names)
    pairs = zip(names, digits, strict=True)
    return " / ".join(f"{values[name]:.{count}f}" for name, count in pairs)


def origin(header: dict) -> str:
    """Machine, versions and date of a result."""
    threads = header["threads"]
    return (
        f"{header.get('gpu') or header['processor']}, {threads} thread{'s' * (threads > 1)}; "
        f"KSDiff {header['ksdiff']}, PyTorch {header['torch']}, {header['date'][:10]}."
    )


# Formats of notes.
LOAD = "Load {load_before} of other programs before. "
CORES_AND_LOAD = "{cores} cores, load {load_before:.0f} of other programs before. "


def noted(text: str, found: Result, note: str = "") -> str:
    """A table with a note and the origin of its numbers below."""
    return f"{text}\n{note}{origin(found.header)}\n"


def row_table(
    found: Result, columns: Mapping[str, str], note: str = "", rows: Iterable[dict] | None = None
) -> str:
    """A `listing` of the rows, or of others made of them, `noted`.

    Columns may have facts of the header, too; the note those of the first row and of the header.
    """
    every = [found.header | row for row in (found.rows if rows is None else rows)]
    told = _Formatter().vformat(note, (), found.header | found.rows[0])
    return noted(listing(every, columns), found, told)


def fact_table(
    found: Result, title: str, lines: Mapping[str, str], note: str = "", **facts: object
) -> str:
    """The only row as a table of lines, each a name and the format of its value."""
    (row,) = found.rows
    form, every = _Formatter().vformat, found.header | row | facts
    rows = [[name, form(value, (), every)] for name, value in lines.items()]
    return noted(table([form(title, (), every), ""], rows), found, form(note, (), every))

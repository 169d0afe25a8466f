"""How tables and durations are written, and where they go in a page."""


def duration(seconds: float) -> str:
    """Three significant digits in the unit that suits: 1.23 s, 45.6 ms, 789 µs."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def origin(header: dict) -> str:
    """Machine, versions and date of a result, from its :func:`ksdiff.runtime.machine_header`."""
    threads = header["threads"]
    return (
        f"{header['processor']}, {threads} thread{'' if threads == 1 else 's'}; "
        f"KSDiff {header['ksdiff']}, PyTorch {header['torch']}, {header['date'][:10]}."
    )


def put_between(page: str, begin: str, text: str, end: str) -> str:
    """A page with ``text`` in the place of what stands between its two markers."""
    before, rest = page.split(begin)
    after = rest.split(end)[1]
    return f"{before}{begin}\n{text}{end}{after}"

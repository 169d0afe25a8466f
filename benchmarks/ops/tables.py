"""Words and numbers of the operators' results: what page, terminal and command line share."""

from typing import NamedTuple

from benchmarks.ops.cases import OURS, text
from benchmarks.text import duration

# Facts that are shown as columns of their own, in this order, where a case has them.
KEYS = ("shape", "layer", "batch", "out", "kernel", "groups", "dtype", "direction")


class Row(NamedTuple):
    """A measured case: ours, and the PyTorch form that came closest (None if none ran)."""

    facts: dict
    ours: dict
    best: str | None

    @property
    def speed_up(self) -> float | None:
        """Median time of the best PyTorch form over ours."""
        return (
            None if self.best is None else self.facts["forms"][self.best]["p50"] / self.ours["p50"]
        )

    @property
    def memory_ratio(self) -> float | None:
        """Our peak memory over that of the best PyTorch form."""
        if self.best is None or not self.ours.get("peak_bytes"):
            return None
        other = self.facts["forms"][self.best].get("peak_bytes")
        return self.ours["peak_bytes"] / other if other else None

    @property
    def bandwidth(self) -> float:
        """The bytes that must move, per second of ours, in GB/s."""
        return self.facts["least_bytes"] / self.ours["p50"] / 1e9

    @property
    def rate(self) -> float:
        """Operations per second of ours, in GFLOP/s."""
        return self.facts["flops"] / self.ours["p50"] / 1e9

    def floor(self, machine: dict) -> float:
        """Seconds that the machine needs at least: for the bytes, or for the operations."""
        return max(
            self.facts["least_bytes"] / (machine["copy_gb_per_s"] * 1e9),
            self.facts["flops"] / (machine["fma_gflop_per_s"] * 1e9),
        )

    def label(self) -> str:
        short = {"kernel": "k", "groups": "G", "batch": "B", "out": "to "}
        parts = [
            f"{short.get(key, '')}{text(self.facts[key])}"
            for key in KEYS
            if key in self.facts and key not in ("dtype", "direction")
        ]
        return " ".join(parts)


def row(facts: dict) -> Row:
    forms = facts["forms"]
    timed = [name for name in forms if not name.startswith(OURS) and "p50" in forms[name]]
    best = min(timed, key=lambda name: forms[name]["p50"]) if timed else None
    return Row(facts, forms[OURS], best)


def megabytes(count: int | None) -> str:
    return "" if count is None else f"{count / 1e6:.1f}" if count < 1e8 else f"{count / 1e6:.0f}"


def summary_lines(records: list[dict]) -> list[str]:
    """One line a case for the terminal: ours, and how many times longer the best form takes."""
    lines = []
    for one in map(row, records):
        words = f"{one.facts['op']} {one.label()} {one.facts['dtype']} {one.facts['direction']}"
        against = "" if one.best is None else f"{one.speed_up:6.2f}x faster than {one.best}"
        lines.append(f"{words:70} {duration(one.ours['p50']):>9} {against}")
    return lines

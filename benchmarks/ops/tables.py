"""The operators' results by case, and their tables in docs/benchmarks.md."""

import math
from collections.abc import Iterable
from typing import NamedTuple

from benchmarks.markdown import duration, origin, table
from benchmarks.ops.cases import OURS
from benchmarks.results import LIMITS, Result, identity

OPERATORS = (
    *("dynamic_conv", "lowrank_dynamic_conv", "tucker_kernel"),
    *("batched_conv2d", "adaptive_conv2d"),
)
# Facts with columns of their own, in this order, where a case has them; and their short names.
KEYS = ("shape", "layer", "batch", "out", "kernel", "groups", "dtype", "direction")
HEADS = {"kernel": "k", "groups": "G", "batch": "B", "out": "C_out"}


class Case(NamedTuple):
    """All forms of a case; the best of those written in PyTorch (None if none ran)."""

    facts: dict
    forms: dict[str, dict]
    best: str | None

    @property
    def ours(self) -> dict:
        return self.forms[OURS]

    @property
    def speed_up(self) -> float | None:
        """Median time of the best PyTorch form over ours."""
        return None if self.best is None else self.forms[self.best]["p50"] / self.ours["p50"]

    @property
    def bandwidth(self) -> float:
        """The bytes that must move, per second of ours, in GB/s."""
        return self.ours["least_bytes"] / self.ours["p50"] / 1e9

    @property
    def rate(self) -> float:
        """Operations per second of ours, in GFLOP/s."""
        return self.ours["flops"] / self.ours["p50"] / 1e9

    def floor(self, machine: dict) -> float:
        """Seconds that the machine needs at least: to move the bytes, or to compute."""
        copy, rate = (machine[name] * 1e9 for name in LIMITS)
        return max(self.ours["least_bytes"] / copy, self.ours["flops"] / rate)

    def size(self) -> str:
        short = {"kernel": "k", "groups": "G", "batch": "B", "out": "to "}
        keys = (key for key in KEYS[:-2] if key in self.facts)
        return " ".join(f"{short.get(key, '')}{text(self.facts[key])}" for key in keys)

    def label(self) -> str:
        facts = self.facts
        return f"{facts['op']} {self.size()} {facts['dtype']} {facts['direction']}"

    def line(self) -> str:
        against = "" if self.best is None else f"{self.speed_up:6.2f}x faster than {self.best}"
        return f"{self.label():70} {duration(self.ours['p50']):>9} {against}"


def cases_of(rows: Iterable[dict]) -> list[Case]:
    """The cases that have a row of ours, in the order in which they are shown."""
    groups: dict[str, dict[str, dict]] = {}
    for row in rows:
        groups.setdefault(identity({**row, "form": None}), {})[row["form"]] = row
    found = []
    for forms in groups.values():
        timed = [n for n, form in forms.items() if not n.startswith(OURS) and "p50" in form]
        best = min(timed, key=lambda name: forms[name]["p50"]) if timed else None
        found.append(Case(forms[OURS], forms, best))
    return sorted(found, key=_order)


def _order(case: Case) -> tuple:
    facts = case.facts
    groups = facts.get("groups", 0)
    return (
        facts["op"],
        facts["dtype"] != "float32",
        math.prod(facts.get("shape", [])),
        *(facts.get("layer", []), facts.get("batch", 0), facts.get("kernel", 0)),
        math.inf if groups == "C" else int(groups),
        facts["direction"],
    )


def by_operator(result: Result) -> dict[str, list[Case]]:
    cases = cases_of(row for row in result.rows if "form" in row)
    found = {op: [case for case in cases if case.facts["op"] == op] for op in OPERATORS}
    return {op: own for op, own in found.items() if own}


def operators(result: Result) -> str:
    """The machine, then per operator a table against the best form and one of all forms."""
    parts = [origin(result.header), _limits(result.header)]
    for op, cases in by_operator(result).items():
        keys = [key for key in KEYS if any(key in case.facts for case in cases)]
        others = [n for n in dict.fromkeys(n for c in cases for n in c.forms) if n != OURS]
        head = [HEADS.get(key, key) for key in keys]
        lead = [[text(case.facts.get(key, "")) for key in keys] for case in cases]
        columns = (
            *(OURS, "20–80 %", "GB/s", "GFLOP/s", "of the floor", "MB"),
            *("best PyTorch form", "its time", "its MB", "speed-up", "at most"),
        )
        same = (f"{k} {text(cases[0].facts[k])}" for k in ("rank", "ranks") if k in cases[0].facts)
        against = (_against(case, result.header) for case in cases)
        forms = ([_form(case.forms.get(name)) for name in (OURS, *others)] for case in cases)
        left_out = "".join(
            f"- {name}, {case.size()} {case.facts['dtype']} {case.facts['direction']}: "
            f"{form['left_out']}\n"
            for case in cases
            for name, form in case.forms.items()
            if "left_out" in form
        )
        parts += [
            f"### {', '.join([f'`{op}`', *same])}\n",
            table([*head, *columns], [a + b for a, b in zip(lead, against, strict=True)]),
            f"<details><summary>Every form of <code>{op}</code>: time, peak memory</summary>\n",
            table([*head, OURS, *others], [a + b for a, b in zip(lead, forms, strict=True)]),
            "</details>\n",
            *([f"Left out:\n\n{left_out}"] if left_out else []),
        ]
    return "\n".join(parts)


def _limits(machine: dict) -> str:
    copy, rate = (machine[name] for name in LIMITS)
    return (
        f"Copy {copy} GB/s, multiply-adds {rate} GFLOP/s, OMP_WAIT_POLICY "
        f"{machine['omp_wait_policy']}, operators at commit {machine['operators']}.\n"
    )


def _against(case: Case, machine: dict) -> list[str]:
    ours = case.ours
    cells = [
        duration(ours["p50"]),
        f"{duration(ours['p20'])} – {duration(ours['p80'])}",
        f"{case.bandwidth:.1f}",
        f"{case.rate:.1f}",
        f"{case.floor(machine) / ours['p50']:.0%}",
        megabytes(ours["peak_bytes"]),
    ]
    if case.best is None:
        return [*cells, *[""] * 5]
    best = case.forms[case.best]
    most = best["p50"] / case.floor(machine)
    memory = megabytes(best["peak_bytes"])
    speed_up = f"**{case.speed_up:.2f}×**"
    return [*cells, case.best, duration(best["p50"]), memory, speed_up, f"{most:.2f}×"]


def _form(form: dict | None) -> str:
    if form is None:
        return ""
    if "left_out" in form:
        return "left out"
    memory = megabytes(form["peak_bytes"])
    return f"{duration(form['p50'])}{f', {memory} MB' if memory else ''}"


def megabytes(count: int | None) -> str:
    return "" if count is None else f"{count / 1e6:.1f}" if count < 1e8 else f"{count / 1e6:.0f}"


def text(value: object) -> str:
    return "×".join(map(str, value)) if isinstance(value, list | tuple) else str(value)

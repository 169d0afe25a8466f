"""The operators' results by case, and their tables in docs/benchmarks.md."""

import math
from typing import NamedTuple

from benchmarks.markdown import Row, duration, listing, megabytes, origin, times
from benchmarks.ops.cases import OURS, label
from benchmarks.results import LIMITS, Result, identity

OPERATORS = (
    *("dynamic_conv", "lowrank_dynamic_conv", "tucker_kernel"),
    *("batched_conv2d", "adaptive_conv2d"),
)
# Facts with columns of their own, in this order, where a case has them; and their short names.
_SIZE = ("shape", "layer", "batch", "out", "kernel", "groups")
_HEADS = {"kernel": "k", "groups": "G", "batch": "B", "out": "C_out"}
_HALF = ("bfloat16", "float16")
NO_LOSS = 0.97  # of the best PyTorch form's time over ours; the rest is the timer's


class Measured(NamedTuple):
    """All forms of a case; the best of those written in PyTorch (None if none ran)."""

    facts: dict
    forms: dict[str, dict]
    best: str | None
    machine: dict  # the result's header

    @property
    def op(self) -> str:
        """Networks' rows have it in what they are about."""
        return self.facts.get("op") or self.facts["what"].split()[0]

    @property
    def ours(self) -> dict:
        return self.forms[OURS]

    @property
    def speed_up(self) -> float | None:
        """Time of the best PyTorch form over ours."""
        return None if self.best is None else _over(self.forms[self.best], self.ours)

    @property
    def bandwidth(self) -> float:
        """The bytes that must move, per second of ours, in GB/s."""
        return self.ours["least_bytes"] / self.ours["p50"] / 1e9

    @property
    def rate(self) -> float:
        """Operations per second of ours, in GFLOP/s."""
        return self.ours["flops"] / self.ours["p50"] / 1e9

    @property
    def floor(self) -> float:
        """Seconds that the machine needs at least: to move the bytes, or to compute.

        Matrix products in half precision have units of their own, whose rate is not measured.
        """
        copy, rate = (self.machine[name] * 1e9 for name in LIMITS)
        bytes_take = self.ours["least_bytes"] / copy
        if self.op == "batched_conv2d" and self.facts["dtype"] in _HALF:
            return bytes_take
        return max(bytes_take, self.ours["flops"] / rate)

    def row(self) -> dict[str, object]:
        """Facts for tables."""
        return {**self.facts, "case": self, "its": self.forms.get(self.best)}

    def left_out(self) -> str:
        """A line for every form that is, with the reason."""
        return "".join(
            f"- {name}, {label(self.facts)}: {form['left_out']}\n"
            for name, form in self.forms.items()
            if "left_out" in form
        )


def _over(form: dict, ours: dict) -> float:
    """Round by round, or, in files from before rounds were compared, of the medians."""
    return form.get("ratio", form["p50"] / ours["p50"])


def by_case(result: Result) -> list[Measured]:
    """The cases that have a row of ours."""
    groups: dict[str, dict[str, dict]] = {}
    for row in result.rows:
        if "form" in row:
            groups.setdefault(identity({**row, "form": None}), {})[row["form"]] = row
    found = []
    for forms in groups.values():
        timed = [n for n, form in forms.items() if not n.startswith(OURS) and "p50" in form]
        best = min(timed, key=lambda name: _over(forms[name], forms[OURS]), default=None)
        found.append(Measured(forms[OURS], forms, best, result.header))
    return found


def by_operator(result: Result) -> dict[str, list[Measured]]:
    """The cases in the order in which they are shown."""
    cases = sorted(by_case(result), key=_order)
    found = {op: [case for case in cases if case.op == op] for op in OPERATORS}
    return {op: own for op, own in found.items() if own}


def _order(case: Measured) -> tuple:
    facts = case.facts
    groups = facts.get("groups", 0)
    return (
        facts["dtype"] != "float32",
        math.prod(facts.get("shape", [])),
        *(facts.get("layer", []), facts.get("batch", 0), facts.get("kernel", 0)),
        math.inf if groups == "C" else int(groups),
        facts["direction"],
    )


def operators(result: Result) -> str:
    """The machine, then per operator a table against the best form and one of all forms."""
    machine = result.header
    parts = [
        origin(machine),
        "Copy {copy_gb_per_s} GB/s, multiply-adds {fma_gflop_per_s} GFLOP/s, OMP_WAIT_POLICY "
        "{omp_wait_policy}, operators at commit {operators}.\n".format_map(machine),
    ]
    for op, cases in by_operator(result).items():
        facts = cases[0].facts
        same = [f"{key} {times(facts[key])}" for key in ("rank", "ranks") if key in facts]
        keys = [key for key in (*_SIZE, "dtype", "direction") if key in facts]
        head = " | ".join(_HEADS.get(key, key) for key in keys)
        names = [OURS, *dict.fromkeys(n for case in cases for n in case.forms if n != OURS)]
        rows = [
            case.row()
            | {"at": " | ".join(times(case.facts[key]) for key in keys)}
            | {"all": " | ".join(_form(case.forms.get(name)) for name in names)}
            for case in cases
        ]
        left_out = "".join(case.left_out() for case in cases)
        parts += [
            f"### {', '.join([f'`{op}`', *same])}\n",
            listing((row for row in rows if row["its"]), f"{head} | {_AGAINST}", _against),
            f"<details><summary>Every form of <code>{op}</code>: time, peak memory</summary>\n",
            listing(rows, " | ".join([head, *names]), lambda r: f"{r.at} | {r.all}"),
            "</details>\n",
            *([f"Left out:\n\n{left_out}"] if left_out else []),
        ]
    return "\n".join(parts)


_AGAINST = (
    f"{OURS} | 20–80 % | GB/s | GFLOP/s | of the floor | MB | best PyTorch form | its time | "
    "its MB | speed-up | at most"
)


def _against(r: Row) -> str:
    return (
        f"{r.at} | {duration(r.p50)} | {duration(r.p20)} – {duration(r.p80)} | "
        f"{r.case.bandwidth:.1f} | {r.case.rate:.1f} | {r.case.floor / r.p50:.0%} | "
        f"{megabytes(r.peak_bytes)} | {r.case.best} | {duration(r.its['p50'])} | "
        f"{megabytes(r.its['peak_bytes'])} | **{r.case.speed_up:.2f}×** | "
        f"{r.its['p50'] / r.case.floor:.2f}×"
    )


def _form(form: dict | None) -> str:
    if form is None or "left_out" in form:
        return "left out" if form else ""
    memory = megabytes(form["peak_bytes"])
    return f"{duration(form['p50'])}{f', {memory} MB' if memory else ''}"


def _by_network(cases: list[Measured]) -> str:
    return listing(
        (case.row() for case in cases),
        "network | operator | dtype | direction | ours | PyTorch | form | speed-up",
        lambda r: (
            f"{r.network} | {r.what} | {r.dtype} | {r.direction} | {duration(r.p50)} | "
            f"{duration(r.its['p50'])} | {r.case.best} | {r.case.speed_up:.2f}"
        ),
    )


def networks(result: Result) -> str:
    """Time of the best PyTorch form over ours, case by case."""
    return f"{origin(result.header)}\n\n{_by_network(by_case(result))}"


def losses(result: Result) -> str:
    """The same, of the cases where ours is slower."""
    cases = by_case(result)
    lost = [case for case in cases if case.speed_up < NO_LOSS]
    return (
        f"{origin(result.header)}\n\n{len(lost)} of {len(cases)} cases are slower than the best "
        f"eager PyTorch form:\n\n{_by_network(lost) if lost else 'None.'}\n"
    )

"""The tables of what many scenes cost, from rows whose results can be reckoned by hand."""

import pytest

from benchmarks.results import Result
from benchmarks.studies import scale
from tests.support.benchmarks import MACHINE

COST = [
    {"bands": bands, "ratio": ratio, "side": 1000, "core_seconds": seconds, "price": 0.1}
    for bands, ratio, seconds in ((4, 4, 2.0), (8, 4, 4.0), (6, 2, 3.6))
]


def test_costs_of_band_counts_that_were_not_measured_lie_between():
    assert scale.core_seconds(COST, 8, 4) == pytest.approx(4e-6)
    assert scale.core_seconds(COST, 6, 4) == pytest.approx(3e-6)
    assert scale.core_seconds(COST, 6, 2) == pytest.approx(3.6e-6)


def test_tables_hold_bytes_hours_money_and_shares():
    costs = scale.cost_table(Result(MACHINE, COST))
    # 1e12 m² of 15 m: 4.44e9 pixels, 2 x (2 + 6 x 2 / 4) bytes in, 12 out, 3.6 µs each.
    assert "| Landsat 8/9 | 6 | 0.00444 | 0.0444 | 0.0533 | 4.4 | 0.44 |" in costs
    assert "0.50 for 4 bands at ratio 4" in costs
    times = {("large", 2): 20.0, ("large", 1): 30.0, ("small", 1): 9.0, ("small", 2): 5.0}
    rows = [{"scenes": s, "workers": count, "seconds": t} for (s, count), t in times.items()]
    workers = scale.workers_table(Result(MACHINE, rows))
    assert "by rows | 30.0 s | 20.0 s | 75% |" in workers
    assert "x 512 | 9.0 s | 5.0 s | 90% |" in workers
    moved = {"side": 1000, "read": 5_000_000, "written": 8_000_000}
    rows = [{"step": "windows", "core_seconds": 3.0}, {"step": "writing", "core_seconds": 1.0}]
    steps = scale.steps_table(Result(MACHINE, [row | moved for row in rows]))
    assert "| writing | 1.00 s | 25.0% | 5.0 MB | 8.0 MB |" in steps
    row = {"places": 10, "tasks": 50, "sleep": 1.0, "seconds": 6.25, "core_ms_per_task": 2.0}
    assert "| 10 | 50 | 2.00 ms | 80% | 500 |" in scale.scheduler_table(Result(MACHINE, [row]))

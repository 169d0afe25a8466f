"""The tables of `python -m benchmarks.scale`, from rows whose results can be reckoned by hand."""

import pytest

from benchmarks import scale
from benchmarks.results import write
from tests.support.benchmarks import MACHINE

COST = [
    {"part": "cost", "bands": bands, "ratio": ratio, "side": 1000, "core_seconds": seconds}
    for bands, ratio, seconds in ((4, 4, 2.0), (8, 4, 4.0), (6, 2, 3.6))
]
MOVED = {"read": 5_000_000, "written": 8_000_000}


def test_costs_of_band_counts_that_were_not_measured_lie_between():
    assert scale.core_seconds(COST, 8, 4) == pytest.approx(4e-6)
    assert scale.core_seconds(COST, 6, 4) == pytest.approx(3e-6)
    assert scale.core_seconds(COST, 6, 2) == pytest.approx(3.6e-6)


def test_tables_hold_bytes_hours_money_and_shares(tmp_path):
    rows = [
        *COST,
        {"part": "steps", "step": "windows", "side": 1000, "core_seconds": 3.0} | MOVED,
        {"part": "steps", "step": "writing", "side": 1000, "core_seconds": 1.0} | MOVED,
        {"part": "workers", "scenes": "large", "workers": 2, "seconds": 20.0},
        {"part": "workers", "scenes": "large", "workers": 1, "seconds": 30.0},
        {"part": "workers", "scenes": "small", "workers": 1, "seconds": 9.0},
        {"part": "workers", "scenes": "small", "workers": 2, "seconds": 5.0},
        {"part": "scheduler", "places": 10, "tasks": 50, "sleep": 1.0, "seconds": 6.25}
        | {"core_ms_per_task": 2.0},
    ]
    path = tmp_path / "scale.json"
    write(path, MACHINE | {"load_before": 0.2, "cores": 2}, rows)
    costs = scale.cost_table(path, price=0.1)
    # 1e12 m² of 15 m: 4.44e9 pixels, 2 x (2 + 6 x 2 / 4) bytes in, 12 out, 3.6 µs each.
    assert "| Landsat 8/9 | 6 | 0.00444 | 0.0444 | 0.0533 | 4.4 | 0.44 |" in costs
    assert "0.50 for 4 bands at ratio 4" in costs
    assert "by rows | 30.0 s | 20.0 s | 75% |" in scale.workers_table(path)
    assert "x 512 | 9.0 s | 5.0 s | 90% |" in scale.workers_table(path)
    assert "| writing | 1.00 s | 25.0% | 5.0 MB | 8.0 MB |" in scale.steps_table(path)
    assert "| 10 | 50 | 2.00 ms | 80% | 500 |" in scale.scheduler_table(path)

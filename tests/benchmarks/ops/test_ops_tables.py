"""The operators' tables and plots show what was measured."""

import pytest

from benchmarks.ops import plots, tables
from benchmarks.results import Result
from tests.support.benchmarks import MACHINE, rows


def test_a_case_counts_speed_up_floor_and_rates():
    machine = {"copy_gb_per_s": 10.0, "fma_gflop_per_s": 100.0}
    (one,) = tables.by_case(Result(machine, rows()))
    assert one.best == "compiled shift"
    assert one.speed_up == pytest.approx(1.5)
    assert (one.bandwidth, one.rate) == (pytest.approx(5.0), pytest.approx(20.0))
    slow = one._replace(machine=machine | {"fma_gflop_per_s": 10.0})
    assert (one.floor, slow.floor) == (pytest.approx(1e-3), pytest.approx(4e-3))
    named = {"network": "a", "what": "batched_conv2d k 3", "dtype": "bfloat16"}  # as in networks
    assert slow._replace(facts=named).floor == pytest.approx(1e-3)


def test_tables_give_losses_apart_and_why_a_form_is_missing():
    text = tables.operators(Result(MACHINE, rows(3) + rows(5, compiled=None)))
    assert "| compiled shift | 3 ms | 1.0 | **1.50×** |" in text
    assert "| shift | 5 ms | 1.0 | **2.50×** |" in text
    assert "k 5 G 1 float32 forward: does not compile: LoweringException: too large" in text
    networks = [
        row | {"network": network, "what": f"dynamic_conv k {kernel}"}
        for network, kernel, ours in (("lost", 3, 6.0), ("won", 5, 2.0))
        for row in rows(kernel, ours=ours)
    ]
    result = Result(MACHINE, networks)
    losses, every = tables.losses(result), tables.networks(result)
    assert "1 of 2 cases" in losses and "0.50" in losses
    assert "| lost |" in losses and "| won |" not in losses and "| won |" in every
    assert "0 of 1 cases" in tables.losses(Result(MACHINE, networks[len(networks) // 2 :]))


def test_plots_are_drawn_for_what_was_measured(tmp_path):
    sizes = [row for side in (4, 8, 16, 32) for row in rows(5, side)]
    both = [row for k in (3, 5, 7) for row in rows(k, 8, direction="forward+backward")]
    plots.save(Result(MACHINE, sizes + both), tmp_path, "ops-cpu")
    for kind in ("speed-up", "floor", "sizes"):
        assert (tmp_path / f"ops-cpu-{kind}.png").read_bytes().startswith(b"\x89PNG")
    plots.save(Result(MACHINE, []), tmp_path / "missing", "ops-cpu")  # nothing to draw, no file

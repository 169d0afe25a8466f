"""The timer and the memory meter measure what they say."""

import itertools

import pytest
import torch

from benchmarks import measure


@pytest.fixture
def lasting(monkeypatch):
    """`lasting(seconds...)` makes a sampler of these, or of the only one for ever.

    The clock, `lasting.now[0]`, advances by these alone.
    """
    now = [0.0]

    def lasting(*seconds):
        times = iter(seconds) if seconds[1:] else itertools.repeat(*seconds)

        def sample():
            own = next(times)
            now[0] += own
            return own

        return sample

    monkeypatch.setattr(measure, "synchronised_time", lambda: now[0])
    lasting.now = now
    return lasting


def test_a_race_gives_long_calls_fewer_samples_but_some(lasting):
    found = measure.race(
        {"short": lasting(1e-3), "long": lasting(0.02)}, budget=0.015, rounds=(5, 8)
    )
    assert found["long"] == {"p20": 0.02, "p50": 0.02, "p80": 0.02, "rounds": 3}
    assert found["short"]["rounds"] == 8
    assert lasting.now[0] == pytest.approx(9 * 1e-3 + 3 * 0.02)


def test_a_race_compares_calls_in_the_rounds_of_both(lasting):
    samplers = {
        "ours": lasting(1e-3, *[1e-3, 2e-3] * 4),
        "slow": lasting(4e-3, 3e-3, 4e-3),
    }
    found = measure.race(samplers, budget=8e-3, rounds=(2, 8), over="ours")
    assert found["slow"]["rounds"] == 2 and found["ours"]["rounds"] == 8
    # In rounds 0 and 4, of those in which ours takes a thousandth of a second.
    assert found["slow"]["ratio"] == pytest.approx(3.5) and found["ours"]["ratio"] == 1


def test_long_calls_run_once_and_short_ones_share_the_budget(lasting):
    times = measure.timed({"short": lasting(0.25), "long": lasting(30.0)}, seconds=10)
    assert times["long"] == {"p20": 30.0, "p50": 30.0, "p80": 30.0, "rounds": 1}
    assert times["short"]["p50"] == 0.25 and times["short"]["rounds"] > 3
    assert lasting.now[0] < 30.0 + 10


def test_a_short_call_is_repeated_and_its_time_is_of_one(lasting):
    sample = measure.sampler(lasting(1e-4))
    sample()
    before = lasting.now[0]
    assert sample() == pytest.approx(1e-4)
    assert lasting.now[0] - before == pytest.approx(21e-4)  # an untimed call, twenty for the sample


def test_percentiles_lie_around_the_median():
    found = measure.summary([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    assert found == pytest.approx({"p20": 2.0, "p50": 3.5, "p80": 5.0, "rounds": 6})


def test_peak_memory_of_a_call_counts_results_and_scratch():
    def call():
        scratch = torch.ones(4_000_000)
        return scratch[:1_000_000] + 1

    call()
    found = measure.peak_bytes(call, "cpu")
    if found is None:
        pytest.skip("peak memory is read from Linux's /proc")
    assert found == pytest.approx(20e6, rel=0.1)

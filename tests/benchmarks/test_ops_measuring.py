"""The operators' benchmarks measure what they say, and leave out what fails with its reason."""

import json
import time

import pytest
import torch

from benchmarks import machine, memory, timing
from benchmarks.ops import __main__ as command
from benchmarks.ops import cases
from benchmarks.ops import measure as measuring
from benchmarks.ops.measure import measure

SMALL = {
    "dynamic_conv": cases.dynamic_conv((2, 4, 6, 7), 3, 2, "float32"),
    "lowrank_dynamic_conv": cases.lowrank_dynamic_conv((2, 4, 6, 7), 3, 4, "bfloat16", rank=2),
    "tucker_kernel": cases.tucker_kernel(2, (6, 4, 3), (4, 4, 2, 2)),
    "batched_conv2d": cases.batched_conv2d((3, 4, 6, 7), 8, 3, 2, "float32"),
    "adaptive_conv2d": cases.adaptive_conv2d((2, 4, 6, 7), 5, 3, "float32"),
}


@pytest.fixture(autouse=True)
def brief(monkeypatch):
    monkeypatch.setattr(timing, "_BUDGET", 1e-3)
    monkeypatch.setattr(measuring, "race", lambda samplers: timing.race(samplers, 1e-3, (2, 2)))
    monkeypatch.setattr(measuring, "peak_bytes", lambda call, device, seconds: 1)


@pytest.mark.parametrize("direction", cases.DIRECTIONS)
@pytest.mark.parametrize("case", SMALL.values(), ids=SMALL.keys())
def test_all_eager_forms_of_an_operator_agree_and_are_timed(case, direction):
    facts = measure(case, direction, "cpu", compile_forms=False).facts
    eager = {form.name for form in case.forms if not form.compiled}
    assert set(facts["forms"]) == eager
    assert all(form["p20"] <= form["p50"] <= form["p80"] for form in facts["forms"].values())
    json.dumps(facts)


def with_form(case, form):
    return cases.Case(**{**vars(case), "forms": (*case.forms[:3], form)})


def test_a_form_that_computes_something_else_is_refused():
    wrong = cases.Form("wrong", lambda x, weight: 1.01 * cases.forms.shift_conv(x, weight))
    with pytest.raises(AssertionError, match="wrong, forward: result is off by"):
        measure(with_form(SMALL["dynamic_conv"], wrong), "forward", "cpu")


def test_a_form_that_fails_is_left_out_with_its_reason():
    def broken(x, weight):
        raise RuntimeError("no such instruction\nand a long story")

    case = with_form(SMALL["dynamic_conv"], cases.Form("broken", broken))
    forms = measure(case, "forward", "cpu").facts["forms"]
    assert forms["broken"] == {"left_out": "fails: RuntimeError: no such instruction"}


def test_a_compilation_that_a_broken_cache_stops_is_tried_again(monkeypatch):
    tries = []

    def compile_with_broken_cache(function, dynamic):
        tries.append(function)
        if len(tries) > 1:
            return function

        def fails(*tensors):
            raise ImportError("file too short")

        return fails

    monkeypatch.setattr(torch, "compile", compile_with_broken_cache)
    forms = measure(SMALL["dynamic_conv"], "forward", "cpu").facts["forms"]
    assert len(tries) == 2
    assert "p50" in forms["compiled shift"]


def test_a_form_without_room_is_left_out_and_ours_is_not(monkeypatch):
    monkeypatch.setattr(measuring, "available_bytes", lambda device: 1000)
    forms = measure(SMALL["dynamic_conv"], "forward", "cpu").facts["forms"]
    assert "p50" in forms["ksdiff_ops"]
    assert "GiB are free" in forms["eager unfold"]["left_out"]


def test_a_race_gives_long_calls_fewer_samples_but_some():
    counts = {"short": 0, "long": 0}

    def taking(name, seconds):
        def sample():
            counts[name] += 1
            time.sleep(seconds)
            return seconds

        return sample

    samplers = {"short": taking("short", 1e-3), "long": taking("long", 0.02)}
    found = timing.race(samplers, budget=0.015, rounds=(5, 8))
    assert len(found["long"]) == 3
    assert 5 <= len(found["short"]) <= 8
    assert counts == {"short": len(found["short"]) + 1, "long": 3}


def test_played_back_samples_are_the_benchmark_s_own():
    clock = timing.Playback()

    class Benchmark:
        def pedantic(self, target, rounds):
            self.found = []
            for _ in range(rounds):
                start = clock()
                target()
                self.found.append(clock() - start)

    benchmark = Benchmark()
    clock.play(benchmark, [0.5, 0.25])
    assert benchmark.found == [0.5, 0.25]


def test_peak_memory_of_a_call_counts_results_and_scratch():
    def call():
        scratch = torch.ones(4_000_000)
        return scratch[:1_000_000] + 1

    call()
    found = memory.peak_bytes(call, "cpu")
    if found is None:
        pytest.skip("peak memory is read from Linux's /proc")
    assert found == pytest.approx(20e6, rel=0.1)


def test_percentiles_lie_around_the_median():
    found = measuring.summary([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    assert found["p20"] == pytest.approx(2.0) and found["p50"] == 3.5
    assert found["p80"] == pytest.approx(5.0) and found["rounds"] == 6
    assert measuring.summary([2.0]) == {"p20": 2.0, "p50": 2.0, "p80": 2.0, "rounds": 1}


def test_bytes_and_operations_are_those_of_the_definition():
    case = cases.dynamic_conv((8, 64, 256, 256), 3, 1, "bfloat16")
    pixels = 8 * 256 * 256
    assert case.least_bytes("forward") == 2 * pixels * (2 * 64 + 9)
    assert case.least_bytes("forward+backward") == 2 * pixels * (5 * 64 + 3 * 9)
    assert case.operations("forward") == 2 * pixels * 64 * 9
    assert case.id == "k3-G1-bfloat16"


OPTIONS = ["--op", "dynamic_conv", "--shape", "1,4,8,8", "--device", "cpu"]


@pytest.mark.parametrize(
    "options, problem",
    [
        ([*OPTIONS[:2], "--shape", "1,4,8"], "--shape: expected B,C,H,W"),
        ([*OPTIONS[:2], "--shape", "1,0,8,8"], "of at least 1 each"),
        ([*OPTIONS, "--kernel", "4"], "--kernel: expected an odd size"),
        ([*OPTIONS, "--groups", "3"], "--groups: expected a divisor of the 4 channels, got 3"),
        ([*OPTIONS, "--rank", "2"], "--rank: dynamic_conv has none"),
        ([*OPTIONS, "--dtype", "int8"], "argument --dtype: invalid choice"),
        (["--op", "tucker_kernel", "--shape", "1,8,8,3,1"], "expected a square kernel"),
        (
            [
                "--op",
                "batched_conv2d",
                "--shape",
                "1,4,8,8",
                "--groups",
                "4",
                "--out-channels",
                "6",
            ],
            "--out-channels: expected a multiple of 4",
        ),
    ],
)
def test_bad_options_are_refused_by_name(capsys, options, problem):
    with pytest.raises(SystemExit) as stopped:
        command.main(options)
    assert stopped.value.code == 2
    assert problem in capsys.readouterr().err


def test_without_a_gpu_the_command_says_what_measures_here(capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit):
        command.main([*OPTIONS[:-1], "cuda"])
    assert "--device cpu measures here" in capsys.readouterr().err


@pytest.fixture
def quick_machine(monkeypatch):
    monkeypatch.setattr(machine, "limits", lambda _: {"copy_gb_per_s": 9.0, "fma_gflop_per_s": 9.0})


def test_one_line_times_a_shape_of_one_s_own(quick_machine, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    path = tmp_path / "own.json"
    command.main([*OPTIONS, "--direction", "forward", "--eager", "--json", str(path)])
    shown = capsys.readouterr().out
    for word in ("dynamic_conv 1×4×8×8 k3 G1 float32 forward", "eager shift", "peak MB", "floor"):
        assert word in shown
    (facts,) = json.loads(path.read_text())["cases"]
    assert facts["shape"] == [1, 4, 8, 8]

"""The operators' benchmarks measure what they say, and leave out what fails with its reason."""

import dataclasses
import functools
import json

import pytest
import torch

from benchmarks import measure as meter
from benchmarks import results
from benchmarks.ops import __main__ as command
from benchmarks.ops import cases, suites
from benchmarks.ops.measure import measure
from tests.support.benchmarks import MACHINE

half = functools.partial(dataclasses.replace, dtype="bfloat16")
SMALL = {
    "dynamic_conv": cases.dynamic_conv((2, 4, 6, 7), (3, 5), 2),
    "lowrank_dynamic_conv": half(cases.lowrank_dynamic_conv((2, 4, 6, 7), 3, 4, rank=2)),
    "tucker_kernel": cases.tucker_kernel((2, 6, 4, 3, 3)),
    "batched_conv2d": cases.batched_conv2d((3, 4, 6, 7), 8, groups=2),
    "adaptive_conv2d": cases.adaptive_conv2d((2, 4, 6, 7), 5),
}
ALL = {
    **SMALL,
    "one tap": cases.dynamic_conv((2, 4, 6, 7), 1, 4),
    "decoupled": cases.decoupled_filter((2, 4, 6, 7)),
    "carafe": cases.carafe((1, 4, 5, 6), 3, 2),
    "separable": half(cases.separable_dynamic_conv((1, 3, 8, 9), 5)),
}


@pytest.fixture(autouse=True)
def brief(monkeypatch):
    """Few rounds, and a machine whose limits nobody measures."""
    monkeypatch.setattr(meter, "race", functools.partial(meter.race, rounds=(2, 2)))
    monkeypatch.setattr(meter, "peak_bytes", lambda call, device, seconds: 1)
    monkeypatch.setattr(results, "header", lambda device: dict(MACHINE))


@pytest.mark.parametrize("direction", cases.DIRECTIONS)
@pytest.mark.parametrize("case", ALL.values(), ids=ALL.keys())
def test_all_eager_forms_of_an_operator_agree_and_are_timed(case, direction):
    rows = measure(case, direction, "cpu", compile_forms=False)
    assert [row["form"] for row in rows] == [cases.OURS, *case.plain]
    assert all(row["p20"] <= row["p50"] <= row["p80"] and row["ratio"] > 0 for row in rows)
    assert all(case.row(direction).items() <= row.items() for row in rows)
    json.dumps(rows)


def measured(compiling=False, **plain) -> dict[str, dict]:
    case = dataclasses.replace(SMALL["dynamic_conv"], plain=SMALL["dynamic_conv"].plain | plain)
    return {row["form"]: row for row in measure(case, "forward", "cpu", compiling)}


def test_compiled_forms_are_timed_and_what_cannot_be_is_left_out_with_its_reason(monkeypatch):
    def broken(x, weight):
        raise RuntimeError("no such instruction\nand a long story")

    traced = functools.partial(torch.compile, backend="eager", fullgraph=True)
    monkeypatch.setattr(torch, "compile", traced)
    forms = measured(True, broken=broken)
    assert "p50" in forms["compiled shift"] and "p50" not in forms["broken"]
    assert forms["broken"]["left_out"] == "fails: RuntimeError: no such instruction"
    monkeypatch.setattr(meter, "available_bytes", lambda device: 1000)
    forms = measured()
    assert "p50" in forms["ksdiff_ops"]  # whatever there is
    assert "GiB, and 0.0 are free" in forms["unfold and sum"]["left_out"]


def test_a_form_that_computes_something_else_is_refused():
    with pytest.raises(AssertionError, match="wrong, forward: result is off by"):
        measured(wrong=lambda x, weight: 1.01 * cases.forms.shift(x, weight))


def test_bytes_and_operations_are_those_of_the_definition():
    case = half(cases.dynamic_conv((8, 64, 256, 256)))
    pixels = 8 * 256 * 256
    assert case.least_bytes("forward") == 2 * pixels * (2 * 64 + 9)
    assert case.least_bytes("forward+backward") == 2 * pixels * (5 * 64 + 3 * 9)
    assert case.operations("forward") == 2 * pixels * 64 * 9


OWN = "--op dynamic_conv --shape 1,4,8,8 --device cpu"


@pytest.mark.parametrize(
    "options, problem",
    [
        ("--op dynamic_conv", "--shape: expected B,C,H,W, got None"),
        ("--op dynamic_conv --shape 1,0,8,8", "expected whole numbers of at least 1"),
        ("--op tucker_kernel --shape 1,8,8,3,1", "expected a square kernel"),
        (f"{OWN} --kernel 4", "--kernel: expected an odd size"),
        (f"{OWN} --groups 3", "groups that divides x's 4 channels, got 3"),
        (f"{OWN} --rank 2", "--rank: dynamic_conv has none"),
        (f"{OWN} --dtype int8", "argument --dtype: invalid choice"),
        (f"{OWN} --device cuda", "--device cpu measures here"),
    ],
)
def test_bad_options_are_refused_by_name(capsys, monkeypatch, options, problem):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit) as stopped:
        command.main(options.split())
    assert stopped.value.code == 2
    assert problem in capsys.readouterr().err


def test_without_built_operators_the_command_says_how_to_build_them(monkeypatch):
    def missing(*_):
        raise RuntimeError("no backend; build it with pip install ./ops")

    monkeypatch.setattr(command.ksdiff_ops.backends, "choose", missing)
    with pytest.raises(SystemExit, match=r"^benchmarks\.ops: no backend; build it"):
        command.main(OWN.split())


def test_one_line_times_a_shape_of_one_s_own(capsys, tmp_path):
    path = tmp_path / "own.json"
    command.main([*OWN.split(), "--eager", "--json", str(path)])
    shown = capsys.readouterr().out
    for word in ("dynamic_conv 1×4×8×8 k 3 G 1 float32 forward", "shift", "peak MB", "floor"):
        assert word in shown
    rows = results.read(path).rows
    assert [row["form"] for row in rows] == 2 * ["ksdiff_ops", "unfold and sum", "shift"]
    assert {row["direction"] for row in rows} == set(cases.DIRECTIONS)
    assert all(row["shape"] == [1, 4, 8, 8] for row in rows)


@pytest.fixture
def suite(monkeypatch, tmp_path):
    """`suite(*options)` measures three small cases into one file; gives its rows."""
    small = [(case, "forward", op == "dynamic_conv") for op, case in list(SMALL.items())[:3]]
    monkeypatch.setitem(command.SUITES, "sizes", lambda device: iter(small))
    path = tmp_path / "ops.json"

    def run(*options):
        command.main(["--device", "cpu", "--eager", "--json", str(path), *options])
        return results.read(path).rows

    return run


def test_the_suite_goes_on_where_its_file_ends_on_the_same_machine(suite, capsys, monkeypatch):
    first = suite("--quick")
    assert {row["op"] for row in first} == {"dynamic_conv"}
    assert suite("--seconds", "-1") == first
    assert "the same command measures the rest" in capsys.readouterr().out
    every = suite()
    assert every[: len(first)] == first
    assert [*dict.fromkeys(row["op"] for row in every)] == list(SMALL)[:3]
    assert suite() == every  # all is there: nothing is measured
    monkeypatch.setattr(results, "header", lambda device: MACHINE | {"threads": 1})
    with pytest.raises(SystemExit, match="another threads: 2 / 1; remove the file, or name"):
        suite()


@pytest.mark.parametrize("name", suites.SUITES)
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_suite_has_a_case_once_and_the_first_every_operator_among_its_quick_ones(name, device):
    found = list(suites.SUITES[name](device))
    rows = [json.dumps(case.row(direction)) for case, direction, _ in found]
    assert len(set(rows)) == len(rows) > 100
    quick = {case.op for case, _, quick in found if quick}
    assert quick == set(SMALL) if name == "sizes" else quick

"""Times the operators against the same in PyTorch.

python -m benchmarks.ops --op dynamic_conv --shape 8,64,256,256 --kernel 5 --dtype bf16
    a shape of your own
python -m benchmarks.ops [sizes]
    many sizes and dtypes, into benchmarks/results/ops-DEVICE.json
python -m benchmarks.ops networks
    the shapes of published networks beside every eager form, into networks-DEVICE.json

A suite goes on where its file ends; rows that are taken out of the file are measured again.
"""

import argparse
import inspect
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

import ksdiff_ops
from benchmarks import results
from benchmarks.markdown import Row, duration, listing, megabytes
from benchmarks.ops import cases
from benchmarks.ops.measure import measure
from benchmarks.ops.suites import SUITES
from benchmarks.ops.tables import OPERATORS, Measured, by_case
from ksdiff.errors import KSDiffError

_DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16", "fp64": "float64"}


def main(arguments: list[str] | None = None) -> None:
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: PyTorch sees no CUDA device; --device cpu measures here")
    try:
        ksdiff_ops.backends.choose("dynamic_conv", given.device)
        own = build(given) if given.op else None
    except ValueError as error:
        parser.error(str(error))
    except RuntimeError as error:  # the operators are not built
        sys.exit(f"benchmarks.ops: {error}")
    path = given.json
    if own is None:
        stem = "ops" if given.suite == "sizes" else given.suite
        path = path or results.RESULTS / f"{stem}-{given.device}.json"
        every = SUITES[given.suite](given.device)
        chosen = [(case, direction) for case, direction, quick in every if quick >= given.quick]
    else:
        chosen = [(own, direction) for direction in cases.DIRECTIONS]
    compiling = not given.eager and (own is not None or given.suite != "networks")
    try:
        run(chosen, given.device, compiling, path, given.seconds)
    except KSDiffError as error:
        sys.exit(f"benchmarks.ops: {error}")


def _parser() -> argparse.ArgumentParser:
    """Not typer's, which a machine that gpu.sh runs on may lack."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ops",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    usual = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("suite", nargs="?", choices=SUITES, default="sizes")
    parser.add_argument("--device", choices=("cpu", "cuda"), default=usual)
    parser.add_argument("--eager", action="store_true", help="leave out forms that need compiling")
    parser.add_argument("--json", type=Path, help="result file to write")
    suite = parser.add_argument_group("a suite")
    suite.add_argument("--quick", action="store_true", help="only the most telling cases")
    suite.add_argument("--seconds", type=float, help="start no case later than this")
    one = parser.add_argument_group("a shape of your own")
    one.add_argument("--op", choices=OPERATORS)
    one.add_argument(
        "--shape", type=_sizes, help="of the image: B,C,H,W; of tucker_kernel: B,Cout,Cin,k,k"
    )
    one.add_argument("--dtype", default="fp32", choices=_DTYPES)
    one.add_argument("--kernel", type=_count, help="side of the kernel, odd (default: 3)")
    one.add_argument("--groups", type=_count, help="default: 1")
    one.add_argument("--rank", type=_count, help="of lowrank_dynamic_conv (default: 4)")
    one.add_argument("--ranks", type=_sizes, help="of tucker_kernel (default: 4,4,2,2)")
    one.add_argument("--out-channels", type=_count, help="default: as many as the image has")
    return parser


def _count(given: str) -> int:
    if not given.strip().isdecimal() or int(given) < 1:
        raise argparse.ArgumentTypeError(f"expected whole numbers of at least 1, got {given!r}")
    return int(given)


def _sizes(given: str) -> tuple[int, ...]:
    return tuple(map(_count, given.split(",")))


def run(
    chosen: list[tuple[cases.Case, str]],
    device: str,
    compiling: bool,
    path: Path | None = None,
    most_seconds: float | None = None,
) -> None:
    """Measure cases, each in a direction, and write the rows of all that the file lacks."""
    head, rows = results.header(device), []
    if path:
        head, rows = results.kept(path, head)
    known = {_case_of(row) for row in rows}
    began = time.monotonic()
    for case, direction in chosen:
        if _case_of(case.row(direction)) in known:
            print(f"{cases.label(case.row(direction))}: in {path} already")
            continue
        if most_seconds is not None and time.monotonic() - began > most_seconds:
            print(f"stopped after {most_seconds:g} s; the same command measures the rest")
            return
        found = measure(case, direction, device, compiling)
        rows += found
        if path:
            results.write(path, head, rows)
        print(shown(by_case(results.Result(head, found))[0]), flush=True)


def _case_of(row: dict) -> str:
    return results.identity({**row, "form": None})


def build(given: argparse.Namespace) -> cases.Case:
    """The case that the options describe.

    Raises:
        ValueError: an option does not fit; the message says which.
    """
    make = getattr(cases, given.op)
    names = ("kernel", "groups", "rank", "ranks", "out_channels")
    options = {name: getattr(given, name) for name in names if getattr(given, name) is not None}
    for name in options.keys() - inspect.signature(make).parameters.keys():
        raise ValueError(f"--{name.replace('_', '-')}: {given.op} has none")
    axes = "B,Cout,Cin,k,k" if given.op == "tucker_kernel" else "B,C,H,W"
    if len(given.shape or ()) != len(axes.split(",")):
        raise ValueError(f"--shape: expected {axes}, got {given.shape}")
    if given.op == "tucker_kernel" and given.shape[3] != given.shape[4]:
        raise ValueError(f"--shape: expected a square kernel, got {given.shape}")
    if options.get("kernel", 1) % 2 == 0:
        raise ValueError(f"--kernel: expected an odd size, got {given.kernel}")
    if len(options.get("ranks", "1234")) != 4:
        raise ValueError(f"--ranks: expected r1,r2,r3,r4, got {given.ranks}")
    case = make(given.shape, **options)
    _ = case.output  # raises where the operator does not take these shapes
    return replace(case, dtype=_DTYPES[given.dtype])


def shown(case: Measured) -> str:
    """All forms of a case, ours first, beside the machine's limits."""
    ours, machine = case.ours, case.machine
    rows = [form for form in case.forms.values() if "left_out" not in form]
    head = "form | median | 20 % | 80 % | peak MB | / ksdiff_ops"

    def cells(r: Row) -> str:
        times = " | ".join(map(duration, (r.p50, r.p20, r.p80)))
        return f"{r.form} | {times} | {megabytes(r.peak_bytes)} | {r.p50 / ours['p50']:.2f}×"

    return (
        f"{cases.label(case.facts)}, backend {ours['backend']}, "
        f"{machine['gpu'] or machine['processor']}, {machine['threads']} threads\n\n"
        f"{listing(rows, head, cells)}{case.left_out()}"
        f"\n{case.bandwidth:.1f} GB/s of {machine['copy_gb_per_s']} that a copy reaches, "
        f"{case.rate:.1f} GFLOP/s of {machine['fma_gflop_per_s']}; "
        f"{case.floor / ours['p50']:.0%} of the floor\n"
    )


if __name__ == "__main__":
    main()

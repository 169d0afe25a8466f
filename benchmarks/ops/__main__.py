"""Times the operators against the same in PyTorch.

python -m benchmarks.ops --op dynamic_conv --shape 8,64,256,256 --kernel 5 --dtype bf16
    a shape of your own
python -m benchmarks.ops [sizes]
    many sizes and dtypes, into benchmarks/results/ops-DEVICE.json
python -m benchmarks.ops networks
    the shapes of published networks beside every eager form, into networks-DEVICE.json

What a file holds is not repeated.
"""

import argparse
import sys
import time
from pathlib import Path

import torch

import ksdiff_ops
from benchmarks import results
from benchmarks.markdown import duration, table
from benchmarks.ops import cases
from benchmarks.ops.measure import measure
from benchmarks.ops.suites import SUITES
from benchmarks.ops.tables import Measured, by_case, megabytes
from ksdiff.errors import KSDiffError

_DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16", "fp64": "float64"}
# Which options each operator has beside --shape and --dtype.
_OPTIONS = {
    "dynamic_conv": ("kernel", "groups"),
    "lowrank_dynamic_conv": ("kernel", "groups", "rank"),
    "tucker_kernel": ("ranks",),
    "batched_conv2d": ("kernel", "groups", "cout"),
    "adaptive_conv2d": ("kernel", "cout"),
}


def main(arguments: list[str] | None = None) -> None:
    parser = _parser()
    given = parser.parse_args(arguments)
    device = given.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: PyTorch sees no CUDA device; --device cpu measures here")
    try:
        ksdiff_ops.backends.choose("dynamic_conv", device)
    except RuntimeError as error:  # the operators are not built
        sys.exit(f"benchmarks.ops: {error}")
    try:
        if given.op is None:
            run_suite(given, device)
        else:
            run_one(given, device)
    except ValueError as error:
        parser.error(str(error))
    except KSDiffError as error:
        sys.exit(f"benchmarks.ops: {error}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ops",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("suite", nargs="?", choices=SUITES, default="sizes")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: cuda where available")
    parser.add_argument("--eager", action="store_true", help="leave out forms that need compiling")
    parser.add_argument("--json", type=Path, help="result file to write")
    one = parser.add_argument_group("a shape of your own")
    one.add_argument("--op", choices=_OPTIONS)
    one.add_argument("--shape", help="of the image: B,C,H,W; of tucker_kernel: B,Cout,Cin,k,k")
    one.add_argument("--kernel", type=int, help="side of the kernel, odd (default: 3)")
    one.add_argument("--dtype", default="fp32", choices=(*_DTYPES, *_DTYPES.values()))
    one.add_argument("--groups", type=int, help="default: 1")
    one.add_argument("--rank", type=int, help="of lowrank_dynamic_conv (default: 4)")
    one.add_argument("--ranks", help="of tucker_kernel: r1,r2,r3,r4 (default: 4,4,2,2)")
    one.add_argument(
        "--out-channels", dest="cout", type=int, help="default: as many as the image has"
    )
    one.add_argument("--direction", default="both", choices=(*cases.DIRECTIONS, "both"))
    suite = parser.add_argument_group("a suite")
    suite.add_argument("--quick", action="store_true", help="only the most telling cases")
    suite.add_argument("--only", default="", metavar="TEXT", help="cases whose name has this")
    suite.add_argument("--again", action="store_true", help="measure also what the file holds")
    suite.add_argument("--seconds", type=float, help="start no case later than this")
    return parser


def run_suite(given: argparse.Namespace, device: str) -> None:
    stem = "ops" if given.suite == "sizes" else given.suite
    path = given.json or results.RESULTS / f"{stem}-{device}.json"
    head, rows = results.header(device), []
    chosen = [
        (case, direction)
        for case, direction, quick in SUITES[given.suite](device)
        if (quick or not given.quick) and given.only in cases.label(case.row(direction))
    ]
    if path.exists() and not (given.again and not given.only):
        earlier = results.read(path)
        differing = results.differences(earlier.header, head, results.MACHINE + results.VERSIONS)
        if differing and not given.again:
            raise KSDiffError(
                f"{path}: measured with another {'; '.join(differing)}; --again replaces it, "
                "--json names another file"
            )
        rows = earlier.rows
        head |= {name: max(head[name], earlier.header[name]) for name in results.LIMITS}
    known = {_identity(row) for row in rows}
    began = time.monotonic()
    for case, direction in chosen:
        if given.seconds is not None and time.monotonic() - began > given.seconds:
            print(f"stopped after {given.seconds:g} s; the same command measures the rest")
            return
        own = _identity(case.row(direction))
        if own in known and not given.again:
            continue
        eager = given.eager or given.suite == "networks"
        found = measure(case, direction, device, not eager)
        rows = [row for row in rows if _identity(row) != own] + found
        results.write(path, head, rows)
        print(by_case(found)[0].line(), flush=True)


def _identity(row: dict) -> str:
    return results.identity({**row, "form": None})


def run_one(given: argparse.Namespace, device: str) -> None:
    case = build(given)
    head, rows = results.header(device), []
    for direction in cases.DIRECTIONS if given.direction == "both" else (given.direction,):
        found = measure(case, direction, device, not given.eager)
        rows += found
        print(shown(by_case(found)[0], head))
    if given.json:
        results.write(given.json, head, rows)


def build(given: argparse.Namespace) -> cases.Case:
    """The case that the options describe.

    Raises:
        ValueError: an option does not fit; the message names it.
    """
    for name in ("kernel", "groups", "rank", "ranks", "cout"):
        if getattr(given, name) is not None and name not in _OPTIONS[given.op]:
            raise ValueError(f"--{name.replace('cout', 'out-channels')}: {given.op} has none")
    dtype = _DTYPES.get(given.dtype, given.dtype)
    if given.op == "tucker_kernel":
        b, cout, cin, k, kw = _sizes("--shape", given.shape, "B,Cout,Cin,k,k")
        if k != kw:
            raise ValueError(f"--shape: expected a square kernel, got {k} by {kw}")
        ranks = _sizes("--ranks", given.ranks or "4,4,2,2", "r1,r2,r3,r4")
        return cases.tucker_kernel(b, (cout, cin, k), ranks, dtype)
    shape = _sizes("--shape", given.shape, "B,C,H,W")
    own = {"kernel": 3, "groups": 1, "rank": 4, "cout": shape[1]}
    own |= {name: getattr(given, name) for name in own if getattr(given, name) is not None}
    kernel, groups, rank, cout = own.values()
    if kernel < 1 or kernel % 2 == 0:
        raise ValueError(f"--kernel: expected an odd size of at least 1, got {kernel}")
    if rank < 1:
        raise ValueError(f"--rank: expected at least 1, got {rank}")
    if groups < 1 or shape[1] % groups:
        raise ValueError(f"--groups: expected a divisor of the {shape[1]} channels, got {groups}")
    if cout < 1 or cout % groups:
        raise ValueError(f"--out-channels: expected a multiple of {groups} groups, got {cout}")
    chosen = {name: own[name] for name in _OPTIONS[given.op]}
    return getattr(cases, given.op)(shape, dtype=dtype, **chosen)


def _sizes(option: str, given: str | None, names: str) -> tuple[int, ...]:
    parts = (given or "").split(",")
    if len(parts) != len(names.split(",")) or not all(p.strip().isdecimal() for p in parts):
        raise ValueError(f"{option}: expected {names} as positive whole numbers, got {given!r}")
    sizes = tuple(map(int, parts))
    if min(sizes) < 1:
        raise ValueError(f"{option}: expected {names} of at least 1 each, got {given!r}")
    return sizes


def shown(case: Measured, machine: dict) -> str:
    """All forms of a case, ours first, beside the machine's limits."""
    ours, rows = case.ours, []
    for name, form in case.forms.items():
        if "left_out" in form:
            rows.append([name, f"left out: {form['left_out']}", *[""] * 4])
            continue
        times = (duration(form[key]) for key in ("p50", "p20", "p80"))
        ratio = f"{form['p50'] / ours['p50']:.2f}×"
        rows.append([name, *times, megabytes(form["peak_bytes"]), ratio])
    processor = machine["gpu"] or machine["processor"]
    return (
        f"{cases.label(case.facts)}, backend {ours['backend']}, {processor}, "
        f"{machine['threads']} threads\n\n"
        + table(["form", "median", "20 %", "80 %", "peak MB", "/ ksdiff_ops"], rows)
        + f"\n{case.bandwidth:.1f} GB/s of {machine['copy_gb_per_s']} that a copy reaches, "
        f"{case.rate:.1f} GFLOP/s of {machine['fma_gflop_per_s']}; "
        f"{case.floor(machine) / ours['p50']:.0%} of the floor\n"
    )


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)

"""Times an operator at your own shape against the same in PyTorch.

python -m benchmarks.ops --op dynamic_conv --shape 8,64,256,256 --kernel 5 --dtype bf16
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.machine import describe
from benchmarks.ops import cases
from benchmarks.ops.measure import measure
from benchmarks.ops.tables import Row, megabytes, row
from benchmarks.text import duration

OPERATORS = (
    *("dynamic_conv", "lowrank_dynamic_conv", "tucker_kernel"),
    *("batched_conv2d", "adaptive_conv2d"),
)
_DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16", "fp64": "float64"}


def main(arguments: list[str] | None = None) -> None:
    parser = _parser()
    given = parser.parse_args(arguments)
    device = given.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: PyTorch sees no CUDA device; --device cpu measures here")
    try:
        case = build(given)
    except ValueError as error:
        parser.error(str(error))
    console = Console()
    directions = cases.DIRECTIONS if given.direction == "both" else (given.direction,)
    machine = describe(device)
    rows = []
    for direction in directions:
        with console.status(direction) as status:

            def tell(step: str, direction: str = direction, status=status) -> None:
                status.update(f"{direction}: {step}")

            found = measure(case, direction, device, tell, compile_forms=not given.eager)
        rows.append(row(found.facts))
        console.print(rich_table(rows[-1], machine))
    if given.json:
        found = {"machine_info": machine, "cases": [one.facts for one in rows]}
        given.json.write_text(json.dumps(found, indent=1) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ops",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--op", required=True, choices=OPERATORS)
    parser.add_argument(
        "--shape",
        required=True,
        help="of the image: B,C,H,W; of tucker_kernel: B,Cout,Cin,k,k",
    )
    parser.add_argument("--kernel", type=int, help="side of the kernel, odd (default: 3)")
    parser.add_argument("--dtype", default="fp32", choices=(*_DTYPES, *_DTYPES.values()))
    parser.add_argument("--groups", type=int, help="default: 1")
    parser.add_argument("--rank", type=int, help="of lowrank_dynamic_conv (default: 4)")
    parser.add_argument("--ranks", help="of tucker_kernel: r1,r2,r3,r4 (default: 4,4,2,2)")
    parser.add_argument("--out-channels", type=int, help="default: as many as the image has")
    parser.add_argument("--direction", default="both", choices=(*cases.DIRECTIONS, "both"))
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), help="default: cuda where there is one"
    )
    parser.add_argument("--eager", action="store_true", help="leave out forms that need compiling")
    parser.add_argument("--json", type=Path, help="write the numbers here, too")
    return parser


# Which options each operator has beside --shape and --dtype.
_OPTIONS = {
    "dynamic_conv": ("kernel", "groups"),
    "lowrank_dynamic_conv": ("kernel", "groups", "rank"),
    "tucker_kernel": ("ranks",),
    "batched_conv2d": ("kernel", "groups", "out_channels"),
    "adaptive_conv2d": ("kernel", "out_channels"),
}


def build(given: argparse.Namespace) -> cases.Case:
    """The case that the options describe.

    Raises:
        ValueError: an option does not fit; the message names it.
    """
    allowed = _OPTIONS[given.op]
    for name in ("kernel", "groups", "rank", "ranks", "out_channels"):
        if getattr(given, name) is not None and name not in allowed:
            raise ValueError(f"--{name.replace('_', '-')}: {given.op} has none")
    dtype = _DTYPES.get(given.dtype, given.dtype)
    if given.op == "tucker_kernel":
        b, cout, cin, k, kw = _sizes("--shape", given.shape, "B,Cout,Cin,k,k")
        if k != kw:
            raise ValueError(f"--shape: expected a square kernel, got {k} by {kw}")
        ranks = _sizes("--ranks", given.ranks or "4,4,2,2", "r1,r2,r3,r4")
        return cases.tucker_kernel(b, (cout, cin, k), ranks, dtype)
    shape = _sizes("--shape", given.shape, "B,C,H,W")
    kernel = 3 if given.kernel is None else given.kernel
    groups = 1 if given.groups is None else given.groups
    cout = shape[1] if given.out_channels is None else given.out_channels
    rank = 4 if given.rank is None else given.rank
    if kernel < 1 or kernel % 2 == 0:
        raise ValueError(f"--kernel: expected an odd size of at least 1, got {kernel}")
    if rank < 1:
        raise ValueError(f"--rank: expected at least 1, got {rank}")
    if groups < 1 or shape[1] % groups:
        raise ValueError(f"--groups: expected a divisor of the {shape[1]} channels, got {groups}")
    if cout < 1 or cout % groups:
        raise ValueError(f"--out-channels: expected a multiple of {groups} groups, got {cout}")
    if given.op == "dynamic_conv":
        return cases.dynamic_conv(shape, kernel, groups, dtype)
    if given.op == "lowrank_dynamic_conv":
        return cases.lowrank_dynamic_conv(shape, kernel, groups, dtype, rank)
    if given.op == "batched_conv2d":
        return cases.batched_conv2d(shape, cout, kernel, groups, dtype)
    return cases.adaptive_conv2d(shape, cout, kernel, dtype)


def _sizes(option: str, given: str, names: str) -> tuple[int, ...]:
    parts = given.split(",")
    if len(parts) != len(names.split(",")) or not all(p.strip().isdecimal() for p in parts):
        raise ValueError(f"{option}: expected {names} as positive whole numbers, got {given!r}")
    sizes = tuple(map(int, parts))
    if min(sizes) < 1:
        raise ValueError(f"{option}: expected {names} of at least 1 each, got {given!r}")
    return sizes


def rich_table(one: Row, machine: dict) -> Table:
    """All forms of a case, ours first; the caption sets it against the machine's limits."""
    facts = one.facts
    share = one.floor(machine) / one.ours["p50"]
    table = Table(
        title=f"{facts['op']} {one.label()} {facts['dtype']} {facts['direction']}, "
        f"{machine.get('gpu') or machine['cpu']}, {machine['threads']} threads",
        caption=f"{one.bandwidth:.1f} GB/s of {machine['copy_gb_per_s']} a copy reaches, "
        f"{one.rate:.1f} GFLOP/s of {machine['fma_gflop_per_s']}; {share:.0%} of the floor; "
        f"backend {facts['backend']}",
    )
    table.add_column("form")
    for name in ("median", "20 %", "80 %", "peak MB", "against ksdiff_ops"):
        table.add_column(name, justify="right")
    for name, form in facts["forms"].items():
        if "left_out" in form:
            table.add_row(name, f"left out: {form['left_out']}")
            continue
        times = (duration(form[key]) for key in ("p50", "p20", "p80"))
        ratio = f"{form['p50'] / one.ours['p50']:.2f}×"
        table.add_row(name, *times, megabytes(form.get("peak_bytes")), ratio)
    return table


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)

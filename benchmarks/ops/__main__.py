"""Times the operators against the same in PyTorch: `python -m benchmarks.ops [sizes|networks]`

A suite has many sizes and dtypes (`sizes`, into benchmarks/results/ops-DEVICE.json), or the shapes
of published networks beside every eager form (`networks`, into networks-DEVICE.json). It goes on
where its file ends; rows that are taken out of the file are measured again. A shape of your own
takes its place with `--op dynamic_conv --shape 8,64,256,256 --kernel 5 --dtype bf16`.
"""

import inspect
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import torch
import typer

import ksdiff_ops
from benchmarks import results
from benchmarks.markdown import listing
from benchmarks.ops import cases
from benchmarks.ops.measure import measure
from benchmarks.ops.suites import SUITES
from benchmarks.ops.tables import OPERATORS, Measured, by_case
from ksdiff.errors import KSDiffError

_DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16", "fp64": "float64"}
_USUAL = "cuda" if torch.cuda.is_available() else "cpu"
app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(help=__doc__)
def main(
    suite: Annotated[Literal[tuple(SUITES)], typer.Argument()] = "sizes",
    device: Literal["cpu", "cuda"] = _USUAL,
    eager: Annotated[bool, typer.Option("--eager", help="Leave out what needs compiling.")] = False,
    json: Annotated[Path | None, typer.Option(help="Result file to write.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Only the most telling cases.")] = False,
    seconds: Annotated[float | None, typer.Option(help="Start no case later than this.")] = None,
    op: Annotated[Literal[OPERATORS] | None, typer.Option(help="One operator, at --shape.")] = None,
    shape: Annotated[
        str | None, typer.Option(help="Of the image: B,C,H,W; of tucker_kernel: B,Cout,Cin,k,k.")
    ] = None,
    dtype: Literal[tuple(_DTYPES)] = "fp32",
    kernel: Annotated[int | None, typer.Option(min=1, help="Side, odd (default: 3).")] = None,
    groups: Annotated[int | None, typer.Option(min=1, help="Default: 1.")] = None,
    rank: Annotated[int | None, typer.Option(min=1, help="Of low rank (default: 4).")] = None,
    ranks: Annotated[str | None, typer.Option(help="Of tucker_kernel: 4,4,2,2.")] = None,
    out_channels: Annotated[int | None, typer.Option(min=1, help="Default: the image's.")] = None,
) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        raise typer.BadParameter("cuda: PyTorch sees no CUDA device; --device cpu measures here")
    facts = {"kernel": kernel, "groups": groups, "rank": rank, "ranks": ranks}
    try:
        ksdiff_ops.backends.choose("dynamic_conv", device)
        own = build(op, shape, dtype, **facts, out_channels=out_channels) if op else None
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    except RuntimeError as error:  # the operators are not built
        sys.exit(f"benchmarks.ops: {error}")
    if own is None:
        stem = "ops" if suite == "sizes" else suite
        json = json or results.RESULTS / f"{stem}-{device}.json"
        chosen = [(case, direction) for case, direction, q in SUITES[suite](device) if q >= quick]
    else:
        chosen = [(own, direction) for direction in cases.DIRECTIONS]
    compiling = not eager and (own is not None or suite != "networks")
    try:
        run(chosen, device, compiling, json, seconds)
    except KSDiffError as error:
        sys.exit(f"benchmarks.ops: {error}")


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


def build(op: str, shape: str | None, dtype: str, **given: int | str | None) -> cases.Case:
    """The case that the options describe.

    Raises:
        ValueError: an option does not fit; the message says which.
    """
    make = getattr(cases, op)
    options = {name: value for name, value in given.items() if value is not None}
    for name in options.keys() - inspect.signature(make).parameters.keys():
        raise ValueError(f"--{name.replace('_', '-')}: {op} has none")
    sizes = _sizes("--shape", shape, "B,Cout,Cin,k,k" if op == "tucker_kernel" else "B,C,H,W")
    if op == "tucker_kernel" and sizes[3] != sizes[4]:
        raise ValueError(f"--shape: expected a square kernel, got {shape}")
    if options.get("kernel", 1) % 2 == 0:
        raise ValueError(f"--kernel: expected an odd size, got {options['kernel']}")
    if "ranks" in options:
        options["ranks"] = _sizes("--ranks", options["ranks"], "r1,r2,r3,r4")
    case = make(sizes, **options)
    _ = case.output  # raises where the operator does not take these shapes
    return replace(case, dtype=_DTYPES[dtype])


def _sizes(option: str, given: str | None, axes: str) -> tuple[int, ...]:
    """One for each of the axes."""
    parts = (given or "").split(",")
    whole = all(part.isdecimal() and int(part) >= 1 for part in parts)
    if not whole or len(parts) != len(axes.split(",")):
        raise ValueError(f"{option}: expected {axes}, whole numbers of at least 1, got {given}")
    return tuple(map(int, parts))


def shown(case: Measured) -> str:
    """All forms of a case, ours first, beside the machine's limits."""
    ours, machine = case.ours, case.machine
    rows = [form | {"ours": ours} for form in case.forms.values() if "left_out" not in form]
    head = "form | median | 20 % | 80 % | peak MB | / ksdiff_ops"
    cells = (
        "{form} | {duration(p50)} | {duration(p20)} | {duration(p80)} | {megabytes(peak_bytes)} | "
        "{p50 / ours['p50']:.2f}×"
    )
    return (
        f"{cases.label(case.facts)}, backend {ours['backend']}, "
        f"{machine['gpu'] or machine['processor']}, {machine['threads']} threads\n\n"
        f"{listing(rows, head, cells)}{case.left_out()}"
        f"\n{case.bandwidth:.1f} GB/s of {machine['copy_gb_per_s']} that a copy reaches, "
        f"{case.rate:.1f} GFLOP/s of {machine['fma_gflop_per_s']}; "
        f"{case.floor / ours['p50']:.0%} of the floor\n"
    )


if __name__ == "__main__":
    app()

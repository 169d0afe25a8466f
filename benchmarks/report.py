"""Turns results into docs/benchmarks.md and plots: `python -m benchmarks.report RESULT.json...`

Results of one machine and version go into one section; any others get sections of their own.
"""

import argparse
import sys
from pathlib import Path

from benchmarks import results
from benchmarks.ops import report as operators
from benchmarks.text import duration, table

_ROOT = Path(__file__).resolve().parents[1]
_INTRODUCTION = """# Benchmarks

Written by `python -m benchmarks.report benchmarks/results/*.json`; `make bench` measures again
(`make bench DEVICE=cuda` or `bash benchmarks/gpu.sh` on a CUDA machine). Your own shape:

    python -m benchmarks.ops --op dynamic_conv --shape 1,32,256,256 --kernel 5 --dtype bf16

`python -m benchmarks.compare BEFORE.json AFTER.json` tells what moved between two results.

- **Time** is the median over the samples of a run, beside it the 20th and 80th percentile. All
  forms of a case take turns in one process, on the same tensors, in an order that changes every
  round, so that what disturbs the machine disturbs all of them. Each form's result and gradients
  are checked first. On a GPU the calls are captured in a graph, their inputs rotated through twice
  the L2 cache.
- **Speed-up** is the median time of the best PyTorch form over ours, in the same run; **at most**
  is what it would be at the floor.
- **GB/s** counts the bytes that must move: inputs once in, outputs once out. **GFLOP/s** counts a
  multiply-add as two operations, and the backward pass as twice the forward.
- **Floor**: the time in which this machine could at best move those bytes (a plain copy of 256 MB)
  or do those operations (the better of a matrix product and a pointwise convolution in the caches,
  in float32), whichever is longer. Tensors that stay in a cache may beat it, and so may bfloat16
  where the CPU has units for it.
- **MB** is the peak of memory beyond the inputs, results and gradients included. On a CPU it is
  the growth of the process's resident memory, with a heap that starts empty and gives everything
  back at once, so that the kernels' own scratch counts, too; on CUDA what PyTorch's allocator held.
- A form that was **left out** says why below its table; a missing row was not measured.
"""


def markdown(found: list[dict], pictures: dict[int, list[tuple[str, str]]] | None = None) -> str:
    """The page of results, one section each; pictures by their place in `found`."""
    parts = [_INTRODUCTION] if found else [_INTRODUCTION, "No results are committed yet.\n"]
    for number, result in enumerate(found):
        machine = result["machine_info"]
        parts.append(f"## {_title(machine)}\n")
        parts.append(_machine(machine))
        for file, caption in (pictures or {}).get(number, []):
            parts.append(f"![{caption}]({file})\n")
        section = operators.section(result)
        parts += [section] if section else []
        if _tile_entries(result):
            parts.append(_tile_section(result))
    return "\n".join(parts)


def _title(machine: dict) -> str:
    chip = machine.get("gpu") or f"{machine['cpu']}, {machine['threads']} threads"
    return f"{chip}, PyTorch {machine['torch']}"


def _machine(machine: dict) -> str:
    words = {
        "copy_gb_per_s": "copy GB/s",
        "fma_gflop_per_s": "multiply-adds GFLOP/s",
        "omp_wait_policy": "OMP_WAIT_POLICY",
        "operators": "operators at commit",
    }
    facts = (
        f"{words.get(name, name.replace('_', ' '))}: {value}" for name, value in machine.items()
    )
    return "; ".join(facts) + ".\n"


def _tile_entries(result: dict) -> list[dict]:
    return [
        entry["extra_info"] | {"seconds": entry["stats"]["median"]}
        for entry in result["benchmarks"]
        if entry["extra_info"].get("op") == "tile"
    ]


def _tile_section(result: dict) -> str:
    entries = _tile_entries(result)
    seconds = {(entry["name"], entry["mode"]): entry["seconds"] for entry in entries}
    modes = list(dict.fromkeys(entry["mode"] for entry in entries))
    rows = [
        [
            name,
            *(duration(seconds[name, mode]) if (name, mode) in seconds else "" for mode in modes),
        ]
        for name in dict.fromkeys(entry["name"] for entry in entries)
    ]
    first = entries[0]
    shape = "×".join(map(str, first["shape"]))
    lines = [
        f"### One tile {shape}, {first['parameters']:,} parameters\n",
        table(["part", *modes], rows),
    ]
    for mode in modes:
        both, base = (seconds.get((name, mode)) for name in ("prior + fusion", "base network"))
        if both is None or base is None:
            continue
        factor = both / base
        lines.append(
            f"{mode.capitalize()}: with its prior the network takes {factor:.2f} times as long as "
            "its base network without (the paper: 0.077 s against 0.035 s, 2.2 times).\n"
        )
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__)
    parser.add_argument("results", nargs="*", type=Path, help="JSON files of `make bench`")
    parser.add_argument("--docs", type=Path, default=_ROOT / "docs", help="folder to write to")
    given = parser.parse_args(arguments)
    try:
        found = results.groups(results.load_all(sorted(given.results)))
    except results.ResultError as error:
        sys.exit(f"benchmarks.report: {error}")
    if len(found) > 1:
        print(f"Different machines or versions, so {len(found)} sections: {', '.join(found)}")
    pictures = {
        number: operators.save_pictures(result, given.docs, name)
        for number, (name, result) in enumerate(found.items())
    }
    page = markdown(list(found.values()), pictures)
    (given.docs / "benchmarks.md").write_text(page)


if __name__ == "__main__":
    main()

"""What nvcc makes of the kernels: registers, spills and shared memory."""

import fcntl
import re
import shutil
import subprocess
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import host_build
import pytest

ARCHITECTURES = ("80", "90")
# 3 staged sizes: 4 conv weights, 3 correlation sinks; 3 streaming sizes: 2 convs, 1 correlation;
# all in three types. In four types: 4 general convs, 3 general gradients, 1 sum; 4 of Tucker.
KERNELS = 3 * 3 * (4 + 3) + 3 * 3 * (2 + 1) + 4 * (4 + 3 + 1) + 4 * 4


@dataclass(frozen=True)
class Usage:
    """A line of ptxas's report."""

    name: str
    registers: int
    stack: int
    spilled: int
    shared: int  # static, which no kernel has


@dataclass(frozen=True)
class Compiled:
    usages: list[Usage]
    cubin: Path


@cache
def compile_kernels(architecture: str) -> Compiled:
    source = host_build.HERE / "every_kernel.cu"
    folder = host_build.folder(source) / f"sm_{architecture}"
    report, cubin = folder / "report.txt", folder / "every_kernel.cubin"
    folder.mkdir(exist_ok=True)
    # Other processes of the tests wait for what takes a minute, rather than repeat it.
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not report.exists():
            command = [
                *("nvcc", "-std=c++20", "-O3", f"-arch=sm_{architecture}", f"-I{host_build.CSRC}"),
                *("-Xptxas", "-v", "-cubin", str(source), "-o", str(cubin)),
            ]
            result = subprocess.run(command, capture_output=True, text=True)
            assert result.returncode == 0, result.stderr
            report.write_text(result.stderr)
    return Compiled(_usages(report.read_text()), cubin)


def _usages(report: str) -> list[Usage]:
    found = re.findall(
        r"Compiling entry function '(\w+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores, "
        r"(\d+) bytes spill loads.*?Used (\d+) registers([^\n]*)",
        report,
        re.DOTALL,
    )
    usages = []
    for name, stack, stores, loads, registers, rest in found:
        shared = re.search(r"(\d+) bytes smem", rest)
        usages.append(
            Usage(
                name,
                int(registers),
                int(stack),
                int(stores) + int(loads),
                int(shared.group(1)) if shared else 0,
            )
        )
    return usages


@pytest.fixture(scope="module")
def compilations():
    """Every architecture's compilation, two at a time."""
    if shutil.which("nvcc") is None:
        pytest.skip("no nvcc")
    listed = subprocess.run(["nvcc", "--list-gpu-arch"], capture_output=True, text=True).stdout
    known = [a for a in ARCHITECTURES if f"compute_{a}" in listed.split()]
    with ThreadPoolExecutor(2) as pool:
        yield {a: pool.submit(compile_kernels, a) for a in known}


@pytest.fixture(params=ARCHITECTURES, ids="sm_{}".format)
def compiled(request, compilations: dict[str, Future]) -> Compiled:
    if request.param not in compilations:
        pytest.skip(f"this nvcc does not know sm_{request.param}")
    return compilations[request.param].result()


def budget(probe, name: str) -> int:
    """The registers that the launch plan grants the kernel of this mangled name."""
    if "tucker" in name:
        shape = probe.TuckerShape()
        return probe.plan_tucker(
            shape, probe.ScalarKind.float32, probe.DeviceLimits()
        ).register_budget
    if "sum_parts" in name:
        return probe.registers_per_multiprocessor // 1024
    shape = probe.ConvShape()
    kernel = re.search(r"Li(\d)E", name)
    if kernel and ("staged" in name or "streaming" in name):
        shape.kernel_h = shape.kernel_w = int(kernel.group(1))
    shape.channels = 1 if "streaming" in name else 2
    plan = probe.plan_conv(
        shape, probe.ConvRole.forward, probe.ScalarKind.float32, probe.DeviceLimits()
    )
    assert plan.variant.name in name
    return plan.register_budget


def test_no_kernel_spills_or_takes_more_registers_than_planned(probe, compiled):
    assert len(compiled.usages) == KERNELS
    wrong = [
        usage
        for usage in compiled.usages
        if usage.stack or usage.spilled or usage.registers > budget(probe, usage.name)
    ]
    assert not wrong


def test_shared_memory_is_all_dynamic_as_the_plan_counts_it(compiled):
    assert not [usage for usage in compiled.usages if usage.shared]

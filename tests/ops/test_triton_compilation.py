"""Every Triton kernel compiles to machine code for every target, and keeps to its registers."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
from triton_cases import EVERY_KERNEL, VARIANTS, compile_launch, resources

triton = pytest.importorskip("triton", reason="triton is not installed")

ARCHITECTURES = (80, 90, 100)
CASES = [
    *((case, architecture) for case in EVERY_KERNEL for architecture in ARCHITECTURES),
    *((case, 90) for case in VARIANTS),
]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("triton")
    # Spawned: Triton must not inherit the threads of this process.
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        yield {case: pool.submit(resources, *case, folder) for case in CASES}


@pytest.mark.parametrize(("case", "architecture"), CASES)
def test_kernel_compiles_without_spills(compiled, case, architecture):
    used = compiled[case, architecture].result()
    # A spilled register needs a stack frame or local memory.
    assert used["STACK"] == 0 and used["LOCAL"] == 0, used
    # Of a tile's or a sample's place, once a program; a pixel's is found by 32 bits.
    if case.startswith(("batched", "adaptive")):
        assert used["DIV64"] <= 4, used
    if case.startswith(("batched", "adaptive")) and case.endswith("bf16"):
        # Images and kernels by whole vectors; all else is the attention, a number a pixel.
        assert used["WIDE"] >= 4, used
        assert used["NARROW"] <= (0 if case.startswith("batched") else 16), used


class FakeDriver:
    """As much of a GPU driver as Triton asks before it compiles."""

    def get_current_target(self):
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", 90, 32)

    def get_current_device(self):
        return 0

    def get_current_stream(self, device):
        return 0


@pytest.mark.parametrize("size", [1, 16, 17])
def test_one_compilation_serves_all_sizes_and_is_the_one_tested(size, monkeypatch, tmp_path):
    import torch

    from ksdiff_ops.arguments import Window
    from ksdiff_ops.triton.dynamic_conv import forward_launch

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(type(triton.runtime.driver), "active", FakeDriver())
    x = torch.empty(1, 1, size, 16)
    weight = torch.empty(1, 1, 1, 1, size, 16)
    launch = forward_launch(x, weight, x, Window((1, 1), (0, 0), (1, 1)))
    launch.kernel.device_caches.clear()
    launched = launch.kernel.warmup(
        **launch.arguments, **launch.constants, num_warps=launch.warps, num_stages=1, grid=(1,)
    )
    assert launched.asm["ptx"] == compile_launch(launch, 90).asm["ptx"]
    assert not any(launched.src.attrs.values())  # of Triton 3.7: an empty list for each constant

"""The CUDA and Triton backends on a GPU; `benchmarks/gpu.sh` runs this where there is one."""

from collections.abc import Callable, Sequence
from functools import partial

import pytest
import torch
from torch import Tensor

import ksdiff_ops
from ksdiff_ops import backends, registration
from ksdiff_ops.arguments import resolve_window

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no CUDA device"),
    pytest.mark.usefixtures("seeded"),
]

LOW = (torch.float32, torch.float16, torch.bfloat16)
DTYPES = (*LOW, torch.float64)
NAMESPACES = {"cuda": "ksdiff_ops", "triton": "ksdiff_ops_triton"}


@pytest.fixture(params=NAMESPACES)
def backend(request) -> str:
    problem = backends.available()[request.param]
    if problem is not None:
        # The CUDA kernels are what a GPU machine is built for: their absence is no reason to skip.
        assert request.param != "cuda", problem
        pytest.skip(problem)
    return request.param


def pixel_tensors(batch, channels, groups, size, kernel, rank=None, dtype=torch.float32, **window):
    """x and weight, or x, coeff and basis, on the GPU."""
    settings = {"stride": 1, "padding": "same", "dilation": 1, **window}
    _, out = resolve_window(size, kernel, **settings)
    draw = partial(torch.randn, device="cuda", dtype=dtype)
    x = draw(batch, channels, *size)
    if rank is None:
        return x, draw(batch, groups, *kernel, *out)
    return x, draw(batch, groups, rank, *out), draw(batch, groups, rank, *kernel)


def tucker_tensors(batch=2, sizes=(33, 20, 3, 3), ranks=(8, 6, 2, 3), dtype=torch.float32):
    draw = partial(torch.randn, device="cuda", dtype=dtype)
    factors = [draw(batch, n, r) for n, r in zip(sizes, ranks, strict=True)]
    return draw(batch, *ranks), *factors, draw(*sizes)


def tucker_kernel(core, u1, u2, u3, u4, base, *, backend=None):
    return ksdiff_ops.tucker_kernel(core, (u1, u2, u3, u4), base, backend=backend)


def with_gradients(operator: Callable, inputs: Sequence[Tensor], backend: str) -> list[Tensor]:
    leaves = [t.detach().requires_grad_() for t in inputs]
    output = operator(*leaves, backend=backend)
    generator = torch.Generator("cuda").manual_seed(7)
    upstream = torch.randn(output.shape, generator=generator, device="cuda")
    upstream = upstream.to(torch.bfloat16).to(output.dtype)
    return [output.detach(), *torch.autograd.grad(output, leaves, upstream)]


def assert_as_accurate_as_pytorch(
    operator: Callable, inputs: Sequence[Tensor], backend: str
) -> None:
    """Output and gradients err at most twice as much as PyTorch there, plus one rounding."""
    got = with_gradients(operator, inputs, backend)
    own = with_gradients(operator, inputs, "reference")
    exact = with_gradients(operator, [t.double() for t in inputs], "reference")
    for index, (value, plain, truth) in enumerate(zip(got, own, exact, strict=True)):
        name = "output" if index == 0 else f"gradient {index - 1}"
        assert value.dtype == plain.dtype and value.shape == plain.shape, name
        if truth.numel() == 0:
            continue
        error = (value.double() - truth).abs().max()
        allowed = 2 * (plain.double() - truth).abs().max()
        roundings = 16 if value.dtype == torch.float64 else 1
        floor = roundings * torch.finfo(value.dtype).eps * truth.abs().max()
        assert error <= allowed + floor, f"{name}: error {error}, allowed {allowed} + {floor}"


WINDOWS = (
    {},
    {"padding": 0},
    {"padding": (9, 1)},
    {"stride": 2},
    {"stride": (1, 3), "dilation": (2, 1), "padding": 4},
)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (5, 5), (7, 7), (3, 5), (4, 2)], ids=str)
@pytest.mark.parametrize(("channels", "groups"), [(13, 1), (6, 2), (5, 5)])
@pytest.mark.parametrize("rank", [None, 6])
def test_kernel_sizes_groups_and_dtypes(backend, dtype, kernel, channels, groups, rank):
    operator = ksdiff_ops.dynamic_conv if rank is None else ksdiff_ops.lowrank_dynamic_conv
    for size in ((17, 129), (33, 64)):
        inputs = pixel_tensors(2, channels, groups, size, kernel, rank, dtype)
        assert_as_accurate_as_pytorch(operator, inputs, backend)


@pytest.mark.parametrize("rank", [None, 3])
@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_strides_dilations_and_paddings(backend, window, rank):
    operator = ksdiff_ops.dynamic_conv if rank is None else ksdiff_ops.lowrank_dynamic_conv
    for kernel in ((3, 3), (5, 5)):
        inputs = pixel_tensors(2, 6, 3, (31, 77), kernel, rank, **window)
        assert_as_accurate_as_pytorch(partial(operator, **window), inputs, backend)


@pytest.mark.parametrize("rank", [None, 4])
@pytest.mark.parametrize("size", [(1, 1), (1, 151), (300, 1), (256, 256)], ids=str)
def test_image_sizes(backend, size, rank):
    operator = ksdiff_ops.dynamic_conv if rank is None else ksdiff_ops.lowrank_dynamic_conv
    for groups in (1, 16):
        inputs = pixel_tensors(1, 16, groups, size, (5, 5), rank, torch.bfloat16)
        assert_as_accurate_as_pytorch(operator, inputs, backend)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    ("batch", "sizes", "ranks"),
    [
        (1, (96, 96, 3, 3), (16, 16, 3, 3)),
        (32, (64, 32, 5, 3), (8, 4, 2, 3)),
        (2, (1, 1, 1, 1), (1, 1, 1, 1)),
        (1, (20, 9, 7, 7), (180, 6, 7, 7)),
        (1, (2, 1, 7, 7), (1200, 2, 1, 1)),
    ],
)
def test_tucker_kernels(backend, dtype, batch, sizes, ranks):
    inputs = tucker_tensors(batch, sizes, ranks, dtype)
    assert_as_accurate_as_pytorch(tucker_kernel, inputs, backend)


def samples() -> dict[str, tuple[Callable, tuple[Tensor, ...]]]:
    return {
        "dynamic_conv": (ksdiff_ops.dynamic_conv, pixel_tensors(2, 12, 2, (40, 70), (5, 5))),
        "one channel per group": (
            ksdiff_ops.dynamic_conv,
            pixel_tensors(2, 4, 4, (40, 70), (3, 3)),
        ),
        "strided dynamic_conv": (
            partial(ksdiff_ops.dynamic_conv, stride=2),
            pixel_tensors(2, 12, 2, (40, 70), (5, 5), stride=2),
        ),
        "lowrank_dynamic_conv": (
            ksdiff_ops.lowrank_dynamic_conv,
            pixel_tensors(2, 12, 2, (40, 70), (7, 7), 8),
        ),
        "strided lowrank_dynamic_conv": (
            partial(ksdiff_ops.lowrank_dynamic_conv, stride=2),
            pixel_tensors(2, 12, 2, (40, 70), (3, 3), 8, stride=2),
        ),
        "tucker_kernel": (tucker_kernel, tucker_tensors()),
    }


SAMPLES = (
    "dynamic_conv",
    "one channel per group",
    "strided dynamic_conv",
    "lowrank_dynamic_conv",
    "strided lowrank_dynamic_conv",
    "tucker_kernel",
)


@pytest.mark.parametrize("name", SAMPLES)
def test_the_same_input_gives_the_same_bits(backend, name):
    operator, inputs = samples()[name]
    first = with_gradients(operator, inputs, backend)
    for _ in range(5):
        again = with_gradients(operator, inputs, backend)
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize("name", SAMPLES)
def test_every_number_is_written(backend, name, poisoned):
    operator, inputs = samples()[name]
    assert torch.empty(3, device="cuda").isnan().all()
    assert all(result.isfinite().all() for result in with_gradients(operator, inputs, backend))


@pytest.mark.parametrize("name", SAMPLES)
def test_a_cuda_graph_replays_forward_and_backward(backend, name):
    operator, inputs = samples()[name]
    static = [torch.zeros_like(tensor) for tensor in inputs]
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # compiles and loads before the capture
        with_static_gradients(operator, static, backend)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = with_static_gradients(operator, static, backend)
    for target, source in zip(static, inputs, strict=True):
        target.copy_(source)
    graph.replay()
    expected = with_static_gradients(operator, inputs, backend)
    assert all(torch.equal(a, b) for a, b in zip(captured, expected, strict=True))


def with_static_gradients(operator, inputs, backend) -> list[Tensor]:
    leaves = [tensor.detach().requires_grad_() for tensor in inputs]
    output = operator(*leaves, backend=backend)
    return [output.detach(), *torch.autograd.grad(output, leaves, torch.ones_like(output))]


@pytest.mark.parametrize("name", SAMPLES)
def test_compiles_whole_and_gives_the_same(backend, name):
    torch._dynamo.reset()
    operator, inputs = samples()[name]
    compiled = torch.compile(partial(operator, backend=backend), fullgraph=True)
    leaves = [tensor.detach().requires_grad_() for tensor in inputs]
    output = compiled(*leaves)
    grads = torch.autograd.grad(output, leaves, torch.ones_like(output))
    expected = with_static_gradients(operator, inputs, backend)
    for actual, wanted in zip([output.detach(), *grads], expected, strict=True):
        torch.testing.assert_close(actual, wanted)


@pytest.mark.parametrize("name", SAMPLES)
def test_first_and_second_gradients_match_finite_differences(backend, name):
    draw = partial(pixel_tensors, dtype=torch.float64)
    operator, inputs = {
        "dynamic_conv": (ksdiff_ops.dynamic_conv, draw(1, 4, 2, (4, 5), (3, 3))),
        "one channel per group": (ksdiff_ops.dynamic_conv, draw(1, 2, 2, (4, 5), (3, 3))),
        "strided dynamic_conv": (
            partial(ksdiff_ops.dynamic_conv, stride=2),
            draw(1, 4, 2, (4, 5), (2, 3), stride=2),
        ),
        "lowrank_dynamic_conv": (
            ksdiff_ops.lowrank_dynamic_conv,
            draw(1, 4, 2, (4, 5), (3, 3), 2),
        ),
        "strided lowrank_dynamic_conv": (
            partial(ksdiff_ops.lowrank_dynamic_conv, stride=2),
            draw(1, 4, 2, (4, 5), (2, 3), 2, stride=2),
        ),
        "tucker_kernel": (
            tucker_kernel,
            tucker_tensors(2, (3, 2, 2, 3), (2, 2, 1, 2), torch.float64),
        ),
    }[name]
    leaves = [tensor.requires_grad_() for tensor in inputs]
    function = partial(operator, backend=backend)
    assert torch.autograd.gradcheck(function, leaves, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, leaves, fast_mode=True)


def test_every_operator_keeps_its_contract_with_pytorch(backend):
    if backend == "triton":
        import ksdiff_ops.triton  # noqa: F401  (defines the library)
    ops = getattr(torch.ops, NAMESPACES[backend])
    window = ((1, 1), (1, 1), (1, 1))
    x, weight = pixel_tensors(1, 4, 2, (6, 9), (3, 3))
    _, coeff, basis = pixel_tensors(1, 4, 2, (6, 9), (3, 3), 2)
    grad, tucker = torch.randn_like(x), tucker_tensors(1, (3, 2, 3, 3), (2, 2, 1, 2))
    x, weight, coeff, basis, grad = (t.requires_grad_() for t in (x, weight, coeff, basis, grad))
    calls = {
        "dynamic_conv": (x, weight, *window),
        "dynamic_conv_grad_input": (grad, weight, (6, 9), *window),
        "dynamic_conv_grad_weight": (grad, x, 2, (3, 3), *window),
        "lowrank_dynamic_conv": (x, coeff, basis, *window),
        "lowrank_dynamic_conv_grad_input": (grad, coeff, basis, (6, 9), *window),
        "lowrank_dynamic_conv_grad_coeff": (grad, x, basis, *window),
        "lowrank_dynamic_conv_grad_basis": (grad, x, coeff, (3, 3), *window),
        "tucker_kernel": tucker,
        "tucker_kernel_backward": (torch.randn(1, 3, 2, 3, 3, device="cuda"), *tucker),
    }
    assert set(calls) == set(registration.OPERATORS)
    for name, arguments in calls.items():
        torch.library.opcheck(getattr(ops, name).default, arguments)


@pytest.mark.parametrize("name", SAMPLES)
def test_strides_of_the_input_do_not_change_a_bit(backend, name):
    operator, inputs = samples()[name]
    expected = with_gradients(operator, inputs, backend)

    def misaligned(tensor: Tensor) -> Tensor:
        return torch.cat([tensor.new_zeros(1), tensor.flatten()])[1:].view(tensor.shape)

    def transposed(tensor: Tensor) -> Tensor:
        return tensor.transpose(0, -1).contiguous().transpose(0, -1)

    for layout in (misaligned, transposed):
        got = with_gradients(operator, [layout(tensor) for tensor in inputs], backend)
        assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True)), layout.__name__


def test_autocast_computes_convolutions_in_half_precision(backend):
    inputs = pixel_tensors(1, 4, 2, (16, 24), (3, 3))
    with torch.autocast("cuda", torch.bfloat16):
        output = ksdiff_ops.dynamic_conv(*inputs, backend=backend)
    halves = [tensor.bfloat16() for tensor in inputs]
    assert torch.equal(output, ksdiff_ops.dynamic_conv(*halves, backend=backend))


def test_work_is_ordered_on_the_current_stream(backend):
    inputs = pixel_tensors(4, 32, 1, (256, 256), (5, 5))
    expected = ksdiff_ops.dynamic_conv(*inputs, backend=backend)
    stream = torch.cuda.Stream()
    x, weight = (torch.zeros_like(tensor) for tensor in inputs)
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)
        x.copy_(inputs[0])
        weight.copy_(inputs[1])
        output = ksdiff_ops.dynamic_conv(x, weight, backend=backend)
    stream.synchronize()
    assert torch.equal(output, expected)


def test_empty_tensors(backend):
    for size in ((0, 5), (5, 0)):
        inputs = pixel_tensors(1, 2, 1, size, (3, 3))
        results = with_gradients(ksdiff_ops.dynamic_conv, inputs, backend)
        assert all(not result.numel() for result in results)
    x, coeff, basis = pixel_tensors(0, 2, 1, (4, 5), (3, 3), 2)
    results = with_gradients(ksdiff_ops.lowrank_dynamic_conv, (x, coeff, basis), backend)
    assert all(not result.numel() for result in results)
    *_, grad_base = with_gradients(tucker_kernel, tucker_tensors(batch=0), backend)
    assert torch.equal(grad_base, torch.zeros_like(grad_base))


def test_tensors_beyond_two_to_the_31_elements(backend):
    channels, height, width = 1025, 2048, 1024
    needed = 5 * channels * height * width * 2
    if torch.cuda.mem_get_info()[0] < needed:
        pytest.skip(f"needs {needed / 2**30:.0f} GiB of GPU memory")
    x = torch.randn(1, channels, height, width, device="cuda", dtype=torch.bfloat16)
    weight = torch.randn(1, 1, 3, 3, height, width, device="cuda", dtype=torch.bfloat16)
    last = x[:, -1:].clone()
    output = ksdiff_ops.dynamic_conv(x, weight, backend=backend)
    assert torch.equal(output[:, -1:], ksdiff_ops.dynamic_conv(last, weight, backend=backend))
    x.requires_grad_()
    (grad,) = torch.autograd.grad(
        ksdiff_ops.dynamic_conv(x, weight, backend=backend), x, output.detach()
    )
    last.requires_grad_()
    (expected,) = torch.autograd.grad(
        ksdiff_ops.dynamic_conv(last, weight, backend=backend), last, output[:, -1:].contiguous()
    )
    torch.testing.assert_close(grad[:, -1:], expected)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
@pytest.mark.parametrize("name", SAMPLES)
def test_the_tensors_device_is_used_not_the_current_one(backend, name):
    operator, inputs = samples()[name]
    there = [tensor.to("cuda:1") for tensor in inputs]
    output = operator(*there, backend=backend)
    assert output.device == there[0].device and torch.cuda.current_device() == 0
    torch.testing.assert_close(output.cpu(), operator(*inputs, backend=backend).cpu())

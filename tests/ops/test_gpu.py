"""The CUDA and Triton backends on a GPU; `benchmarks/gpu.sh` runs this where there is one.

Where there is none, all but what only a GPU has (graphs, streams, its memory) runs on kernels
executed by the host, so that what fails on the first GPU is the kernels and not their test.
"""

from collections.abc import Callable
from contextlib import contextmanager
from functools import partial

import pytest
import torch
from gpu_backends import BACKENDS, DEVICE, ON_GPU, prepare
from ops_accuracy import assert_as_accurate_as_pytorch, with_gradients
from torch import Tensor

import ksdiff_ops
from ksdiff_ops import registration
from ksdiff_ops.arguments import resolve_window

pytestmark = pytest.mark.usefixtures("seeded", "exact_products")
needs_gpu = pytest.mark.skipif(not ON_GPU, reason="PyTorch sees no CUDA device")
needs_triton = pytest.mark.skipif(
    "triton" not in BACKENDS, reason="without a GPU, this takes TRITON_INTERPRET=1"
)

DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
WITHOUT_CUDA = ("batched_conv2d", "adaptive_conv2d")


@pytest.fixture(params=BACKENDS)
def backend(request, monkeypatch) -> str:
    prepare(request.param, monkeypatch)
    return request.param


@pytest.fixture
def triton(monkeypatch) -> str:
    prepare("triton", monkeypatch)
    return "triton"


@contextmanager
def float32_products(precision: str):
    """How PyTorch's convolutions, which Triton's kernels follow, multiply float32."""
    conv = torch.backends.cudnn.conv
    before, conv.fp32_precision = conv.fp32_precision, precision
    try:
        yield
    finally:
        conv.fp32_precision = before


@pytest.fixture
def exact_products():
    """float32 is multiplied as such: TensorFloat-32, the default, has a test of its own."""
    with float32_products("ieee"):
        yield


draw_normal = partial(torch.randn, device=DEVICE)


def pixel_tensors(batch, channels, groups, size, kernel, rank=None, dtype=torch.float32, **window):
    """x and weight, or x, coeff and basis, on the GPU."""
    settings = {"stride": 1, "padding": "same", "dilation": 1, **window}
    _, out = resolve_window(size, kernel, **settings)
    draw = partial(draw_normal, dtype=dtype)
    x = draw(batch, channels, *size)
    if rank is None:
        return x, draw(batch, groups, *kernel, *out)
    return x, draw(batch, groups, rank, *out), draw(batch, groups, rank, *kernel)


def tucker_tensors(batch=2, sizes=(33, 20, 3, 3), ranks=(8, 6, 2, 3), dtype=torch.float32):
    draw = partial(draw_normal, dtype=dtype)
    factors = [draw(batch, n, r) for n, r in zip(sizes, ranks, strict=True)]
    return draw(batch, *ranks), *factors, draw(*sizes)


def batched_tensors(batch, inputs, outputs, size, kernel, groups=1, dtype=torch.float32):
    draw = partial(draw_normal, dtype=dtype)
    return draw(batch, inputs, *size), draw(batch, outputs, inputs // groups, *kernel)


def adaptive_tensors(batch, inputs, outputs, size, kernel, dtype=torch.float32):
    draw = partial(draw_normal, dtype=dtype)
    attention = draw(batch, *kernel, *size)
    return draw(batch, inputs, *size), attention, draw(outputs, inputs, *kernel)


def tucker_kernel(core, u1, u2, u3, u4, base, *, backend=None):
    return ksdiff_ops.tucker_kernel(core, (u1, u2, u3, u4), base, backend=backend)


WINDOWS = (
    {},
    {"padding": 0},
    {"padding": (9, 1)},
    {"stride": 2},
    {"stride": (1, 3), "dilation": (2, 1), "padding": 4},
)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    "kernel",
    [(3, 3), (4, 2), *(pytest.param(k, marks=needs_gpu) for k in ((1, 1), (5, 5), (7, 7), (3, 5)))],
    ids=str,
)
@pytest.mark.parametrize(("channels", "groups"), [(13, 1), (6, 2), (5, 5)])
@pytest.mark.parametrize("rank", [None, 6])
def test_kernel_sizes_groups_and_dtypes(backend, dtype, kernel, channels, groups, rank):
    operator = ksdiff_ops.dynamic_conv if rank is None else ksdiff_ops.lowrank_dynamic_conv
    for size in ((17, 129), (33, 64)) if ON_GPU else ((3, 65),):
        inputs = pixel_tensors(2, channels, groups, size, kernel, rank, dtype)
        assert_as_accurate_as_pytorch(operator, inputs, backend)


@pytest.mark.parametrize("rank", [None, 3])
@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_strides_dilations_and_paddings(backend, window, rank):
    operator = ksdiff_ops.dynamic_conv if rank is None else ksdiff_ops.lowrank_dynamic_conv
    size = (31, 77) if ON_GPU else (9, 17)
    for kernel in ((3, 3), (5, 5)):
        inputs = pixel_tensors(2, 6, 3, size, kernel, rank, **window)
        assert_as_accurate_as_pytorch(partial(operator, **window), inputs, backend)


@pytest.mark.parametrize("rank", [None, 4])
@pytest.mark.parametrize(
    "size", [(1, 1), (1, 151), (300, 1), pytest.param((256, 256), marks=needs_gpu)], ids=str
)
def test_image_sizes(backend, size, rank):
    operator = ksdiff_ops.dynamic_conv if rank is None else ksdiff_ops.lowrank_dynamic_conv
    for groups in (1, 16):
        inputs = pixel_tensors(1, 16, groups, size, (5, 5), rank, torch.bfloat16)
        assert_as_accurate_as_pytorch(operator, inputs, backend)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    ("batch", "sizes", "ranks"),
    [
        pytest.param(1, (96, 96, 3, 3), (16, 16, 3, 3), marks=needs_gpu),
        pytest.param(32, (64, 32, 5, 3), (8, 4, 2, 3), marks=needs_gpu),
        (2, (1, 1, 1, 1), (1, 1, 1, 1)),
        (1, (20, 9, 7, 7), (180, 6, 7, 7)),
        (1, (2, 1, 7, 7), (1200, 2, 1, 1)),
    ],
)
def test_tucker_kernels(backend, dtype, batch, sizes, ranks):
    inputs = tucker_tensors(batch, sizes, ranks, dtype)
    assert_as_accurate_as_pytorch(tucker_kernel, inputs, backend)


@needs_triton
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    ("inputs", "outputs", "size", "kernel", "window"),
    [
        (3, 5, (7, 9), (3, 3), {}),
        (40, 70, (6, 5), (4, 3), {}),
        (12, 6, (5, 11), (3, 3), {"groups": 6, "stride": 2}),
        (4, 4, (9, 8), (3, 1), {"stride": (1, 3), "dilation": (2, 1), "padding": (3, 0)}),
        pytest.param(64, 64, (64, 64), (3, 3), {}, marks=needs_gpu),
        pytest.param(64, 128, (33, 129), (5, 5), {"groups": 2}, marks=needs_gpu),
        pytest.param(24, 24, (33, 50), (5, 5), {"groups": 24}, marks=needs_gpu),
    ],
)
def test_batched_convolutions(triton, dtype, inputs, outputs, size, kernel, window):
    tensors = batched_tensors(2, inputs, outputs, size, kernel, window.get("groups", 1), dtype)
    operator = partial(ksdiff_ops.batched_conv2d, **window)
    assert_as_accurate_as_pytorch(operator, tensors, triton)


@needs_triton
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    ("inputs", "outputs", "size", "kernel"),
    [
        (3, 5, (7, 9), (3, 3)),
        (40, 70, (6, 5), (3, 2)),
        pytest.param(64, 64, (64, 64), (3, 3), marks=needs_gpu),
        pytest.param(96, 48, (33, 129), (5, 5), marks=needs_gpu),
    ],
)
def test_adaptive_convolutions(triton, dtype, inputs, outputs, size, kernel):
    tensors = adaptive_tensors(2, inputs, outputs, size, kernel, dtype)
    assert_as_accurate_as_pytorch(ksdiff_ops.adaptive_conv2d, tensors, triton)


@needs_gpu
@pytest.mark.parametrize("name", ["batched_conv2d", "adaptive_conv2d"])
def test_tensorfloat_products_err_by_its_rounding(triton, name):
    operator, inputs = SAMPLES[name]()
    exact = with_gradients(operator, inputs, "reference", Tensor.double)
    terms = with_gradients(operator, inputs, "reference", lambda t: t.double().abs())
    with float32_products("tf32"):
        results = with_gradients(operator, inputs, triton)
    for value, truth, size in zip(results, exact, terms, strict=True):
        # Ten bits are kept of both factors.
        assert (value - truth).abs().max() <= 2 * 2.0**-10 * size.max()


SAMPLES: dict[str, Callable[[], tuple[Callable, tuple[Tensor, ...]]]] = {
    "dynamic_conv": lambda: (
        ksdiff_ops.dynamic_conv,
        pixel_tensors(2, 12, 2, (20, 70), (5, 5)),
    ),
    "one channel per group": lambda: (
        ksdiff_ops.dynamic_conv,
        pixel_tensors(2, 4, 4, (20, 70), (3, 3)),
    ),
    "strided dynamic_conv": lambda: (
        partial(ksdiff_ops.dynamic_conv, stride=2),
        pixel_tensors(2, 12, 2, (20, 70), (5, 5), stride=2),
    ),
    "lowrank_dynamic_conv": lambda: (
        ksdiff_ops.lowrank_dynamic_conv,
        pixel_tensors(2, 12, 2, (20, 70), (7, 7), 8),
    ),
    "strided lowrank_dynamic_conv": lambda: (
        partial(ksdiff_ops.lowrank_dynamic_conv, stride=2),
        pixel_tensors(2, 12, 2, (20, 70), (3, 3), 8, stride=2),
    ),
    "tucker_kernel": lambda: (tucker_kernel, tucker_tensors()),
    "batched_conv2d": lambda: (
        ksdiff_ops.batched_conv2d,
        batched_tensors(2, 12, 20, (9, 14), (3, 3)),
    ),
    "strided batched_conv2d": lambda: (
        partial(ksdiff_ops.batched_conv2d, stride=2, groups=2),
        batched_tensors(2, 12, 20, (9, 14), (3, 3), groups=2),
    ),
    "adaptive_conv2d": lambda: (
        ksdiff_ops.adaptive_conv2d,
        adaptive_tensors(2, 12, 20, (9, 14), (3, 3)),
    ),
}


def each_sample(names) -> pytest.MarkDecorator:
    pairs = [
        (backend, name)
        for backend in BACKENDS
        for name in names
        if backend == "triton" or not name.endswith(WITHOUT_CUDA)
    ]
    return pytest.mark.parametrize(("backend", "name"), pairs, indirect=["backend"])


@each_sample(SAMPLES)
def test_the_same_input_gives_the_same_bits(backend, name):
    operator, inputs = SAMPLES[name]()
    first = with_gradients(operator, inputs, backend)
    for _ in range(5 if ON_GPU else 1):
        again = with_gradients(operator, inputs, backend)
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


@each_sample(SAMPLES)
def test_every_number_is_written(backend, name, poisoned):
    operator, inputs = SAMPLES[name]()
    assert torch.empty(3, device=DEVICE).isnan().all()
    assert all(result.isfinite().all() for result in with_gradients(operator, inputs, backend))


@needs_gpu
@each_sample(SAMPLES)
def test_a_cuda_graph_replays_forward_and_backward(backend, name):
    operator, inputs = SAMPLES[name]()
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


@each_sample(SAMPLES)
def test_compiles_whole_and_gives_the_same(backend, name):
    torch._dynamo.reset()
    operator, inputs = SAMPLES[name]()
    compiled = torch.compile(
        partial(operator, backend=backend),
        fullgraph=True,
        backend="inductor" if ON_GPU else "aot_eager",
    )
    leaves = [tensor.detach().requires_grad_() for tensor in inputs]
    output = compiled(*leaves)
    grads = torch.autograd.grad(output, leaves, torch.ones_like(output))
    expected = with_static_gradients(operator, inputs, backend)
    for actual, wanted in zip([output.detach(), *grads], expected, strict=True):
        torch.testing.assert_close(actual, wanted)


DOUBLES = {
    "dynamic_conv": lambda draw: (ksdiff_ops.dynamic_conv, draw(1, 4, 2, (4, 5), (3, 3))),
    "one channel per group": lambda draw: (ksdiff_ops.dynamic_conv, draw(1, 2, 2, (4, 5), (3, 3))),
    "strided dynamic_conv": lambda draw: (
        partial(ksdiff_ops.dynamic_conv, stride=2),
        draw(1, 4, 2, (4, 5), (2, 3), stride=2),
    ),
    "lowrank_dynamic_conv": lambda draw: (
        ksdiff_ops.lowrank_dynamic_conv,
        draw(1, 4, 2, (4, 5), (3, 3), 2),
    ),
    "strided lowrank_dynamic_conv": lambda draw: (
        partial(ksdiff_ops.lowrank_dynamic_conv, stride=2),
        draw(1, 4, 2, (4, 5), (2, 3), 2, stride=2),
    ),
    "tucker_kernel": lambda _: (
        tucker_kernel,
        tucker_tensors(2, (3, 2, 2, 3), (2, 2, 1, 2), torch.float64),
    ),
    "strided batched_conv2d": lambda _: (
        partial(ksdiff_ops.batched_conv2d, stride=2, groups=2),
        batched_tensors(2, 4, 2, (4, 5), (2, 3), 2, torch.float64),
    ),
    "adaptive_conv2d": lambda _: (
        ksdiff_ops.adaptive_conv2d,
        adaptive_tensors(1, 2, 3, (3, 4), (3, 2), torch.float64),
    ),
}


@each_sample(DOUBLES)
def test_first_and_second_gradients_match_finite_differences(backend, name):
    operator, inputs = DOUBLES[name](partial(pixel_tensors, dtype=torch.float64))
    leaves = [tensor.requires_grad_() for tensor in inputs]
    function = partial(operator, backend=backend)
    assert torch.autograd.gradcheck(function, leaves, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, leaves, fast_mode=True)


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_operator_keeps_its_contract_with_pytorch(backend, monkeypatch):
    ops = getattr(torch.ops, prepare(backend, monkeypatch))
    window = ((1, 1), (1, 1), (1, 1))
    x, weight = pixel_tensors(1, 4, 2, (6, 9), (3, 3))
    _, coeff, basis = pixel_tensors(1, 4, 2, (6, 9), (3, 3), 2)
    grad, tucker = torch.randn_like(x), tucker_tensors(1, (3, 2, 3, 3), (2, 2, 1, 2))
    _, attention, shared = adaptive_tensors(1, 4, 4, (6, 9), (3, 3))
    kernels = draw_normal(1, 4, 4, 3, 3)
    x, weight, coeff, basis, grad = (t.requires_grad_() for t in (x, weight, coeff, basis, grad))
    kernels, attention, shared = (t.requires_grad_() for t in (kernels, attention, shared))
    calls = {
        "dynamic_conv": (x, weight, *window),
        "dynamic_conv_grad_input": (grad, weight, (6, 9), *window),
        "dynamic_conv_grad_weight": (grad, x, 2, (3, 3), *window),
        "lowrank_dynamic_conv": (x, coeff, basis, *window),
        "lowrank_dynamic_conv_grad_input": (grad, coeff, basis, (6, 9), *window),
        "lowrank_dynamic_conv_grad_coeff": (grad, x, basis, *window),
        "lowrank_dynamic_conv_grad_basis": (grad, x, coeff, (3, 3), *window),
        "tucker_kernel": tucker,
        "tucker_kernel_backward": (draw_normal(1, 3, 2, 3, 3), *tucker),
        "batched_conv2d": (x, kernels, (6, 9), *window, 1),
        "batched_conv2d_grad_input": (grad, kernels, (6, 9), *window, 1),
        "batched_conv2d_grad_weight": (grad, x, (3, 3), *window, 1),
        "adaptive_conv2d": (x, attention, shared),
        "adaptive_conv2d_grad_input": (grad, attention, shared),
        "adaptive_conv2d_grad_attention": (grad, x, shared),
        "adaptive_conv2d_grad_weight": (grad, x, attention),
    }
    assert set(calls) == set(registration.OPERATORS)
    for name, arguments in calls.items():
        if backend == "triton" or not name.startswith(WITHOUT_CUDA):
            torch.library.opcheck(getattr(ops, name).default, arguments)


@each_sample(SAMPLES)
def test_strides_of_the_input_do_not_change_a_bit(backend, name):
    operator, inputs = SAMPLES[name]()
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
    with torch.autocast(DEVICE, torch.bfloat16):
        output = ksdiff_ops.dynamic_conv(*inputs, backend=backend)
    halves = [tensor.bfloat16() for tensor in inputs]
    assert torch.equal(output, ksdiff_ops.dynamic_conv(*halves, backend=backend))


@needs_gpu
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


@needs_gpu
def test_tensors_beyond_two_to_the_31_elements(backend):
    channels, height, width = 1025, 2048, 1024
    needed = 5 * channels * height * width * 2
    if torch.cuda.mem_get_info()[0] < needed:
        pytest.skip(f"needs {needed / 2**30:.0f} GiB of GPU memory")
    x = torch.randn(1, channels, height, width, device="cuda", dtype=torch.bfloat16)
    weight = torch.randn(1, 1, 3, 3, height, width, device="cuda", dtype=torch.bfloat16)
    last = x[:, -1:].clone()
    output = ksdiff_ops.dynamic_conv(x, weight, backend=backend)
    # A single channel is another kernel's.
    alone = ksdiff_ops.dynamic_conv(last, weight, backend=backend)
    torch.testing.assert_close(output[:, -1:], alone)
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
@each_sample(SAMPLES)
def test_the_tensors_device_is_used_not_the_current_one(backend, name):
    operator, inputs = SAMPLES[name]()
    there = [tensor.to("cuda:1") for tensor in inputs]
    output = operator(*there, backend=backend)
    assert output.device == there[0].device and torch.cuda.current_device() == 0
    torch.testing.assert_close(output.cpu(), operator(*inputs, backend=backend).cpu())

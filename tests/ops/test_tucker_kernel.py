"""Values and gradients of tucker_kernel on the compiled CPU backend."""

import pytest
import tensorly
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ops_accuracy import assert_as_accurate_as_pytorch, with_gradients

from ksdiff_ops import tucker_kernel

pytestmark = pytest.mark.usefixtures("poisoned", "seeded")
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def operator(core, u1, u2, u3, u4, base=None, backend=None):
    return tucker_kernel(core, (u1, u2, u3, u4), base, backend=backend)


def tensors(batch, ranks, sizes, dtype=torch.float32, base=True):
    core = torch.randn(batch, *ranks, dtype=dtype)
    factors = [
        torch.randn(batch, size, rank, dtype=dtype) for size, rank in zip(sizes, ranks, strict=True)
    ]
    return core, *factors, torch.randn(*sizes, dtype=dtype) if base else None


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("base", [True, False])
@pytest.mark.parametrize(
    ("batch", "ranks", "sizes"),
    [
        (1, (4, 4, 2, 2), (32, 24, 3, 3)),
        (3, (4, 3, 2, 1), (5, 7, 3, 5)),
        (2, (1, 1, 1, 1), (1, 1, 1, 1)),
        (2, (2, 5, 4, 3), (65, 3, 1, 2)),
        (2, (6, 5, 2, 3), (150, 19, 1, 1)),
        (2, (5, 3, 4, 2), (35, 1, 7, 7)),
    ],
)
def test_shapes_and_dtypes(dtype, base, batch, ranks, sizes):
    assert_as_accurate_as_pytorch(operator, tensors(batch, ranks, sizes, dtype, base))


@settings(deadline=None, max_examples=25)
@given(
    batch=st.integers(0, 3),
    ranks=st.tuples(*[st.integers(0, 5)] * 4),
    sizes=st.tuples(*[st.integers(1, 9)] * 4),
    dtype=st.sampled_from(DTYPES),
    base=st.booleans(),
)
def test_random_arguments(batch, ranks, sizes, dtype, base):
    assert_as_accurate_as_pytorch(operator, tensors(batch, ranks, sizes, dtype, base))


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_equals_tensorly(backend):
    core, *factors, base = tensors(3, (4, 3, 2, 2), (8, 6, 3, 5), torch.float64)
    got = tucker_kernel(core, factors, base, backend=backend)
    for sample in range(3):
        expected = tensorly.tucker_to_tensor(
            (core[sample].numpy(), [factor[sample].numpy() for factor in factors])
        )
        torch.testing.assert_close(got[sample], torch.from_numpy(expected) * base)


def test_ones_leave_the_base_kernel_as_it_is():
    sizes = (6, 5, 3, 3)
    base = torch.randn(*sizes)
    factors = [torch.ones(2, size, 1) for size in sizes]
    got = tucker_kernel(torch.ones(2, 1, 1, 1, 1), factors, base)
    assert torch.equal(got, base.expand(2, -1, -1, -1, -1))


@pytest.mark.parametrize("sizes", [(9, 7, 3, 3), (9, 21, 1, 1), (9, 2, 3, 1)])
def test_an_infinite_gradient_spoils_only_what_depends_on_it(sizes):
    inputs = [t.requires_grad_() for t in tensors(2, (3, 2, 2, 2), sizes)]
    for place in ((0, 0), (1, 4), (1, -1)):
        upstream = torch.randn(2, *sizes)
        upstream.flatten(2)[(*place, -2)] = torch.inf
        mine, theirs = (
            torch.autograd.grad(operator(*inputs, backend=backend), inputs, upstream)
            for backend in ("cpu", "reference")
        )
        for got, expected in zip(mine, theirs, strict=True):
            assert torch.equal(got.isfinite(), expected.isfinite())


def test_same_bits_for_every_number_of_threads():
    inputs = tensors(4, (4, 4, 2, 2), (40, 36, 3, 3))
    first = with_gradients(operator, inputs, "cpu")
    threads = torch.get_num_threads()
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            again = with_gradients(operator, inputs, "cpu")
            assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    finally:
        torch.set_num_threads(threads)

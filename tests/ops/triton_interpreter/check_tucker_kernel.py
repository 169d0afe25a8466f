"""Values and gradients of tucker_kernel's Triton kernels."""

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ops_accuracy import assert_as_accurate_as_pytorch, with_gradients
from second_derivatives import assert_second_derivatives

from ksdiff_ops import tucker_kernel

pytestmark = pytest.mark.usefixtures("poisoned", "seeded")
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
as_accurate = partial(assert_as_accurate_as_pytorch, backend="triton")


@pytest.fixture
def reading_one_ahead(monkeypatch):
    """Eight loads at once, as on a GPU, are eight times the interpreter's work here."""
    from ksdiff_ops.triton import plan

    monkeypatch.setattr(plan, "TUCKER_AHEAD", 1)


def tensors(batch, sizes, ranks, has_base=True, dtype=torch.float32):
    core = torch.randn(batch, *ranks, dtype=dtype)
    pairs = zip(sizes, ranks, strict=True)
    factors = [torch.randn(batch, size, rank, dtype=dtype) for size, rank in pairs]
    return core, *factors, torch.randn(sizes, dtype=dtype) if has_base else None


def rebuild(core, u1, u2, u3, u4, base=None, backend="triton"):
    return tucker_kernel(core, (u1, u2, u3, u4), base, backend=backend)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("has_base", [True, False])
def test_dtypes_with_and_without_base(dtype, has_base, reading_one_ahead):
    as_accurate(rebuild, tensors(1, (3, 2, 3, 1), (2, 2, 2, 2), has_base, dtype))


@pytest.mark.parametrize(
    ("sizes", "ranks"),
    [
        ((1, 1, 1, 1), (1, 1, 1, 1)),
        ((5, 15, 3, 3), (3, 2, 1, 1)),
        ((3, 2, 3, 1), (9, 1, 2, 1)),
        ((2, 9, 1, 2), (2, 17, 1, 2)),
    ],
)
def test_sizes_and_ranks_that_fill_no_block(sizes, ranks):
    as_accurate(rebuild, tensors(1, sizes, ranks))


@settings(deadline=None, max_examples=3)
@given(data=st.data())
def test_random_arguments(data):
    few = st.integers(1, 3)
    inputs = tensors(
        data.draw(st.integers(1, 2), "batch"),
        data.draw(st.tuples(st.integers(1, 9), st.integers(1, 5), few, few), "sizes"),
        data.draw(st.tuples(st.integers(1, 5), few, few, few), "ranks"),
        data.draw(st.booleans(), "base"),
        data.draw(st.sampled_from(DTYPES), "dtype"),
    )
    as_accurate(rebuild, inputs)


@pytest.mark.parametrize(("batch", "ranks"), [(0, (2, 2, 1, 1)), (1, (0, 2, 1, 1))])
def test_empty_batches_and_ranks(batch, ranks):
    as_accurate(rebuild, tensors(batch, (3, 2, 2, 1), ranks))


def test_any_strides(reading_one_ahead):
    core, u1, *rest = tensors(1, (3, 2, 2, 1), (2, 1, 2, 1))
    plain = with_gradients(rebuild, (core, u1, *rest), "triton")
    turned = (core.mT.contiguous().mT, u1.mT.contiguous().mT, *rest)
    strided = with_gradients(rebuild, turned, "triton")
    assert all(torch.equal(a, b) for a, b in zip(strided, plain, strict=True))


def test_the_same_input_gives_the_same_bits(reading_one_ahead):
    inputs = tensors(2, (4, 3, 3, 1), (2, 2, 2, 1))
    first = with_gradients(rebuild, inputs, "triton")
    again = with_gradients(rebuild, inputs, "triton")
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize("has_base", [True, False])
def test_second_derivatives_equal_the_references(has_base, reading_one_ahead):
    inputs = tensors(1, (2, 2, 1, 2), (2, 1, 2, 2), has_base, torch.float64)
    assert_second_derivatives(rebuild, inputs)


def test_operators_keep_pytorchs_rules(reading_one_ahead):
    ops = torch.ops.ksdiff_ops_triton
    inputs = [t.requires_grad_() for t in tensors(1, (1, 2, 1, 1), (1, 1, 1, 2))]
    torch.library.opcheck(ops.tucker_kernel.default, tuple(inputs))
    grad = torch.randn(1, 1, 2, 1, 1, requires_grad=True)
    torch.library.opcheck(ops.tucker_kernel_backward.default, (grad, *inputs))


def test_wrong_shapes_are_refused_before_the_launch():
    import ksdiff_ops.triton  # noqa: F401

    ops = torch.ops.ksdiff_ops_triton
    core, u1, u2, u3, u4, base = tensors(1, (2, 2, 1, 2), (2, 1, 1, 2))
    with pytest.raises(ValueError, match="u2: expected"):
        ops.tucker_kernel(core, u1, u2[..., :0], u3, u4, base)
    with pytest.raises(ValueError, match="base: expected"):
        ops.tucker_kernel(core, u1, u2, u3, u4, base[:1])
    with pytest.raises(ValueError, match="grad: expected"):
        ops.tucker_kernel_backward(base[None, :1], core, u1, u2, u3, u4, base)

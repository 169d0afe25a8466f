import host_cases
import pytest
import torch

from ksdiff_ops import reference


def reference_results(grad, operands):
    leaves = [None if o is None else o.clone().requires_grad_() for o in operands]
    kernel = reference.tucker_kernel(*leaves)
    wanted = [leaf for leaf in leaves if leaf is not None]
    return [kernel.detach(), *torch.autograd.grad(kernel, wanted, grad)]


def kernel_results(ops, grad, operands):
    return [ops.tucker_kernel(*operands), *ops.tucker_kernel_backward(grad, *operands)]


def gradient(case, dtype):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(
        (case.batch, case.out, case.in_, *case.kernel), generator=generator, dtype=torch.float64
    ).to(dtype)


@pytest.mark.parametrize("dtype", (torch.float32, torch.bfloat16, torch.float16), ids=str)
@pytest.mark.parametrize("case", host_cases.TUCKER, ids=str)
def test_kernel_and_gradients_are_those_of_the_reference(operators, case, dtype):
    grad, operands = gradient(case, dtype), case.tensors(dtype)
    exact = reference_results(grad.double(), [o if o is None else o.double() for o in operands])
    own = reference_results(grad, operands)
    results = kernel_results(operators, grad, operands)
    terms = reference_results(
        grad.double().abs(), [o if o is None else o.double().abs() for o in operands]
    )
    names = ("kernel", "core", "u1", "u2", "u3", "u4", "base")
    for name, actual, plain, wanted, size in zip(names, results, own, exact, terms, strict=False):
        assert actual.shape == wanted.shape and actual.dtype == dtype, name
        rounding = torch.finfo(dtype).eps * wanted.abs().max()
        # PyTorch's own error is chance where thousands of terms are summed: it differs by machine.
        rounding += 2 * torch.finfo(torch.float32).eps * size.max()
        allowed = 2 * (plain.double() - wanted).abs().max() + 2 * rounding
        error = (actual.double() - wanted).abs().max()
        assert error <= allowed, f"{name}: off by {error:.3g}, allowed {allowed:.3g}"
    assert len(results) == (7 if case.base else 6)


@pytest.mark.parametrize("case", host_cases.TUCKER, ids=str)
def test_double_precision_is_computed_in_double_precision(operators, case):
    grad, operands = gradient(case, torch.float64), case.tensors(torch.float64)
    wanted = reference_results(grad, operands)
    for actual, expected in zip(kernel_results(operators, grad, operands), wanted, strict=True):
        atol = 1e-13 * expected.abs().max().item()
        torch.testing.assert_close(actual, expected, rtol=1e-12, atol=atol)


@pytest.mark.parametrize("case", host_cases.TUCKER_EMPTY, ids=str)
def test_sums_over_nothing_are_zero(operators, case):
    grad, operands = gradient(case, torch.float32), case.tensors(torch.float32)
    wanted = reference_results(grad, operands)
    for actual, expected in zip(kernel_results(operators, grad, operands), wanted, strict=True):
        torch.testing.assert_close(actual, expected)


def test_strides_do_not_change_a_bit(operators):
    case = host_cases.TUCKER[0]
    grad, operands = gradient(case, torch.float32), case.tensors(torch.float32)
    expected = kernel_results(operators, grad, operands)
    strided = [o.transpose(0, -1).contiguous().transpose(0, -1) for o in (grad, *operands)]
    for actual, wanted in zip(
        kernel_results(operators, strided[0], strided[1:]), expected, strict=True
    ):
        assert torch.equal(actual, wanted)


@pytest.mark.parametrize("mode", range(1, 6))
def test_an_operand_of_the_wrong_size_is_refused_by_name(operators, mode):
    operands = host_cases.TUCKER[0].tensors(torch.float32)
    operands[mode] = operands[mode][..., :1]
    name = ("core", "u1", "u2", "u3", "u4", "base")[mode]
    with pytest.raises(RuntimeError, match=f"{name}: expected"):
        operators.tucker_kernel(*operands)

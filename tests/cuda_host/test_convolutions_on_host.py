import host_cases
import pytest
import torch
from torch import Tensor

from ksdiff_ops import reference

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def reference_results(case: host_cases.ConvCase, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Values and gradients of both operators by the reference and PyTorch's autograd."""
    x, weight, coeff, basis = (
        tensors[name].clone().requires_grad_() for name in ("x", "weight", "coeff", "basis")
    )
    dense = reference.dynamic_conv(x, weight, *case.window)
    mixed = reference.lowrank_dynamic_conv(x, coeff, basis, *case.window)
    grads = torch.autograd.grad(dense, (x, weight), tensors["grad"])
    mixed_grads = torch.autograd.grad(mixed, (x, coeff, basis), tensors["grad"])
    names = ("dense", "dense_x", "dense_weight", "mixed", "mixed_x", "mixed_coeff", "mixed_basis")
    results = (dense.detach(), *grads, mixed.detach(), *mixed_grads)
    return dict(zip(names, results, strict=True))


def kernel_results(ops, case: host_cases.ConvCase, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    x, weight, coeff, basis, grad = (
        tensors[name] for name in ("x", "weight", "coeff", "basis", "grad")
    )
    window = case.window
    return {
        "dense": ops.dynamic_conv(x, weight, *window),
        "dense_x": ops.dynamic_conv_grad_input(grad, weight, case.size, *window),
        "dense_weight": ops.dynamic_conv_grad_weight(grad, x, case.groups, case.kernel, *window),
        "mixed": ops.lowrank_dynamic_conv(x, coeff, basis, *window),
        "mixed_x": ops.lowrank_dynamic_conv_grad_input(grad, coeff, basis, case.size, *window),
        "mixed_coeff": ops.lowrank_dynamic_conv_grad_coeff(grad, x, basis, *window),
        "mixed_basis": ops.lowrank_dynamic_conv_grad_basis(grad, x, coeff, case.kernel, *window),
    }


def assert_as_exact_as_pytorch(case, ops, tensors: dict[str, Tensor]) -> None:
    """Every error against float64 is at most twice PyTorch's at this precision, plus rounding."""
    exact = reference_results(case, {name: t.double() for name, t in tensors.items()})
    own = reference_results(case, tensors)
    for name, actual in kernel_results(ops, case, tensors).items():
        wanted = exact[name]
        assert actual.shape == wanted.shape and actual.dtype == own[name].dtype, name
        if wanted.numel() == 0:
            continue
        rounding = torch.finfo(actual.dtype).eps * wanted.abs().max()
        allowed = 2 * (own[name].double() - wanted).abs().max() + rounding
        error = (actual.double() - wanted).abs().max()
        assert error <= allowed, f"{name}: off by {error:.3g}, allowed {allowed:.3g}"


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("case", host_cases.CONVOLUTIONS, ids=str)
def test_values_and_gradients_are_those_of_the_reference(operators, case, dtype):
    assert_as_exact_as_pytorch(case, operators, case.tensors(dtype))


@pytest.mark.parametrize("case", host_cases.SHIFTED + host_cases.GENERAL[:4], ids=str)
def test_double_precision_is_computed_in_double_precision(operators, case):
    tensors = case.tensors(torch.float64)
    exact = reference_results(case, tensors)
    for name, actual in kernel_results(operators, case, tensors).items():
        torch.testing.assert_close(actual, exact[name], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("case", host_cases.EMPTY, ids=str)
def test_sums_over_nothing_are_zero(operators, case):
    tensors = case.tensors(torch.float32)
    exact = reference_results(case, tensors)
    for name, actual in kernel_results(operators, case, tensors).items():
        torch.testing.assert_close(actual, exact[name], msg=name)


@pytest.mark.parametrize("case", (host_cases.FAST[0], host_cases.STREAMING[1]), ids=str)
def test_memory_layout_does_not_change_a_bit(operators, case):
    tensors = case.tensors(torch.bfloat16)
    expected = kernel_results(operators, case, tensors)

    def misaligned(tensor: Tensor) -> Tensor:
        memory = torch.cat([torch.zeros(1, dtype=tensor.dtype), tensor.flatten()])
        return memory[1:].view(tensor.shape)

    def strided(tensor: Tensor) -> Tensor:
        return tensor.transpose(0, -1).contiguous().transpose(0, -1)

    for layout in (misaligned, strided):
        moved = {name: layout(tensor) for name, tensor in tensors.items()}
        for name, actual in kernel_results(operators, case, moved).items():
            assert torch.equal(actual, expected[name]), f"{layout.__name__} {name}"


def test_gradients_of_a_sum_come_with_stride_zero(operators):
    case = host_cases.FAST[2]
    tensors = case.tensors(torch.float32)
    tensors["grad"] = torch.ones(()).expand(tensors["grad"].shape)
    assert_as_exact_as_pytorch(case, operators, tensors)


def test_numbers_outside_a_plane_are_never_used(operators):
    case = host_cases.FAST[0]
    tensors = case.tensors(torch.float32)
    # NaN around every plane: what a kernel reads beyond a row or plane poisons the result.
    for name, tensor in tensors.items():
        framed = torch.full((*tensor.shape[:-2], *(n + 2 for n in tensor.shape[-2:])), torch.nan)
        framed[..., 1:-1, 1:-1] = tensor
        tensors[name] = framed[..., 1:-1, 1:-1]
    assert_as_exact_as_pytorch(case, operators, tensors)


WRONG_CALLS = {
    "weight: expected 6 axes": lambda o, t, c: o.dynamic_conv(t["x"], t["x"], *c.window),
    "weight: expected the same dtype": lambda o, t, c: o.dynamic_conv(
        t["x"], t["weight"].double(), *c.window
    ),
    "weight: expected 2 along axis 0": lambda o, t, c: o.dynamic_conv(
        t["x"], t["weight"][:1], *c.window
    ),
    "groups: expected a divisor of 5": lambda o, t, c: o.dynamic_conv(
        t["x"][:, :5], t["weight"], *c.window
    ),
    "stride: expected two ints": lambda o, t, c: o.dynamic_conv(
        t["x"], t["weight"], (1,), (1, 1), (1, 1)
    ),
    "stride: expected 1 to": lambda o, t, c: o.dynamic_conv(
        t["x"], t["weight"], (0, 1), (1, 1), (1, 1)
    ),
    "weight: expected 8 along axis 4": lambda o, t, c: o.dynamic_conv_grad_input(
        t["grad"][:, :, :8], t["weight"], c.size, *c.window
    ),
    "x: expected 6 along axis 1": lambda o, t, c: o.dynamic_conv_grad_weight(
        t["grad"], t["x"][:, :4], c.groups, c.kernel, *c.window
    ),
    "basis: expected 3 along axis 2": lambda o, t, c: o.lowrank_dynamic_conv(
        t["x"], t["coeff"], t["basis"][:, :, :2], *c.window
    ),
    "coeff: expected 8 along axis 3": lambda o, t, c: o.lowrank_dynamic_conv_grad_basis(
        t["grad"][:, :, :8], t["x"], t["coeff"], c.kernel, *c.window
    ),
    "expected float32, float64, float16 or bfloat16": lambda o, t, c: o.dynamic_conv(
        t["x"].int(), t["weight"].int(), *c.window
    ),
}


@pytest.mark.parametrize("message", WRONG_CALLS)
def test_wrong_operands_are_refused_before_a_kernel_starts(operators, message):
    case = host_cases.FAST[0]
    with pytest.raises(RuntimeError, match=message):
        WRONG_CALLS[message](operators, case.tensors(torch.float32), case)

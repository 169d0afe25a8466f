"""The CUDA operators as PyTorch sees them: schemas, fakes and gradients of every order."""

import host_cases
import pytest
import torch

CASES = (
    host_cases.same(1, 2, 1, (3, 5), (3, 3), rank=2),
    host_cases.ConvCase(1, 2, 2, (5, 4), (2, 3), out=(3, 2), stride=(2, 2), padding=(1, 1), rank=2),
)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_first_and_second_gradients_match_finite_differences(operators, case):
    tensors = {k: t.requires_grad_() for k, t in case.tensors(torch.float64).items()}
    for function, names in (
        (operators.dynamic_conv, ("x", "weight")),
        (operators.lowrank_dynamic_conv, ("x", "coeff", "basis")),
    ):
        inputs = (*(tensors[name] for name in names), *case.window)
        assert torch.autograd.gradcheck(function, inputs, fast_mode=True)
        assert torch.autograd.gradgradcheck(function, inputs, fast_mode=True)


def test_tucker_gradients_match_finite_differences(operators):
    operands = host_cases.TuckerCase(2, 3, 2, (2, 3), (2, 2, 1, 2)).tensors(torch.float64)
    operands = [operand.requires_grad_() for operand in operands]
    assert torch.autograd.gradcheck(operators.tucker_kernel, operands, fast_mode=True)
    assert torch.autograd.gradgradcheck(operators.tucker_kernel, operands, fast_mode=True)


def test_every_operator_keeps_its_contract_with_pytorch(operators):
    case = CASES[0]
    x, weight, coeff, basis, grad = (
        tensor.requires_grad_() for tensor in case.tensors(torch.float32).values()
    )
    tucker = host_cases.TUCKER[0].tensors(torch.float32)
    kernel = operators.tucker_kernel(*tucker)
    window = case.window
    calls = {
        "dynamic_conv": (x, weight, *window),
        "dynamic_conv_grad_input": (grad, weight, case.size, *window),
        "dynamic_conv_grad_weight": (grad, x, case.groups, case.kernel, *window),
        "lowrank_dynamic_conv": (x, coeff, basis, *window),
        "lowrank_dynamic_conv_grad_input": (grad, coeff, basis, case.size, *window),
        "lowrank_dynamic_conv_grad_coeff": (grad, x, basis, *window),
        "lowrank_dynamic_conv_grad_basis": (grad, x, coeff, case.kernel, *window),
        "tucker_kernel": tuple(tucker),
        "tucker_kernel_backward": (torch.ones_like(kernel), *tucker),
    }
    for name, arguments in calls.items():
        torch.library.opcheck(getattr(operators, name).default, arguments)

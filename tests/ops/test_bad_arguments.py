"""Wrong arguments: an error with the argument's name, what was expected and what came."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ksdiff_ops import dynamic_conv, lowrank_dynamic_conv, tucker_kernel

X = torch.zeros(2, 6, 8, 9)
WEIGHT = torch.zeros(2, 3, 3, 3, 8, 9)
COEFF = torch.zeros(2, 3, 4, 8, 9)
BASIS = torch.zeros(2, 3, 4, 3, 3)
CORE = torch.zeros(2, 4, 3, 2, 2)
FACTORS = tuple(torch.zeros(2, size, rank) for size, rank in ((8, 4), (6, 3), (3, 2), (3, 2)))
BASE = torch.zeros(8, 6, 3, 3)

every_backend = pytest.mark.parametrize("backend", ["cpu", "reference"])


@every_backend
@pytest.mark.parametrize(
    ("x", "weight", "options", "error", "words"),
    [
        ([1.0], WEIGHT, {}, TypeError, r"x: expected a tensor .*, got list"),
        (X[0], WEIGHT, {}, ValueError, r"x: expected 4 axes .*, got shape \[6, 8, 9\]"),
        (X, WEIGHT[0], {}, ValueError, r"weight: expected 6 axes"),
        (X.int(), WEIGHT, {}, TypeError, r"x: expected float32, .*, got torch.int32"),
        (X, WEIGHT.double(), {}, TypeError, r"weight: expected the dtype of x .*float64"),
        (X, WEIGHT.to("meta"), {}, ValueError, r"weight: expected the device of x .*got meta"),
        (X, WEIGHT[:1], {}, ValueError, r"weight: expected .* = \[2, 3, 3, 3, 8, 9\], got .*\[1,"),
        (X, WEIGHT[..., :-1], {}, ValueError, r"weight: expected .*9\], got shape .*8\]"),
        (X[:, :5], WEIGHT, {}, ValueError, r"weight: .*groups that divides x's 5 channels, got 3"),
        (X, WEIGHT[:, :0], {}, ValueError, r"weight: .*groups .*, got 0"),
        (X, WEIGHT[:, :, :0], {}, ValueError, r"kernel size: expected at least 1 x 1, got 0 x 3"),
        (X, WEIGHT, {"stride": 0}, ValueError, r"stride: expected at least 1, got 0"),
        (X, WEIGHT, {"stride": 1.5}, TypeError, r"stride: expected an int or two, got 1.5"),
        (X, WEIGHT, {"stride": (1, 1, 1)}, ValueError, r"stride: .*, got 3 values"),
        (X, WEIGHT, {"dilation": (1, 0)}, ValueError, r"dilation: expected at least 1"),
        (X, WEIGHT, {"dilation": True}, TypeError, r"dilation: expected an int or two, got True"),
        (X, WEIGHT, {"padding": -1}, ValueError, r"padding: expected at least 0, got -1"),
        (X, WEIGHT, {"padding": "valid"}, ValueError, r"padding: expected \"same\", .*'valid'"),
        (X, WEIGHT, {"padding": 0, "dilation": 4}, ValueError, r"x: expected a height .*9, got 8"),
        (X, WEIGHT, {"stride": 2}, ValueError, r"weight: expected .* 4, 5\], got shape"),
    ],
)
def test_dynamic_conv(x, weight, options, error, words, backend):
    with pytest.raises(error, match=words):
        dynamic_conv(x, weight, backend=backend, **options)


@every_backend
@pytest.mark.parametrize(
    ("x", "coeff", "basis", "error", "words"),
    [
        (X, COEFF[0], BASIS, ValueError, r"coeff: expected 5 axes"),
        (X, COEFF, BASIS[0, 0], ValueError, r"basis: expected 5 axes .*, got shape \[4, 3, 3\]"),
        (X, COEFF, BASIS[:, :2], ValueError, r"basis: expected \[B, .* = \[2, 3, 4, 3, 3\]"),
        (X, COEFF, BASIS[0, :, :2], ValueError, r"basis: expected \[G, .* = \[3, 4, 3, 3\], got"),
        (X, COEFF[..., 1:, :], BASIS, ValueError, r"coeff: expected .* = \[2, 3, 4, 8, 9\], got"),
        (X, COEFF.half(), BASIS, TypeError, r"coeff: expected the dtype of x"),
        (X, COEFF, BASIS.bool(), TypeError, r"basis: expected float32"),
        (X, COEFF, None, TypeError, r"basis: expected a tensor .*, got NoneType"),
        (X[:, :4], COEFF, BASIS, ValueError, r"coeff: .*groups that divides x's 4 channels"),
    ],
)
def test_lowrank_dynamic_conv(x, coeff, basis, error, words, backend):
    with pytest.raises(error, match=words):
        lowrank_dynamic_conv(x, coeff, basis, backend=backend)


@every_backend
@pytest.mark.parametrize(
    ("core", "factors", "base", "error", "words"),
    [
        (CORE[0], FACTORS, BASE, ValueError, r"core: expected 5 axes"),
        (CORE, FACTORS[:3], BASE, ValueError, r"factors: expected four tensors, got 3"),
        (CORE, FACTORS[0], BASE, TypeError, r"factors: expected four tensors, got Tensor"),
        (CORE, (*FACTORS[:3], 1), BASE, TypeError, r"factors\[3\]: expected a tensor .* got int"),
        (CORE, FACTORS[::-1], BASE, ValueError, r"factors\[0\]: expected \[B, Cout, r1\] = .*4\]"),
        (CORE[:1], FACTORS, BASE, ValueError, r"factors\[0\]: expected .* = \[1, 8, 4\], got"),
        (CORE, FACTORS, BASE[:4], ValueError, r"base: expected .* = \[8, 6, 3, 3\], got .*\[4,"),
        (CORE, FACTORS, BASE.double(), TypeError, r"base: expected the dtype of core"),
        (CORE.long(), FACTORS, BASE, TypeError, r"core: expected float32"),
    ],
)
def test_tucker_kernel(core, factors, base, error, words, backend):
    with pytest.raises(error, match=words):
        tucker_kernel(core, factors, base, backend=backend)


sizes = st.integers(-1, 4)


def shapes(least, most):
    return st.lists(st.integers(0, 4), min_size=least, max_size=most)


@settings(deadline=None, max_examples=150)
@given(
    first=shapes(3, 5),
    second=shapes(4, 6),
    third=st.none() | shapes(4, 5),
    window=st.tuples(*[st.lists(sizes, min_size=1, max_size=3)] * 3),
    numbers=st.lists(sizes, min_size=1, max_size=3),
)
def test_low_level_operators_refuse_what_does_not_fit(first, second, third, window, numbers):
    """Whatever comes, a low-level operator gives a result or a RuntimeError, never a crash."""
    ops = torch.ops.ksdiff_ops
    a, b = torch.ones(first), torch.ones(second)
    c = None if third is None else torch.ones(third)
    calls = [
        lambda: ops.dynamic_conv(a, b, *window),
        lambda: ops.dynamic_conv_grad_input(a, b, numbers, *window),
        lambda: ops.dynamic_conv_grad_weight(a, b, numbers[0], numbers, *window),
        lambda: ops.tucker_kernel(b, a, a, a, a, c),
        lambda: ops.tucker_kernel_backward(b, b, a, a, a, a, c),
    ]
    if c is not None:
        calls += [
            lambda: ops.lowrank_dynamic_conv(a, b, c, *window),
            lambda: ops.lowrank_dynamic_conv_grad_input(a, b, c, numbers, *window),
            lambda: ops.lowrank_dynamic_conv_grad_coeff(a, b, c, *window),
            lambda: ops.lowrank_dynamic_conv_grad_basis(a, b, c, numbers, *window),
        ]
    for call in calls:
        try:
            result = call()
        except RuntimeError:
            continue
        parts = result if isinstance(result, list) else [result]
        assert all(part.isfinite().all() for part in parts)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda ops: ops.dynamic_conv(X, WEIGHT[0], [1, 1], [1, 1], [1, 1]), "weight: expected 6"),
        (lambda ops: ops.dynamic_conv(X, WEIGHT, [0, 1], [1, 1], [1, 1]), "stride: expected two"),
        (lambda ops: ops.dynamic_conv(X.int(), WEIGHT.int(), *[[1, 1]] * 3), "float32, float64"),
        (lambda ops: ops.tucker_kernel(CORE, *FACTORS, BASE[:2]), "base: expected 8 along axis 0"),
    ],
)
def test_low_level_operators_say_what_is_wrong(call, words):
    with pytest.raises(RuntimeError, match=words):
        call(torch.ops.ksdiff_ops)

"""The operators under `torch.func`, batched gradients, and forward mode, against the reference."""

import warnings

import pytest
import torch
from torch.autograd import forward_ad
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vjp, vmap

from ksdiff_ops import (
    adaptive_conv2d,
    batched_conv2d,
    dynamic_conv,
    lowrank_dynamic_conv,
    tucker_kernel,
)


def double(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def strided_dynamic_conv(x, weight, **backend):
    return dynamic_conv(x, weight, stride=(2, 1), **backend)


def dilated_lowrank_dynamic_conv(x, coeff, basis, **backend):
    return lowrank_dynamic_conv(x, coeff, basis, dilation=(2, 1), **backend)


def grouped_batched_conv2d(x, weight, **backend):
    return batched_conv2d(x, weight, groups=2, **backend)


def tucker_kernel_with_base(core, u1, u2, u3, u4, base, **backend):
    return tucker_kernel(core, (u1, u2, u3, u4), base, **backend)


def tucker_kernel_without_base(core, u1, u2, u3, u4, **backend):
    return tucker_kernel(core, (u1, u2, u3, u4), **backend)


CORE = (2, 2, 2, 2, 1), (2, 3, 2), (2, 2, 2), (2, 2, 2), (2, 2, 1)
CASES = (
    (strided_dynamic_conv, ((2, 4, 3, 3), (2, 2, 3, 2, 2, 3))),
    (dilated_lowrank_dynamic_conv, ((2, 4, 3, 3), (2, 2, 2, 3, 3), (2, 2, 3, 2))),
    (tucker_kernel_with_base, (*CORE, (3, 2, 2, 2))),
    (tucker_kernel_without_base, CORE),
    (grouped_batched_conv2d, ((2, 4, 3, 3), (2, 2, 2, 3, 2))),
    (adaptive_conv2d, ((2, 3, 3, 3), (2, 3, 2, 3, 3), (2, 3, 3, 2))),
)
every_case = pytest.mark.parametrize(
    ("operator", "shapes"), CASES, ids=[case[0].__name__ for case in CASES]
)
pytestmark = pytest.mark.usefixtures("seeded")


def both(operator, shapes):
    """The operator, its reference, and arguments."""

    def reference(*args):
        return operator(*args, backend="reference")

    return operator, reference, tuple(double(*shape) for shape in shapes)


def scalar(operator):
    return lambda *args: operator(*args).sin().sum()


def assert_same(transform, operator, shapes):
    """`transform` makes a function and its arguments' values of one and the other alike."""
    mine, reference, args = both(operator, shapes)
    torch.testing.assert_close(transform(mine, args), transform(reference, args))


@every_case
def test_grad_and_grad_of_grad(operator, shapes):
    every = tuple(range(len(shapes)))

    def transform(function, args):
        first = grad(scalar(function), every)(*args)
        return first, grad(scalar(grad(scalar(function), 0)), every)(*args)

    assert_same(transform, operator, shapes)


@every_case
def test_vjp_jvp_and_jvp_of_jvp(operator, shapes):
    def transform(function, args):
        torch.manual_seed(1)
        one, two = ([torch.randn_like(a) for a in args] for _ in range(2))
        output, pull = vjp(function, *args)
        inner = jvp(lambda *a: jvp(function, a, tuple(one))[1], args, tuple(two))
        return pull(torch.randn_like(output)), inner

    assert_same(transform, operator, shapes)


@every_case
def test_jacobians_forward_and_reverse_and_hessian(operator, shapes):
    every = tuple(range(len(shapes)))

    def transform(function, args):
        return (
            jacrev(function, every)(*args),
            jacfwd(function, every)(*args),
            hessian(scalar(function), every)(*args),
        )

    assert_same(transform, operator, shapes)


@every_case
def test_vmap_over_all_arguments_and_each(operator, shapes):
    mine, reference, args = both(operator, shapes)
    stacked = [double(3, *shape) for shape in shapes]
    torch.testing.assert_close(vmap(mine)(*stacked), vmap(reference)(*stacked))
    for index in range(len(args)):
        some = [s.movedim(0, 1) if i == index else a
                for i, (a, s) in enumerate(zip(args, stacked, strict=True))]  # fmt: skip
        dims = tuple(1 if i == index else None for i in range(len(args)))
        torch.testing.assert_close(vmap(mine, dims)(*some), vmap(reference, dims)(*some))


@every_case
def test_vmap_of_vmap_and_gradients_per_sample(operator, shapes):
    every = tuple(range(len(shapes)))

    def transform(function, args):
        torch.manual_seed(1)
        stacked = [torch.randn(2, 3, *a.shape, dtype=a.dtype) for a in args]
        per_sample = vmap(grad(scalar(function), every))(*(s[0] for s in stacked))
        return vmap(vmap(function))(*stacked), per_sample

    assert_same(transform, operator, shapes)


@every_case
def test_gradients_come_in_batches_without_a_loop(operator, shapes):
    _, _, args = both(operator, shapes)
    args = [a.requires_grad_() for a in args]
    y = operator(*args)
    upstream = double(3, *y.shape)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # PyTorch warns where it loops
        batched = torch.autograd.grad(y, args, upstream, is_grads_batched=True, retain_graph=True)
    single = [torch.autograd.grad(y, args, one, retain_graph=True) for one in upstream]
    for mine, *each in zip(batched, *single, strict=True):
        torch.testing.assert_close(mine, torch.stack(each))


@every_case
def test_forward_mode_and_gradients_of_its_tangents(operator, shapes):
    def transform(function, args):
        torch.manual_seed(1)
        leaves = [a.clone().requires_grad_() for a in args]
        with forward_ad.dual_level():
            duals = [forward_ad.make_dual(a, torch.randn_like(a)) for a in leaves]
            output = forward_ad.unpack_dual(function(*duals))
        gradients = torch.autograd.grad(output.tangent.sin().sum(), leaves)
        return output.primal, output.tangent, gradients

    assert_same(transform, operator, shapes)


@every_case
def test_forward_mode_works_where_no_gradients_are_recorded(operator, shapes):
    def transform(function, args):
        torch.manual_seed(1)
        with torch.no_grad(), forward_ad.dual_level():
            duals = [forward_ad.make_dual(a, torch.randn_like(a)) for a in args]
            return forward_ad.unpack_dual(function(*duals)).tangent

    assert_same(transform, operator, shapes)


@every_case
def test_transforms_compile(operator, shapes):
    mine, reference, args = both(operator, shapes)
    every = tuple(range(len(args)))
    stacked = [double(3, *shape) for shape in shapes]
    tangents = tuple(torch.randn_like(a) for a in args)
    for transformed, given in (
        (vmap, stacked),
        (lambda function: grad(scalar(function), every), args),
        (lambda function: lambda *a: jvp(function, a, tangents), args),
    ):
        torch.compiler.reset()
        compiled = torch.compile(transformed(mine), backend="aot_eager", fullgraph=True)
        torch.testing.assert_close(compiled(*given), transformed(reference)(*given))

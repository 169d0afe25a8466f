"""The short cut for calls like earlier ones: the same results, gradients and errors, and out of
the way where anything else takes part in a call.
"""

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import ksdiff_ops
from ksdiff_ops import calls, dynamic_conv

pytestmark = pytest.mark.usefixtures("seeded")

CORE = torch.ones(2, 2, 2, 1, 1)


def cases():
    """name -> (call, tensors)"""
    x, sizes = torch.randn(2, 4, 6, 5), ((2, 3, 2), (2, 2, 2), (2, 3, 1), (2, 3, 1))
    return {
        "dynamic": (
            lambda x, w: dynamic_conv(x, w, stride=(2, 1), padding=1),
            (x, torch.randn(2, 2, 3, 3, 3, 5)),
        ),
        "lowrank": (
            ksdiff_ops.lowrank_dynamic_conv,
            (x, torch.randn(2, 2, 3, 6, 5), torch.randn(2, 3, 3, 3)),
        ),
        "tucker": (
            lambda core, base, *factors: ksdiff_ops.tucker_kernel(core, factors, base),
            (CORE, torch.randn(3, 2, 3, 3), *(torch.randn(size) for size in sizes)),
        ),
        "batched": (
            ksdiff_ops.batched_conv2d,
            (x, torch.randn(2, 3, 4, 3, 3), torch.randn(3)),
        ),
        "one sample": (
            ksdiff_ops.batched_conv2d,
            (x[:1], torch.randn(1, 3, 4, 3, 3), torch.randn(3)),
        ),
        "adaptive": (
            ksdiff_ops.adaptive_conv2d,
            (x, torch.randn(2, 3, 3, 6, 5), torch.randn(3, 4, 3, 3), torch.randn(3)),
        ),
        "DDF": (
            lambda x, a, w: ksdiff_ops.adaptive_conv2d(x, a, w, groups=4),
            (x, torch.randn(2, 3, 3, 6, 5), torch.randn(2, 4, 1, 3, 3)),
        ),
    }


@pytest.mark.parametrize("name", cases())
@pytest.mark.parametrize("leaf", [0, 1, None])
def test_results_and_gradients_of_two_orders_are_the_long_ways(name, leaf, monkeypatch):
    call, tensors = cases()[name]

    def derivatives():
        own = [
            nn.Parameter(t, requires_grad=leaf in (None, place)) for place, t in enumerate(tensors)
        ]
        leaves = [t for t in own if t.requires_grad]
        y = call(*own)
        first = torch.autograd.grad(y.sin().sum(), leaves, create_graph=True)
        second = torch.autograd.grad(sum(g.square().sum() for g in first), leaves)
        with torch.no_grad():
            plain = call(*own)
        with torch.inference_mode():
            return [y, *first, *second, plain, call(*own)]

    calls.forget()
    derivatives()
    known = [memory for memory in calls._memories if memory]
    short = derivatives()
    assert known
    monkeypatch.setattr(calls, "is_observed", lambda: True)
    for one, other in zip(short, derivatives(), strict=True):
        assert torch.equal(one, other)


X, WEIGHT = torch.ones(1, 2, 4, 4), torch.ones(1, 1, 3, 3, 4, 4)


@pytest.mark.parametrize("stride", [True, 1.0, (True, True), (1.0, 1), [1.0, 1.0]])
def test_what_equals_a_good_setting_and_is_none_is_refused_still(stride):
    dynamic_conv(X, WEIGHT, stride=1)
    dynamic_conv(X, WEIGHT, stride=(1, 1))
    with pytest.raises(TypeError, match="stride: expected an int or two"):
        dynamic_conv(X, WEIGHT, stride=stride)


@pytest.mark.parametrize(
    "x, weight, words",
    [
        (X.to_sparse(), WEIGHT, "x: expected a dense tensor"),
        (X, WEIGHT.double(), "weight: expected the dtype of x"),
        (X, WEIGHT.to("meta"), "weight: expected the device of x"),
        (X, WEIGHT[:, :, :, :, :3], "weight: expected .* got shape"),
    ],
)
def test_tensors_of_another_kind_are_refused_still(x, weight, words):
    dynamic_conv(X, WEIGHT)
    with pytest.raises((TypeError, ValueError), match=words):
        dynamic_conv(x, weight)


class Seen(TorchDispatchMode):
    """Names the operators that are called below it."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func._schema.name)
        return func(*args, **(kwargs or {}))


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_whatever_takes_part_in_calls_takes_part_in_remembered_ones(monkeypatch):
    expected = dynamic_conv(X, WEIGHT)
    with Seen() as seen:
        dynamic_conv(X, WEIGHT)
    assert seen.names == ["ksdiff_ops::dynamic_conv"]
    with torch.profiler.profile() as profile:
        dynamic_conv(X, WEIGHT)
    assert "ksdiff_ops::dynamic_conv" in [event.name for event in profile.events()]
    with torch.autocast("cpu", torch.bfloat16):
        assert dynamic_conv(X, WEIGHT).dtype == torch.bfloat16
    both = torch.vmap(dynamic_conv)(
        X[None].expand(3, -1, -1, -1, -1), WEIGHT[None].expand(3, -1, -1, -1, -1, -1, -1)
    )
    assert torch.equal(both, expected.expand(3, -1, -1, -1, -1))
    _, tangent = torch.func.jvp(lambda x: dynamic_conv(x, WEIGHT), (X,), (2 * X,))
    assert torch.equal(tangent, 2 * expected)
    with pytest.raises(RuntimeError, match=r"torch\.jit\.trace cannot record"):
        torch.jit.trace(dynamic_conv, (X, WEIGHT))
    monkeypatch.setenv("KSDIFF_OPS_BACKEND", "fast")
    with pytest.raises(ValueError, match="KSDIFF_OPS_BACKEND"):
        dynamic_conv(X, WEIGHT)


def test_gradients_that_come_in_batches_pass_through_a_remembered_call():
    class Through(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            return dynamic_conv(gradient, WEIGHT)

    dynamic_conv(X, WEIGHT)
    x = X.clone().requires_grad_()
    gradients = torch.stack([X, 2 * X, 3 * X])
    found = torch.autograd.grad(Through.apply(x), x, gradients, is_grads_batched=True)[0]
    assert torch.equal(found, torch.stack([dynamic_conv(g, WEIGHT) for g in gradients]))


def test_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr(calls, "_MOST", 3)
    calls.forget()
    for width in range(1, 9):
        dynamic_conv(torch.ones(1, 1, 1, width), torch.ones(1, 1, 1, 1, 1, width))
        assert 1 <= sum(map(len, calls._memories)) <= 3

"""Activation checkpointing of regions that an operator ends, begins, or is all of."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import (
    CheckpointPolicy,
    checkpoint,
    create_selective_checkpoint_contexts,
)

from ksdiff_ops import (
    AdaptiveConv2d,
    adaptive_conv2d,
    batched_conv2d,
    dynamic_conv,
    lowrank_dynamic_conv,
    tucker_kernel,
)


def rebuilt_kernel(core, u1, u2, u3, u4, base):
    return tucker_kernel(core, (u1, u2, u3, u4), base)


CASES = (
    (dynamic_conv, ((2, 4, 5, 4), (2, 2, 3, 3, 5, 4))),
    (lowrank_dynamic_conv, ((2, 4, 4, 3), (2, 2, 2, 4, 3), (2, 2, 3, 3))),
    (rebuilt_kernel, ((2, 2, 2, 2, 1), (2, 3, 2), (2, 2, 2), (2, 3, 2), (2, 2, 1), (3, 2, 3, 2))),
    (batched_conv2d, ((2, 4, 5, 4), (2, 3, 4, 3, 3))),
    (adaptive_conv2d, ((2, 3, 4, 5), (2, 3, 3, 4, 5), (4, 3, 3, 3))),
)
every_case = pytest.mark.parametrize(
    ("operator", "shapes"), CASES, ids=[case[0].__name__ for case in CASES]
)
pytestmark = pytest.mark.usefixtures("seeded")


def last(operator, first, *others):
    return operator(first.sin(), *others)


def first(operator, *args):
    return operator(*args).sin()


def alone(operator, *args):
    return operator(*args)


def residual(operator, *args):
    return operator(*args).mean() + args[0]


every_place = pytest.mark.parametrize(
    "region", [last, first, alone, residual], ids=lambda region: region.__name__
)


def leaves(shapes):
    return [torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in shapes]


def assert_same_gradients(region, checkpointed, args):
    expected = torch.autograd.grad(region(*args).sin().sum(), args)
    checkpointed(*args).sin().sum().backward()
    torch.testing.assert_close([a.grad for a in args], list(expected))


@every_case
@every_place
@pytest.mark.parametrize("reentrant", [False, True], ids=["saved-hooks", "reentrant"])
def test_gradients_are_those_without_checkpointing(operator, shapes, region, reentrant):
    run = partial(region, operator)
    checkpointed = partial(checkpoint, run, use_reentrant=reentrant)
    assert_same_gradients(run, checkpointed, leaves(shapes))


@every_case
@every_place
def test_selective_checkpointing(operator, shapes, region):
    name = operator.__name__.replace("rebuilt", "tucker")
    own = getattr(torch.ops.ksdiff_ops, name).default
    seen = []

    def policy(ctx, op, *args, **kwargs):
        seen.append(op)
        return CheckpointPolicy.MUST_SAVE if op is own else CheckpointPolicy.PREFER_RECOMPUTE

    run = partial(region, operator)
    checkpointed = partial(
        checkpoint,
        run,
        use_reentrant=False,
        context_fn=partial(create_selective_checkpoint_contexts, policy),
    )
    assert_same_gradients(run, checkpointed, leaves(shapes))
    assert own in seen


@every_case
@every_place
def test_compiled(operator, shapes, region):
    torch.compiler.reset()
    run = partial(region, operator)

    def checkpointed(*args):
        return checkpoint(run, *args, use_reentrant=False)

    compiled = torch.compile(checkpointed, backend="aot_eager", fullgraph=True)
    assert_same_gradients(run, compiled, leaves(shapes))


@every_case
def test_autograd_is_on_inside_hooks_of_saved_tensors(operator, shapes):
    """What a hook computes with a tensor that it returns is recorded as anywhere else."""
    seen = []

    def unpack(tensor):
        with torch.enable_grad():
            leaf = tensor.detach().requires_grad_()
            made = leaf.square()
            mine = operator(*(a.detach().requires_grad_() for a in args))
        seen.append((made.requires_grad, mine.requires_grad))
        return tensor

    args = leaves(shapes)
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor, unpack):
        y = operator(*args)
    y.sum().backward()
    assert seen
    assert all(all(recorded) for recorded in seen)


def test_a_layer_trains_alike():
    layer = AdaptiveConv2d(3, 4, 3)
    x, attention = torch.randn(2, 3, 6, 5), torch.rand(2, 3, 3, 6, 5, requires_grad=True)
    losses = []
    for run in (layer, lambda *args: checkpoint(layer, *args, use_reentrant=False)):
        layer.zero_grad()
        run(x, attention).square().mean().backward()
        losses.append([p.grad.clone() for p in layer.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*losses, strict=True))


class FiveOperators(nn.Module):
    """A network of two stages, each of which ends in an operator."""

    def __init__(self):
        super().__init__()
        self.predict = nn.Conv2d(3, 2 * 9 + 4 + 9, 3, padding=1)
        self.basis = nn.Parameter(torch.randn(1, 4, 3, 3))
        self.core = nn.Parameter(torch.randn(1, 2, 2, 1, 1))
        self.factors = nn.ParameterList(
            torch.randn(1, n, r) for n, r in zip((4, 2, 3, 3), (2, 2, 1, 1), strict=True)
        )
        self.mix = AdaptiveConv2d(4, 3, 3)

    def first(self, x):
        planes, coeff, attention = self.predict(x).split((18, 4, 9), 1)
        y = dynamic_conv(x[:, :2], planes.unflatten(1, (2, 3, 3)), padding_mode="reflect")
        y = lowrank_dynamic_conv(y, coeff[:, None], self.basis)
        return y, attention.unflatten(1, (3, 3))

    def second(self, y, attention):
        kernels = tucker_kernel(self.core, list(self.factors)).expand(y.shape[0], -1, -1, -1, -1)
        return self.mix(batched_conv2d(y, kernels), attention)

    def forward(self, x, run):
        return run(self.second, *run(self.first, x))


@pytest.mark.parametrize("reentrant", [False, True], ids=["saved-hooks", "reentrant"])
def test_steps_of_training_are_those_without_checkpointing(reentrant):
    def trained(run):
        torch.manual_seed(3)
        network = FiveOperators()
        optimiser = torch.optim.AdamW(network.parameters(), 1e-2)
        for _ in range(3):
            x = torch.randn(2, 3, 7, 6, requires_grad=True)
            optimiser.zero_grad()
            (network(x, run) - x).square().mean().backward()
            optimiser.step()
        return list(network.parameters())

    plain = trained(lambda stage, *args: stage(*args))
    again = trained(partial(checkpoint, use_reentrant=reentrant))
    assert all(torch.equal(one, other) for one, other in zip(plain, again, strict=True))


def saved_by(operator, *args):
    """The tensors that the graph of a call holds."""
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor
    ):
        operator(*args)
    return kept


@every_case
def test_only_what_a_gradient_needs_is_saved(operator, shapes):
    """Each argument's gradient is made of the others: alone, it needs itself only where one
    kernel makes all the gradients.
    """
    args = [torch.randn(shape) for shape in shapes]
    assert saved_by(operator, *args) == []
    for index, arg in enumerate(args):
        arg.requires_grad_()
        pointers = {t.data_ptr() for t in saved_by(operator, *args)}
        arg.requires_grad_(False)
        others = {a.data_ptr() for i, a in enumerate(args) if i != index}
        own = {arg.data_ptr()} if operator is rebuilt_kernel else set()
        assert pointers == others | own
    for arg in args:
        arg.requires_grad_()
    assert {t.data_ptr() for t in saved_by(operator, *args)} == {a.data_ptr() for a in args}
    with torch.no_grad():
        assert saved_by(operator, *args) == []
        assert operator(*args).grad_fn is None

"""adaptive_conv2d with a channel a group: kernels are written out a few channels at a time."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ksdiff_ops import adaptive_conv2d, calls, decoupled

pytestmark = pytest.mark.usefixtures("seeded")


def filters(batch, channels, height, width, dtype=torch.float64):
    return [
        torch.randn(shape, dtype=dtype, requires_grad=True)
        for shape in (
            (batch, channels, height, width),
            (batch, 3, 3, height, width),
            (batch, channels, 1, 3, 3),
        )
    ]


@pytest.mark.parametrize("kernels", [1, 2, 5, 40])
def test_any_number_of_kernels_at_a_time_gives_the_references_values(kernels, monkeypatch):
    tensors = filters(3, 4, 6, 5)
    monkeypatch.setitem(decoupled._MOST_BYTES, "cpu", kernels * 9 * 6 * 5 * 8)
    found, expected = [], []
    for backend, results in ((None, found), ("reference", expected)):
        y = adaptive_conv2d(*tensors, groups=4, backend=backend)
        first = torch.autograd.grad(y.sin().sum(), tensors, create_graph=True)
        second = torch.autograd.grad(sum(g.sin().sum() for g in first), tensors)
        results += [y, *first, *second]
    torch.testing.assert_close(found, expected)


def test_windows_that_step_and_a_kernel_for_all_samples():
    x, attention, weight = filters(2, 3, 7, 6)
    attention = attention[..., :4, :3].detach().requires_grad_()
    weight = weight[0].detach().requires_grad_()
    window = {"stride": 2, "padding": 2, "dilation": 2, "groups": 3}
    for backend in (None, "reference"):
        y = adaptive_conv2d(x, attention, weight, **window, backend=backend)
        grads = torch.autograd.grad(y.sin().sum(), (x, attention, weight))
        if backend is None:
            found = [y, *grads]
    torch.testing.assert_close(found, [y, *grads])


def test_transforms_pass_through():
    x, attention, weight = (t.detach() for t in filters(2, 2, 3, 4))

    def ours(x, attention, weight):
        return adaptive_conv2d(x, attention, weight, groups=2).sin().sum()

    def reference(x, attention, weight):
        return adaptive_conv2d(x, attention, weight, groups=2, backend="reference").sin().sum()

    for transform in (
        lambda f: torch.func.grad(f, (0, 1, 2))(x, attention, weight),
        lambda f: torch.func.jvp(f, (x, attention, weight), (x, attention, weight)),
        lambda f: torch.func.jacfwd(torch.func.grad(f))(x, attention, weight),
        lambda f: torch.vmap(f)(*(torch.stack([t, t.cos()]) for t in (x, attention, weight))),
    ):
        torch.testing.assert_close(transform(ours), transform(reference))


class Largest(TorchDispatchMode):
    """The largest tensor that an operator returns."""

    def __init__(self):
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for one in result if isinstance(result, (list, tuple)) else [result]:
            if isinstance(one, torch.Tensor):
                self.numbers = max(self.numbers, one.numel())
        return result


def test_neither_results_nor_graphs_hold_a_kernel_for_every_pixel():
    x, attention, weight = filters(2, 40, 20, 20, torch.float32)
    saved = []
    calls.forget()
    with (
        Largest() as largest,
        torch.autograd.graph.saved_tensors_hooks(
            lambda t: saved.append(t.numel()) or t, lambda t: t
        ),
    ):
        adaptive_conv2d(x, attention, weight, groups=40).sum().backward()
    assert sorted(saved) == sorted(t.numel() for t in (x, attention, weight))
    assert largest.numbers == x.numel()
    assert decoupled._MOST_BYTES["cpu"] < 4 * 9 * x.numel()

"""Random arguments for every operator, right and wrong: the outcome is a result of the right shape,
or an error that names the argument, and the same on every backend.
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import ksdiff_ops

BACKENDS = ("reference", "cpu")
WINDOW = ("stride", "padding", "dilation")


class Operator(NamedTuple):
    valid: Callable[[st.DataObject], dict[str, Any]]  # arguments that fit, by name
    shape: Callable[..., tuple[int, ...]]  # of the result


def sizes(data: st.DataObject, *names: str) -> list[int]:
    return [data.draw(st.integers(1, 4), name) for name in names]


def window_of_one(values: dict[str, Any]) -> dict[str, Any]:
    return {**values, "stride": 1, "padding": "same", "dilation": 1}


def dynamic_conv(data):
    b, g, c, h, w, kh, kw = sizes(data, "B", "G", "C / G", "H", "W", "kh", "kw")
    return window_of_one(
        {"x": torch.ones(b, g * c, h, w), "weight": torch.ones(b, g, kh, kw, h, w)}
    )


def lowrank_dynamic_conv(data):
    b, g, c, r, h, w, kh, kw = sizes(data, "B", "G", "C / G", "R", "H", "W", "kh", "kw")
    shared = data.draw(st.booleans(), "one basis for all")
    return window_of_one(
        {
            "x": torch.ones(b, g * c, h, w),
            "coeff": torch.ones(b, g, r, h, w),
            "basis": torch.ones(*(() if shared else (b,)), g, r, kh, kw),
        }
    )


def tucker_kernel(data):
    batch, *modes = sizes(data, "B", "Cout", "Cin", "kh", "kw")
    ranks = sizes(data, "r1", "r2", "r3", "r4")
    return {
        "core": torch.ones(batch, *ranks),
        "factors": [torch.ones(batch, *pair) for pair in zip(modes, ranks, strict=True)],
        "base": data.draw(st.sampled_from([None, torch.ones(modes)]), "base"),
    }


def batched_conv2d(data):
    b, g, i, o, h, w, kh, kw = sizes(data, "B", "G", "Cin / G", "Cout / G", "H", "W", "kh", "kw")
    return window_of_one(
        {
            "x": torch.ones(b, g * i, h, w),
            "weight": torch.ones(b, g * o, i, kh, kw),
            "bias": data.draw(st.sampled_from([None, torch.ones(g * o)]), "bias"),
            "groups": g,
        }
    )


def adaptive_conv2d(data):
    b, i, o, h, w, kh, kw = sizes(data, "B", "Cin", "Cout", "H", "W", "kh", "kw")
    biases = [None, torch.ones(o), torch.ones(b, o)]
    return {
        "x": torch.ones(b, i, h, w),
        "attention": torch.ones(b, kh, kw, h, w),
        "weight": torch.ones(o, i, kh, kw),
        "bias": data.draw(st.sampled_from(biases), "bias"),
    }


def both(value) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


def batched_shape(x, weight, bias, groups, stride, padding, dilation) -> tuple[int, ...]:
    size = []
    for axis in (0, 1):
        step, jump, kernel = both(stride)[axis], both(dilation)[axis], weight.shape[3 + axis]
        if padding == "same":
            size.append(-(-x.shape[2 + axis] // step))
        else:
            room = x.shape[2 + axis] + 2 * both(padding)[axis] - jump * (kernel - 1) - 1
            size.append(room // step + 1)
    return (x.shape[0], weight.shape[1], *size)


OPERATORS = {
    "dynamic_conv": Operator(
        dynamic_conv, lambda x, weight, **_: (*x.shape[:2], *weight.shape[4:])
    ),
    "lowrank_dynamic_conv": Operator(
        lowrank_dynamic_conv, lambda x, coeff, **_: (*x.shape[:2], *coeff.shape[3:])
    ),
    "tucker_kernel": Operator(
        tucker_kernel, lambda core, factors, **_: (len(core), *(f.shape[1] for f in factors))
    ),
    "batched_conv2d": Operator(batched_conv2d, batched_shape),
    "adaptive_conv2d": Operator(
        adaptive_conv2d, lambda x, weight, **_: (len(x), len(weight), *x.shape[2:])
    ),
}

DAMAGES: dict[str, Callable[[Tensor], Any]] = {
    "an axis less": lambda t: t[0],
    "an axis more": lambda t: t[None],
    "nothing along the first axis": lambda t: t[:0],
    "nothing along the last axis": lambda t: t[..., :0],
    "more along the first axis": lambda t: torch.cat([t, t]),
    "more along the second axis": lambda t: torch.cat([t, t], 1) if t.dim() > 1 else t,
    "more along the last axis": lambda t: torch.cat([t, t], -1),
    "turned round": lambda t: t.mT if t.dim() > 1 else t,
    "integers": Tensor.int,
    "truth values": Tensor.bool,
    "complex": lambda t: t.to(torch.complex64),
    "float64": Tensor.double,
    "float16": Tensor.half,
    "on meta": lambda t: t.to("meta"),
    "sparse": Tensor.to_sparse,
    "requires a gradient": lambda t: t.detach().requires_grad_() if t.is_floating_point() else t,
    "not contiguous": lambda t: torch.stack([t, t], -1)[..., 0],
    "a list": Tensor.tolist,
    "an array": Tensor.numpy,
    "nothing": lambda t: None,
    "a scalar": lambda t: torch.tensor(1.0),
}
ODD = st.sampled_from(
    [-1, 0, 1, 2, 3, 2**40, 2**70, True, 1.5, None, "same", "valid", "2", (), (1,), (1, 2), [2, 1],
     (0, 1), (1, -1), (1, 2, 3), (1, 1.0), torch.tensor(1)]
)  # fmt: skip


def damage(data: st.DataObject, values: dict[str, Any]) -> dict[str, Any]:
    """The arguments with one of them changed, which may leave them valid."""
    name = data.draw(st.sampled_from(sorted(values)), "changed")
    value = values[name]
    if name == "factors" and isinstance(value, list):
        value = list(value)
        place = data.draw(st.integers(0, 4), "factor")
        if place < len(value) and isinstance(value[place], Tensor):
            value[place] = change(data, value[place])
        elif value:
            value.pop()
    elif isinstance(value, Tensor):
        value = change(data, value)
    elif name in (*WINDOW, "groups"):
        value = data.draw(ODD, name)
    return {**values, name: value}


def change(data: st.DataObject, tensor: Tensor) -> Any:
    word = data.draw(st.sampled_from(sorted(DAMAGES)), "damage")
    try:
        return DAMAGES[word](tensor)
    except (IndexError, RuntimeError, TypeError, NotImplementedError):
        return tensor  # what was damaged before cannot always be damaged thus


def outcome(name: str, values: dict[str, Any], backend: str) -> tuple[str, Any]:
    """("result", shape and dtype), or the error's type and text."""
    try:
        y = getattr(ksdiff_ops, name)(**values, backend=backend)
    except (ValueError, TypeError) as error:
        assert type(error) in (ValueError, TypeError)
        return type(error).__name__, str(error)
    expected = OPERATORS[name].shape(**values)
    assert tuple(y.shape) == expected
    if y.requires_grad:
        y.sum().backward()
    return "result", y.dtype


@pytest.mark.parametrize("name", OPERATORS)
@settings(deadline=None, max_examples=120)
@given(data=st.data())
def test_the_outcome_is_a_result_or_an_error_with_the_arguments_name(name, data):
    values = OPERATORS[name].valid(data)
    for _ in range(data.draw(st.integers(0, 2), "changes")):
        values = damage(data, values)
    outcomes = [outcome(name, values, backend) for backend in BACKENDS]
    assert outcomes[0] == outcomes[1]
    kind, text = outcomes[0]
    if kind != "result":
        assert re.match(rf"({'|'.join(values)}|kernel size)(\[\d\])?: ", text), text


@pytest.mark.parametrize("name", OPERATORS)
@settings(deadline=None, max_examples=10)
@given(data=st.data())
def test_what_fits_gives_a_result(name, data):
    values = OPERATORS[name].valid(data)
    for backend in BACKENDS:
        assert outcome(name, values, backend) == ("result", torch.float32)

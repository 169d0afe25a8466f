"""The way from a public operator to what runs it, and a short cut for calls like earlier ones.

Checking arguments and choosing a backend take longer than a small convolution. What was found
fit is remembered by shapes, dtypes, devices and settings, and such a call goes on at once, past the
dispatcher's hops for autograd too. Where anything else takes part in calls (a trace, a compiler, a
transform, autocast, a mode, a tensor subclass, a forced backend) each goes the long way.
"""

import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import Parameter
from torch.overrides import handle_torch_function, has_torch_function

from ksdiff_ops import backends, multilinear

# Checks an operator's tensors and settings, and returns the tensors as they are to be used (cast
# by autocast), an operator of a backend, and a function of that and the tensors.
Prepared = tuple[tuple[Tensor | None, ...], Callable[..., Tensor], Callable[..., Tensor]]

_MOST = 4096  # calls remembered of an operator
_memories: list[dict] = []

# A dict's own look-up takes a tenth of the time of os.environ's.
_environment: Any = getattr(os.environ, "_data", os.environ)
_VARIABLE: Any = os.environ.encodekey(backends.VARIABLE) if hasattr(os.environ, "_data") else ""

_autocasts = torch._C._is_any_autocast_enabled
_transforms = torch._C._are_functorch_transforms_active
_modes = torch._C._len_torch_dispatch_stack
_function_modes = torch._C._len_torch_function_stack
_tracer = torch._C._get_tracing_state


def forget() -> None:
    """Lets every call go the long way again: for those who change the choice of backends."""
    for memory in _memories:
        memory.clear()


def operator(
    public: Callable[[], Callable[..., Tensor]],
    prepare: Callable[..., Prepared],
    names: tuple[str, ...],
) -> Callable[..., Tensor]:
    """What a public operator does with its tensors and settings.

    Args:
        public: gives the public function, which tensor-likes among the tensors may override.
        prepare: checks tensors and settings, each an argument of its own.
        names: of the settings, in their order.

    Returns:
        call(tensors, *settings); `given` are the public function's first arguments where these
        are not the tensors.
    """
    known: dict[tuple, tuple[Callable[..., Tensor], Callable[..., Tensor]]] = {}
    _memories.append(known)

    def call(
        tensors: tuple[Tensor | None, ...], *settings: Any, given: tuple | None = None
    ) -> Tensor:
        key = None if is_observed() else _signature(tensors, settings)
        if key is not None:
            found = known.get(key)
            if found is not None:
                run, operator = found
                return run(operator, *tensors)
        if has_torch_function(tensors):
            named = dict(zip(names, settings, strict=True))
            return handle_torch_function(public(), tensors, *(given or tensors), **named)
        ready, operator, run = prepare(*tensors, *settings)
        if key is not None:
            if len(known) >= _MOST:
                known.clear()
            known[key] = run, multilinear.direct(operator)
        return run(operator, *ready)

    return call


def is_observed() -> bool:
    """Whether anything but plain autograd may take part in a call."""
    return (
        torch.compiler.is_dynamo_compiling()
        or _autocasts()
        or _transforms()
        or _modes() > 0
        or _function_modes() > 0
        or _tracer() is not None
        or forward_ad._current_level >= 0
        or _VARIABLE in _environment
    )


def _signature(tensors: tuple[Tensor | None, ...], settings: tuple) -> tuple | None:
    """All that checks look at, or None where a tensor or a setting is no plain one."""
    for setting in settings:
        kind = type(setting)
        # An int alone: True and 1.0 are the same key as 1, and refused.
        if kind is int or kind is str or setting is None:
            continue
        if kind is not tuple or any(type(part) is not int for part in setting):
            return None
    key: tuple = (settings,)
    for tensor in tensors:
        if tensor is None:
            key += (None,)
        elif type(tensor) is Tensor or type(tensor) is Parameter:
            key += tensor.shape, tensor.dtype, tensor.device, tensor.layout
        else:
            return None
    return key

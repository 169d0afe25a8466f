"""Formulas for `torch.utils.flop_counter`, registered when a program imports it.

It imports Triton, a third of a second, which nobody else needs for the operators.
"""

import importlib.util
import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

_COUNTER = "torch.utils.flop_counter"
_formulas: list[tuple[object, Callable]] = []


def count_flops(operator: object, formula: Callable) -> None:
    """Let the counter take `formula` for an operator's overload packet."""
    if _COUNTER in sys.modules:
        sys.modules[_COUNTER].register_flop_formula(operator, get_raw=True)(formula)
    else:
        _formulas.append((operator, formula))


class _Finder(MetaPathFinder):
    """Finds the counter as others do, once, and adds the formulas to it when it is loaded."""

    def find_spec(
        self,
        name: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        if name != _COUNTER:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        load = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            load(module)
            for operator, formula in _formulas:
                module.register_flop_formula(operator, get_raw=True)(formula)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


if _COUNTER not in sys.modules:
    sys.meta_path.insert(0, _Finder())

"""Formulas for `torch.utils.flop_counter`, registered when a program imports it.

It imports Triton, a third of a second, which nobody else needs for the operators.
"""

import importlib.util
import sys
from collections.abc import Callable
from importlib.abc import MetaPathFinder

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

    def find_spec(self, name, path=None, target=None):
        if name != _COUNTER:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        load = spec.loader.exec_module

        def exec_module(module):
            load(module)
            for operator, formula in _formulas:
                module.register_flop_formula(operator, get_raw=True)(formula)

        spec.loader.exec_module = exec_module
        return spec


if _COUNTER not in sys.modules:
    sys.meta_path.insert(0, _Finder())

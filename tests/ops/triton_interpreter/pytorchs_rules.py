"""What PyTorch asks of custom operators."""

from collections.abc import Sequence
from typing import Any

import torch

_OF_DERIVATIVES = ("test_schema", "test_autograd_registration", "test_faketensor")


def assert_operators_keep_pytorchs_rules(*calls: tuple[Any, Sequence]) -> None:
    """Check operators with arguments: one that networks call, then its derivatives.

    Ahead-of-time autograd of the first is made of the others, and takes the interpreter longer
    than all the rest.
    """
    (first, arguments), *derivatives = calls
    torch.library.opcheck(first.default, tuple(arguments))
    for operator, arguments in derivatives:
        torch.library.opcheck(operator.default, tuple(arguments), test_utils=_OF_DERIVATIVES)

"""How far PAN and MS are apart: a global shift, to a few hundredths of a PAN pixel.

Deliveries are off by a fraction of a pixel or two. Training pairs that are learn to blur.
"""

import torch
from torch import Tensor

from ksdiff.data.wald import shift

_ITERATIONS = 6  # at most
_SETTLED = 1e-3  # PAN pixels: a smaller step changes nothing that could be seen
_LARGEST = 6.0  # PAN pixels: what a fit that runs further has followed is not a misregistration


def estimate_shift(lms: Tensor, pan_low: Tensor) -> tuple[float, float]:
    """(dy, dx) in PAN pixels by which PAN's content lies further down and right than the MS's.

    The bands are combined to the intensity that explains PAN best (least squares, as in GSA), and
    PAN is moved onto it by Gauss-Newton steps on the shift (Lucas and Kanade 1981), in turn.

    Args:
        lms: [1, C, H, W] MS on the PAN grid, any units.
        pan_low: [1, 1 or C, H, W] PAN through the MS bands' MTF.

    Returns:
        The shift; (0, 0) where the images do not determine one.
    """
    target = pan_low.mean(1, keepdim=True).double()
    bands = torch.cat((lms, torch.ones_like(lms[:, :1])), 1).double()
    rim = 12
    inner = (..., slice(rim, -rim), slice(rim, -rim))
    columns = bands[inner].flatten(2)[0].T
    dy = dx = 0.0
    for _ in range(_ITERATIONS):
        moved = shift(target, -dy, -dx)
        gradient_y, gradient_x = torch.gradient(moved[0, 0])
        goal = moved[inner].flatten()
        slopes = torch.stack((gradient_y[rim:-rim, rim:-rim], gradient_x[rim:-rim, rim:-rim]), -1)
        # Weights and shift in one least-squares fit: goal = columns @ w + slopes @ step.
        system = torch.cat((columns, slopes.flatten(0, 1)), 1)
        normal = system.T @ system
        ridge = 1e-9 * normal.diagonal().clamp_min(1e-12)
        solution = torch.linalg.solve(normal + ridge.diag(), system.T @ goal)
        step_y, step_x = solution[-2:].tolist()
        dy, dx = dy - step_y, dx - step_x
        if not max(abs(dy), abs(dx)) <= _LARGEST:
            return 0.0, 0.0
        if max(abs(step_y), abs(step_x)) < _SETTLED:
            break
    return dy, dx

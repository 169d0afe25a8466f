"""Bands that lie apart."""

import torch

from ksdiff.images.bands import Moves
from ksdiff.sensors import get_sensor

SENSOR = get_sensor("wv3")


CPU = torch.device("cpu")


def apart(truth, distance):
    """Bands off by half of ``distance`` either way, in columns of the truth."""
    signs = torch.zeros(8)
    for one, other in SENSOR.opposite_bands:
        signs[one], signs[other] = 0.5, -0.5
    return Moves.by([(0.0, distance * float(sign)) for sign in signs], 1.0, CPU)(truth)

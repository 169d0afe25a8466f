"""Classical pansharpening, the methods that a network has to beat."""

from ksdiff.baselines.classical import METHODS
from ksdiff.baselines.pair import Pair

__all__ = ["METHODS", "Pair"]

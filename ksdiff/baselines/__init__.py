"""Classical pansharpening, the methods that a network has to beat."""

from ksdiff.baselines.classical import METHODS
from ksdiff.baselines.pair import ClassicalPair

__all__ = ["METHODS", "ClassicalPair"]

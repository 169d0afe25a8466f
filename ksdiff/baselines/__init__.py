"""Classical pansharpening methods, the baselines of every evaluation."""

from ksdiff.baselines.classical import METHODS
from ksdiff.baselines.pair import ClassicalPair

__all__ = ["METHODS", "ClassicalPair"]

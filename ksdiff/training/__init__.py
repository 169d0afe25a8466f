"""Two-stage training of KSDiff."""

from ksdiff.training.trainer import run

__all__ = ["run"]

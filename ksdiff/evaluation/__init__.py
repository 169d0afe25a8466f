"""Scores of methods on scenes or PanCollection files: tables for people, files for programs."""

from ksdiff.evaluation.report import Evaluation, Row, SceneInfo
from ksdiff.evaluation.run import DEFAULT_BORDER, DEFAULT_METHODS, KSDIFF, evaluate

__all__ = [
    "DEFAULT_BORDER",
    "DEFAULT_METHODS",
    "KSDIFF",
    "Evaluation",
    "Row",
    "SceneInfo",
    "evaluate",
]

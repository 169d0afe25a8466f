"""The build backend of `ksdiff-ops`: setuptools', asking for PyTorch only where none is installed.

A fixed requirement would make every isolated build download one, with gigabytes of CUDA packages,
beside the PyTorch that the user has.
"""

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403
from torch_location import PINNED, find_torch


def _with_torch(requirements: list[str]) -> list[str]:
    return requirements if find_torch() else [*requirements, PINNED]


def get_requires_for_build_wheel(config_settings=None):
    return _with_torch(build_meta.get_requires_for_build_wheel(config_settings))


def get_requires_for_build_editable(config_settings=None):
    return _with_torch(build_meta.get_requires_for_build_editable(config_settings))

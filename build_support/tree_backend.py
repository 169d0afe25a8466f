"""The build backend of `ksdiff`: setuptools', with editable installations that compile in place."""

import os

import backend
from setuptools.build_meta import *  # noqa: F403


def get_requires_for_build_editable(config_settings=None):
    os.environ["KSDIFF_OPS_FROM"] = "tree"
    return backend.get_requires_for_build_editable(config_settings)


def prepare_metadata_for_build_editable(metadata_directory, config_settings=None):
    os.environ["KSDIFF_OPS_FROM"] = "tree"
    return backend.prepare_metadata_for_build_editable(metadata_directory, config_settings)


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    os.environ["KSDIFF_OPS_FROM"] = "tree"
    return backend.build_editable(wheel_directory, config_settings, metadata_directory)

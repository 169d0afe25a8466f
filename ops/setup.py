"""Compiles the operators; everything else about the distribution is in pyproject.toml."""

import sys
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "build_support"))

from native_build import AnyPythonWheel, NinjaBuildExt, native_extensions  # noqa: E402

setup(
    ext_modules=native_extensions(ROOT),
    cmdclass={"build_ext": NinjaBuildExt, "bdist_wheel": AnyPythonWheel},
)

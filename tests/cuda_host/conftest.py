import importlib.util

import host_build
import pytest


@pytest.fixture(scope="session")
def operators():
    """The CUDA operators, on CPU tensors, with their gradients and fakes."""
    if host_build.compiler_missing():
        pytest.skip(f"no C++ compiler {host_build.COMPILER!r}")
    return host_build.load()


@pytest.fixture(scope="session")
def probe():
    """Launch plans, and probes of the CUDA vocabulary on the host."""
    if host_build.compiler_missing():
        pytest.skip(f"no C++ compiler {host_build.COMPILER!r}")
    spec = importlib.util.spec_from_file_location("host_probe", host_build.probe())
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

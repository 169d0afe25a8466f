import importlib.util
import os

import host_build
import pytest
import torch


@pytest.fixture(scope="session")
def operators():
    """The CUDA operators, on CPU tensors, with their gradients and fakes."""
    if host_build.compiler_missing():
        pytest.skip(f"no C++ compiler {host_build.COMPILER!r}")
    from ksdiff_ops import registration

    torch.ops.load_library(host_build.operators(sanitize="KSDIFF_HOST_SANITIZE" in os.environ))
    registration.register(host_build.LIBRARY)
    return getattr(torch.ops, host_build.LIBRARY)


@pytest.fixture(scope="session")
def probe():
    """Launch plans, and probes of the CUDA vocabulary on the host."""
    if host_build.compiler_missing():
        pytest.skip(f"no C++ compiler {host_build.COMPILER!r}")
    spec = importlib.util.spec_from_file_location("host_probe", host_build.probe())
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

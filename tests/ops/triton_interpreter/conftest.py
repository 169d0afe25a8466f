import os

import pytest


@pytest.fixture(autouse=True, scope="session")
def interpreter():
    if os.environ.get("TRITON_INTERPRET") != "1":
        pytest.skip("needs TRITON_INTERPRET=1 before Triton is imported")


@pytest.fixture(params=["many small programs", "few large programs"])
def programs(request, monkeypatch):
    """Runs a test for both ends of the plan: images too small for a GPU, and large enough."""
    from ksdiff_ops.triton import plan

    if request.param == "few large programs":
        monkeypatch.setattr(plan, "PROGRAMS", 1)


@pytest.fixture
def few_registers(monkeypatch):
    """Makes kernels of a few taps take the way of those that do not fit in registers."""
    from ksdiff_ops.triton import plan

    monkeypatch.setattr(plan, "HELD_WORDS", 8)

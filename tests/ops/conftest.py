import pytest
import torch


@pytest.fixture
def poisoned():
    """Memory that PyTorch does not fill holds NaN, and so does an output that is not written."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    assert torch.utils.deterministic.fill_uninitialized_memory
    assert torch.empty(3).isnan().all()
    yield
    torch.use_deterministic_algorithms(before)


@pytest.fixture
def seeded():
    torch.manual_seed(20)

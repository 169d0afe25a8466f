import pytest

from ksdiff.images.inputs import FusionInputs
from tests.support.models import random_inputs


@pytest.fixture
def inputs() -> FusionInputs:
    return random_inputs(2, 4, 32, 48)

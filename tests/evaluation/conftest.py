import pytest

from ksdiff.config import Config
from tests.support.training import a_config


@pytest.fixture
def config(scene, tmp_path) -> Config:
    return a_config(tmp_path, scene)

import pytest

from ksdiff.config import Config
from ksdiff.training import run
from tests.support.training import a_config


@pytest.fixture
def config(scene, tmp_path) -> Config:
    return a_config(tmp_path, scene)


@pytest.fixture(scope="session")
def whole(scene, tmp_path_factory) -> Config:
    """The config of such a run that was finished without interruption."""
    config = a_config(tmp_path_factory.mktemp("whole"), scene)
    run(config)
    return config

from pathlib import Path

import pytest
from shop import prepare_shop, running, train_model

from ld4mrec_cli.server.settings import ServerSettings
from ld4mrec_cli.serving.recommender import Recommender


@pytest.fixture(scope="session")
def shop(tmp_path_factory) -> Path:
    """Directory with ``raw`` and ``data`` of the small shop."""
    directory = tmp_path_factory.mktemp("shop")
    prepare_shop(directory)
    return directory


@pytest.fixture(scope="session")
def run(shop) -> Path:
    return train_model(shop / "data", shop / "run")


@pytest.fixture(scope="session")
def recommender(run) -> Recommender:
    return Recommender(run, "cpu")


@pytest.fixture(scope="module")
def server(shop, run):
    """A server without a token, with pictures."""
    settings = ServerSettings(images=shop / "raw", reload_seconds=0)
    with running(run, settings) as started:
        yield started


@pytest.fixture
def client(server):
    return server.client

"""Whole runs, made once per session and looked at by many tests."""

from pathlib import Path

import pytest

from tests.e2e.running import fast_config, run


@pytest.fixture(scope="session")
def vector_workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workspace = tmp_path_factory.mktemp("vector")
    run(fast_config("mixture"), workspace)
    return workspace


@pytest.fixture(scope="session")
def digits_workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workspace = tmp_path_factory.mktemp("digits")
    run(fast_config("digits"), workspace)
    return workspace

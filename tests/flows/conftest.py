"""One temporary Prefect API for all flow tests. Its settings must stand before Prefect is imported."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

_HOME = tempfile.TemporaryDirectory(prefix="aigc-prefect-")  # the harness isolates the database only, not this folder
os.environ.update(
    PREFECT_HOME=_HOME.name,
    PREFECT_SERVER_ANALYTICS_ENABLED="false",
    DO_NOT_TRACK="1",
    PREFECT_SERVER_LOGGING_LEVEL="CRITICAL",
    PREFECT_LOGGING_LEVEL="WARNING",
)
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def prefect_api() -> Iterator[None]:
    """A local API that lives as long as the tests."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield

"""How the library's log lines reach the run page. Prefect drops INFO of foreign loggers, so their level is set here."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from prefect.logging.handlers import APILogHandler

LIBRARY = "aigc_pipeline"


@contextmanager
def library_logs(*, to_console: bool) -> Iterator[None]:
    """Send the library's milestones to Prefect while a flow runs, and leave its logger as it was afterwards.

    Args:
        to_console: let them through to the process's own output too, where a worker shows them. A terminal that has
            progress bars would say everything twice.
    """
    library, handler = logging.getLogger(LIBRARY), APILogHandler()
    level, propagate = library.level, library.propagate
    library.setLevel(logging.INFO)
    library.propagate = to_console
    library.addHandler(handler)
    try:
        yield
    finally:
        library.removeHandler(handler)
        library.setLevel(level)
        library.propagate = propagate

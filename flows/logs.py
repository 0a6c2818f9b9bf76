"""How log lines look on the run page: the library's milestones are there, and a user's error is one sentence.

Prefect drops INFO of foreign loggers, so the library's level is set here.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from prefect.logging.handlers import APILogHandler

from aigc_pipeline.core.errors import PipelineError

LIBRARY = "aigc_pipeline"


@contextmanager
def library_logs(*, to_console: bool) -> Iterator[None]:
    """Send the library's milestones and the flows' own warnings to Prefect while a flow runs; leave both loggers as they were.

    Args:
        to_console: let the milestones through to the process's own output too, where a worker shows them. A terminal that has
            progress bars would say everything twice.
    """
    library, flows, handler = logging.getLogger(LIBRARY), logging.getLogger("flows"), APILogHandler()
    level, propagate = library.level, library.propagate
    library.setLevel(logging.INFO)
    library.propagate = to_console
    library.addHandler(handler)
    flows.addHandler(handler)
    try:
        yield
    finally:
        flows.removeHandler(handler)
        library.removeHandler(handler)
        library.setLevel(level)
        library.propagate = propagate


def without_traceback_of_user_errors() -> None:
    """Let the engine of a worker's process, which logs the error of a failed run again, say it without its frames."""
    logging.getLogger("prefect.flow_runs").addFilter(_in_a_sentence)


def _in_a_sentence(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, PipelineError):
        record.msg, record.args, record.exc_info = f"{type(error).__name__}: {error}", (), None
    return True

"""How the library's log lines reach the run page. Prefect drops INFO of foreign loggers, so their level is set here."""

import logging

from prefect.logging.handlers import APILogHandler

LIBRARY = "aigc_pipeline"


def forward_library_logs(*, to_console: bool) -> None:
    """Send the library's milestones to Prefect; calling it twice changes nothing.

    Args:
        to_console: let them through to the process's own output too, where a worker shows them. A terminal that has
            progress bars would say everything twice.
    """
    library = logging.getLogger(LIBRARY)
    library.setLevel(logging.INFO)
    library.propagate = to_console
    if not any(isinstance(handler, APILogHandler) for handler in library.handlers):
        library.addHandler(APILogHandler())

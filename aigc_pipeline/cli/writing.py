"""Where commands write what `--out` names: a place that cannot be written is one sentence, not a traceback."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aigc_pipeline.core.errors import WorkspaceError


@contextmanager
def writing(out: Path, *, option: str = "--out") -> Iterator[None]:
    """Create the folder that `out` lies in, and let the body write `out`.

    Raises:
        WorkspaceError: if the system refuses to write it.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as err:
        msg = f"{option} {out} cannot be written: {err.strerror or err} ({err.filename or out}). Name another place."
        raise WorkspaceError(msg) from err

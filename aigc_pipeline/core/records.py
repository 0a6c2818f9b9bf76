"""The base of what travels between stages: a reference with a report, a few kB of JSON, never pixels or tensors."""

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict

from aigc_pipeline.core.errors import WorkspaceError

SCHEMA_VERSION = 1


class Record(BaseModel):
    """What a finished stage hands on. Its files lie under `path`, relative to the workspace."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fingerprint: str
    """sha256 of everything that determined the content."""
    path: str
    """Directory of the files, relative to the workspace (POSIX)."""
    schema_version: int = SCHEMA_VERSION
    created_by: str
    """Stage name and stage version."""

    @classmethod
    def load(cls, file: Path) -> Self:
        """Read a record back.

        Raises:
            WorkspaceError: if the file is not such a record; says which file to remove.
        """
        try:
            return cls.model_validate_json(file.read_bytes())
        except ValueError as err:
            msg = (
                f"{file} is not a readable {cls.__name__} record ({err}). It was written by another version or "
                f"damaged. Remove its folder {file.parent} and run again: the stage is then computed anew."
            )
            raise WorkspaceError(msg) from err

    def is_complete(self, workspace: Path) -> bool:
        """Tell whether what the record names outside its own directory is still there."""
        del workspace
        return True

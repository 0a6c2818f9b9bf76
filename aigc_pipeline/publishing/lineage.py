"""The records that a version was made from: its `lineage.json`, read back."""

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TypeVar

from aigc_pipeline.core.errors import PublishError, WorkspaceError
from aigc_pipeline.core.records import Record

LINEAGE_FILE = "lineage.json"
_PACKAGES = ("torch", "numpy", "pyarrow", "pillow", "scikit-learn", "pandas")
R = TypeVar("R", bound=Record)


def environment() -> dict[str, str]:
    """Return what decides about the last bit of a sample: machine, Python and packages."""
    here = {"python": platform.python_version(), "machine": platform.machine()}
    return here | {name: installed_version(name) for name in _PACKAGES}


@dataclass(frozen=True)
class Lineage:
    """What belongs together. What each stage committed last would not do: it may belong to another, unfinished run."""

    workspace: Path
    seed: int
    environment: Mapping[str, str]
    """Versions of Python and packages, and the machine, that made the version."""
    _paths: Mapping[str, str]

    @classmethod
    def read(cls, version: Path) -> "Lineage":
        """Read the lineage of a version directory.

        Raises:
            PublishError: if it cannot be read.
        """
        file = version / LINEAGE_FILE
        try:
            content = json.loads(file.read_text())
            paths = {name: facts["path"] for name, facts in content["records"].items()}
            return cls(version.resolve().parents[1], content["seed"], content["environment"], paths)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as err:
            msg = f"cannot read {file}: {err}. The version is damaged; publish again, or restore the file."
            raise PublishError(msg) from err

    def record(self, name: str, record_type: type[R]) -> R:
        """Return one of the records: `splits`, `checkpoint` ...

        Raises:
            WorkspaceError: if the files of its stage are gone.
        """
        file = self.folder(name) / "record.json"
        if not file.exists():
            raise WorkspaceError(self.gone(file.parent.parent.name))
        return record_type.load(file)

    def folder(self, name: str) -> Path:
        """Return where the files of one of the records lie, or lay."""
        return self.workspace / self._paths.get(name, name)

    def gone(self, stage: str) -> str:
        """Return what to say where the files of a stage are missing."""
        return (
            f"workspace {self.workspace} no longer has the files of stage '{stage}' that the version was made with: "
            "they were removed, or another version of aigc made them. Run `aigc run` again with the same settings."
        )

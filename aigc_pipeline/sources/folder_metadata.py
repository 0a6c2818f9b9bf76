"""`metadata.csv` beside pictures, in the Hugging Face imagefolder convention: a column `file_name`, others attributes.

`file_name` is relative to the table's own folder. An empty value means that the attribute is unknown. Every value stays
a string: an attribute names a group of samples and is never computed with.
"""

import csv
from collections.abc import Iterable, Iterator, Mapping
from io import StringIO
from pathlib import Path, PurePosixPath

from aigc_pipeline.core.errors import SourceError

METADATA_FILE = "metadata.csv"
_KEY = "file_name"
_MAX_BYTES = 256 * 2**20


def read_attributes(folders: Iterable[Path], root: Path) -> dict[str, dict[str, str]]:
    """Return attributes by path relative to `root`, from the tables that lie in `folders`; none where there is none.

    Raises:
        SourceError: if a table cannot be read, lacks `file_name`, has a row of the wrong length, or a file has two rows.
    """
    found: dict[str, dict[str, str]] = {}
    for folder in folders:
        file = folder / METADATA_FILE
        if not file.is_file() or file.is_symlink():
            continue
        for line, row in _rows(file):
            name = PurePosixPath((folder.relative_to(root) / PurePosixPath(row.pop(_KEY).strip())).as_posix())
            uri = name.as_posix()
            if uri in found:
                msg = f"{file}, line {line}: '{uri}' has a row already. Keep one row per file."
                raise SourceError(msg)
            found[uri] = {key: value for key, value in row.items() if value}
    return found


def _rows(file: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield line number and row."""
    reader = csv.DictReader(StringIO(_text(file), newline=""), strict=True)
    try:
        names = reader.fieldnames or []
        if _KEY not in names or len(set(names)) < len(names):
            msg = f"{file} needs a column '{_KEY}' and no column twice; it has {list(names)}."
            raise SourceError(msg)
        for row in reader:
            _check(file, reader.line_num, row)
            yield reader.line_num, row
    except csv.Error as err:
        msg = (
            f"{file}, line {reader.line_num}: {err}. It must be comma-separated, with quotes around values with commas."
        )
        raise SourceError(msg) from err


def _text(file: Path) -> str:
    try:
        if (size := file.stat().st_size) > _MAX_BYTES:
            msg = f"{file} is too large: {size:,} bytes, at most {_MAX_BYTES:,} are read."
            raise SourceError(msg)
        return file.read_text("utf-8-sig")
    except OSError as err:
        msg = f"{file} cannot be read: {err.strerror}."
        raise SourceError(msg) from err
    except UnicodeDecodeError as err:
        msg = f"{file} is not UTF-8 (byte {err.start}). Save it as UTF-8."
        raise SourceError(msg) from err


def _check(file: Path, line: int, row: Mapping[str | None, object]) -> None:
    if None in row or None in row.values():
        msg = (
            f"{file}, line {line}: not as many values as the header has columns. Put quotes around values with commas."
        )
        raise SourceError(msg)
    if not str(row[_KEY]).strip():
        msg = f"{file}, line {line}: '{_KEY}' is empty. Name the file, relative to {file.parent}."
        raise SourceError(msg)

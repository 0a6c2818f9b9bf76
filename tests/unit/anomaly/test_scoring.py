"""Where there is nothing to compare with, scoring says so."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from aigc_pipeline.anomaly.scoring import _holdout
from aigc_pipeline.core.errors import DataError
from aigc_pipeline.data.shards import cells_from_numpy, write_table


def write_role(folder: Path, role: str, n: int) -> None:
    cells = cells_from_numpy(np.zeros((n, 4), np.uint8))
    ids = pa.array([f"{role}{i}" for i in range(n)], pa.string())
    write_table(folder / f"{role}.arrow", pa.table({"sample_id": ids, "label": np.zeros(n, np.int64), "cell": cells}))


def test_too_few_unseen_reals_are_an_error_with_the_number(tmp_path: Path) -> None:
    write_role(tmp_path, "calibration", 12)
    write_role(tmp_path, "selection", 7)

    with pytest.raises(DataError, match="kept 19 real samples"):
        _holdout(tmp_path)


def test_many_unseen_reals_are_thinned_over_both_roles(tmp_path: Path) -> None:
    write_role(tmp_path, "calibration", 900)
    write_role(tmp_path, "selection", 600)

    ids = _holdout(tmp_path).ids

    assert len(ids) == len(set(ids)) == 500
    assert sum(each.startswith("calibration") for each in ids) == 300

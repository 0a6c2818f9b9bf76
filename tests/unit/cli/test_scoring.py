"""`aigc score` before it has a run to measure with. What it says about real pictures is in tests/e2e."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from aigc_pipeline import cli
from aigc_pipeline.cli.scoring import summary_lines


def test_an_unknown_ending_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    out = tmp_path / "rows.xlsx"

    result = CliRunner().invoke(cli.app, ["score", str(tmp_path), "-w", str(tmp_path), "--out", str(out)])

    assert result.exit_code == 1
    assert ".parquet, .csv" in result.stderr


def test_a_workspace_without_a_version_says_what_to_run(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli.app, ["score", str(tmp_path), "-w", str(tmp_path)])

    assert result.exit_code == 1
    assert "aigc run" in result.stderr


@pytest.mark.parametrize(("num_holdout", "limit"), [(64, "0.015"), (99, "0.01"), (150, "0.0066"), (499, "0.01")])
def test_the_limit_of_p_is_one_that_so_few_unseen_reals_can_reach(num_holdout: int, limit: str) -> None:
    """Samples like the unseen reals: every p-value that there is comes equally often."""
    p = np.arange(1, num_holdout + 2) / (num_holdout + 1)
    n = len(p)
    table = pa.table(
        {"rank": np.arange(n) + 1, "unlike_p": p, "near_copy": [False] * n, "known_role": pa.nulls(n, pa.string())}
    )

    line = summary_lines(table, num_holdout)[0]

    expected = round(float(limit) * n)
    assert line.startswith(f"{expected} of {n} have p of at most {limit};")
    assert f"about {expected}.0 would" in line

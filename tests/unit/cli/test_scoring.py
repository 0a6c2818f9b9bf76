"""`aigc score` before it has a run to measure with. What it says about real pictures is in tests/e2e."""

from pathlib import Path

from typer.testing import CliRunner

from aigc_pipeline import cli


def test_an_unknown_ending_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    out = tmp_path / "rows.xlsx"

    result = CliRunner().invoke(cli.app, ["score", str(tmp_path), "-w", str(tmp_path), "--out", str(out)])

    assert result.exit_code == 1
    assert ".parquet, .csv" in result.stderr


def test_a_workspace_without_a_version_says_what_to_run(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli.app, ["score", str(tmp_path), "-w", str(tmp_path)])

    assert result.exit_code == 1
    assert "aigc run" in result.stderr

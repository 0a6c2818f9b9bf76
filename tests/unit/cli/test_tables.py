"""The numbers that `show`, `inspect`, `history` and `rebuild` print."""

from types import SimpleNamespace

import pandas as pd
import pyarrow as pa
import pytest

from aigc_pipeline.cli import rebuilding
from aigc_pipeline.cli.console import ConsoleReporter
from aigc_pipeline.cli.history import version_row
from aigc_pipeline.cli.inspection import _classes, _report_prospects, _summary
from aigc_pipeline.cli.rebuilding import rebuild_samples
from aigc_pipeline.cli.showing import rows_per_class
from aigc_pipeline.core.errors import PublishError
from aigc_pipeline.inference.rebuilding import Rebuilt
from aigc_pipeline.publishing.history import VersionFacts


def test_show_counts_real_and_synthetic_rows_apart():
    rows = pd.DataFrame(
        [
            ("cat", "real", "train", True),
            ("cat", "real", "test", True),
            ("cat", "real", "train", True),
            ("cat", "generated", "train", True),
            ("cat", "classic", "train", False),
            ("dog", "real", "test", True),
        ],
        columns=["class_name", "origin", "split", "recommended"],
    )

    assert rows_per_class(rows) == [
        {"class": "cat", "real train": 2, "real test": 1, "synthetic": 2, "recommended": 1},
        {"class": "dog", "real train": 0, "real test": 1, "synthetic": 0, "recommended": 0},
    ]


def test_inspect_counts_of_each_class_what_is_left():
    listed = pa.table({"class_name": ["a", "a", "a", "a", "b"], "reason": pa.array([None, None, None, "cut", "cut"])})
    refused = pa.table({"class_name": ["a"]})

    assert _classes(listed, refused, SimpleNamespace(classes=("a",))) == [  # type: ignore[arg-type]
        {"class": "a", "listed": 4, "quarantined": 1, "refused": 1, "kept": 2, "usable": True},
        {"class": "b", "listed": 1, "quarantined": 1, "refused": 0, "kept": 0, "usable": False},
    ]


def test_inspect_counts_near_duplicates_among_what_is_kept(recording_reporter):
    recording_reporter.result = recording_reporter.table
    raw = SimpleNamespace(num_listed=20, quarantined={"cut": 2, "zero_byte": 1}, num_bytes=2_500_000)
    cleaned = SimpleNamespace(num_in=17, num_kept=12, num_clusters=9, rejected={"duplicate": 5})
    _report_prospects(recording_reporter, raw, cleaned)  # type: ignore[arg-type] # what is asked of them

    assert recording_reporter.tables["totals"] == [
        {
            "listed": 20, "quarantined": 3, "refused": 5, "kept": 12, "of which near duplicates": 3, "megabytes": 2.5
        }
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("values", "said"),
    [([30, 8, 16], "8 to 30, median 16"), ([8, 8], "8 (2)"), (["L", "RGB", "RGB"], "RGB (2), L (1)")],
)
def test_inspect_says_a_range_of_numbers_and_counts_of_words(values, said):
    assert _summary(pa.chunked_array([values])) == said


@pytest.mark.parametrize(("uplift", "points"), [(0.0123, "+1.2"), (-0.0123, "-1.2"), (None, "")])
def test_history_tells_uplift_in_points(uplift, points):
    facts = VersionFacts.model_construct(
        version="v0001", created="2026-01-02T03:04", num_real=9, num_synthetic=3, num_arrived=None, num_unlike=2,
        outcome="does_not_help", uplift=uplift,
    )  # fmt: skip

    assert version_row(facts) == {
        "version": "v0001", "created": "2026-01-02", "real": 9, "new": "", "unlike": 2, "synthetic": 3,
        "verdict": "does not help", "points": points,
    }  # fmt: skip


@pytest.mark.parametrize("different", [[], ["ab12"]])
def test_rebuild_fails_where_a_sample_is_not_what_was_published(monkeypatch, different, tmp_path, capsys):
    found = Rebuilt("v0001", exact=["cd34"], different=different, changed_environment={"torch": ("1.0", "2.0")})
    monkeypatch.setattr(rebuilding, "rebuild", lambda *_, **__: found)

    with ConsoleReporter() as reporter:
        if different:
            with pytest.raises(PublishError, match=r"1 samples of v0001 are not .*: ab12\. Made with torch 1\.0"):
                rebuild_samples(tmp_path, (), None, reporter=reporter)
        else:
            rebuild_samples(tmp_path, (), None, reporter=reporter)

    assert "Made with torch 1.0 (here 2.0)." in capsys.readouterr().out

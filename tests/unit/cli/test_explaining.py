"""`aigc explain`: it repeats the record, asks the gates again, and never guesses a sample."""

import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from aigc_pipeline import cli
from aigc_pipeline.cli.explaining import explain, gate_answers
from aigc_pipeline.core.errors import DataError, PublishError
from aigc_pipeline.gates import ClassQuota, MinPReal, NotMemorised, TopShare
from aigc_pipeline.publishing.explanation import VersionContent, find_sample


@pytest.fixture
def content(version: Path) -> VersionContent:
    return VersionContent.read(version)


def verdicts(content: VersionContent, sample_id: str) -> list[tuple[str, str, str]]:
    return [(each.gate, each.verdict, each.would) for each in explain(content, sample_id).gates]


def test_gates_before_the_refusal_passed_and_those_after_were_not_asked(content: VersionContent) -> None:
    assert verdicts(content, "aaaaaa11") == [
        ("not_memorised", "passed", "pass"),
        ("min_p_real", "refused", "refuse"),
        ("class_quota", "not asked", "pass"),
    ]


def test_a_set_gate_that_was_not_asked_answers_among_the_survivors_of_its_place(content: VersionContent) -> None:
    first_in_order = verdicts(content, "aaaaaa00")[-1]
    table = content.candidates.take([1, 2, 3, 4, 0])  # the near copy last: two survivors stand before it

    last_in_order = gate_answers([NotMemorised(), MinPReal(threshold=0.3), ClassQuota()], table, 4)[-1]

    assert first_in_order == ("class_quota", "not asked", "pass")
    assert (last_in_order.verdict, last_in_order.would) == ("not asked", "refuse")


def test_a_share_is_taken_of_all_that_the_gate_was_given() -> None:
    """Of four, the better half passed: the second of them would not pass among those that passed alone."""
    table = pa.table(
        {
            "label": [0] * 4,
            "log_density_ratio": [4.0, 3.0, 2.0, 1.0],
            "accept_probability": [1.0] * 4,
            "reject_reason": [None, None, "top_share", "top_share"],
        }
    )

    assert [gate_answers([TopShare()], table, row)[0].would for row in range(4)] == ["pass"] * 2 + ["refuse"] * 2


def test_every_candidate_is_refused_where_the_record_says_so_and_asking_again_agrees(content: VersionContent) -> None:
    for sample_id, reason in zip(
        content.candidates["sample_id"].to_pylist(), content.candidates["reject_reason"].to_pylist(), strict=True
    ):
        found = explain(content, sample_id)

        assert [each.gate for each in found.gates if each.verdict == "refused"] == ([reason] if reason else [])
        assert found.notes == ()


def test_a_gate_that_contradicts_the_record_is_pointed_out(content: VersionContent) -> None:
    column = content.candidates.column_names.index("train_distance")
    field = content.candidates.schema.field(column)
    moved = content.candidates.set_column(column, field, pa.array([0.5, 0.01, 0.5, 0.5, 0.5], field.type))
    changed = VersionContent(content.name, content.ledger, moved, content.published, content.metrics, content.config)

    assert explain(changed, "aaaaaa00").notes[0].startswith("not_memorised: the record says otherwise")


def test_sentences_name_the_numbers_and_the_limit(content: VersionContent) -> None:
    refused = next(each for each in explain(content, "aaaaaa00").gates if each.verdict == "refused")

    assert "0.01" in refused.sentence
    assert "0.02" in refused.sentence


def test_an_accepted_candidate_is_published_with_the_reason_of_the_version(content: VersionContent) -> None:
    published = explain(content, "bbbbbb00").publication

    assert (published.published, published.recommended, published.weight) == (True, True, 0.5)
    assert published.why == "the synthetic rows are published and recommended: they help"


def test_an_accepted_candidate_outside_the_chosen_mix_says_so(content: VersionContent) -> None:
    published = explain(content, "cccccc00").publication

    assert not published.published
    assert "the chosen mix 'both'" in published.why


def test_a_class_that_selection_left_out_is_not_said_to_have_done_harm(content: VersionContent) -> None:
    """The chosen mix may hold none of it: that, too, leaves a class out."""
    choice = {"choice": {"classes": ["dog"], "mix": "classic"}}

    why = explain(replace(content, metrics={**content.metrics, "EvalReport": choice}), "cccccc00").publication.why

    assert "the chosen mix 'classic' has none of it" in why
    assert "harm" not in why


def test_the_nearest_training_sample_is_named_with_its_file_and_the_copy_limit(content: VersionContent) -> None:
    nearest = explain(content, "aaaaaa00").nearest

    assert nearest is not None
    assert (nearest.sample_id, nearest.source_uri) == ("eeeeee00", "cat/1.png")
    assert nearest.distance == pytest.approx(0.01)
    assert nearest.copy_threshold == pytest.approx(0.02)


def test_a_real_file_is_found_by_its_path_and_tells_who_points_at_it(content: VersionContent) -> None:
    found = explain(content, "cat/1.png")

    assert found.outcome == "a real sample listed under class 'cat': kept, role train"
    assert found.relations == {
        "stands_for": ["eeeeee99"],
        "nearest_training_sample_of_candidates": 5,
        "of_which_copies": 1,
        "varied_into_candidates": 0,
    }


def test_a_published_picture_is_found_by_its_path(content: VersionContent) -> None:
    found = find_sample(content.ledger, "workspace/versions/v0001/images/bb/bbbbbb00.png")

    assert found["sample_id"] == "bbbbbb00"


def test_a_quarantined_file_names_stage_reason_and_detail(content: VersionContent) -> None:
    assert explain(content, "ffffff00").outcome.endswith("quarantined by ingest, reason truncated (half a file)")


def test_an_ambiguous_prefix_names_its_samples(content: VersionContent) -> None:
    with pytest.raises(DataError, match=r"names 2 samples: aaaaaa00 .*aaaaaa11"):
        find_sample(content.ledger, "aaaaaa")


def test_an_unknown_id_names_the_nearest_ones(content: VersionContent) -> None:
    with pytest.raises(DataError, match=r"no sample .* nearest: dddddd00"):
        find_sample(content.ledger, "dddddd77")


def test_an_unknown_path_names_the_files_with_its_name_and_those_much_like_it(content: VersionContent) -> None:
    with pytest.raises(DataError, match=r"source path 'elsewhere/cat/1\.png'\. The nearest: cat/1\.png"):
        find_sample(content.ledger, "elsewhere/cat/1.png")
    with pytest.raises(DataError, match=r"The nearest: cat/1\.png"):
        find_sample(content.ledger, "cat/11.png")


def test_a_short_prefix_is_refused_even_where_it_is_unique(content: VersionContent) -> None:
    with pytest.raises(DataError, match="at least 6 characters"):
        find_sample(content.ledger, "bbbbb")


def test_reasons_that_the_config_does_not_know_are_an_error(content: VersionContent) -> None:
    with pytest.raises(PublishError, match=r"min_p_real.*config\.yaml"):
        gate_answers([NotMemorised(), ClassQuota()], content.candidates, 0)


def test_json_holds_what_the_page_shows(version: Path) -> None:
    result = CliRunner().invoke(cli.app, ["explain", "aaaaaa11", "--place", str(version), "--json"])

    told = json.loads(result.output)
    assert result.exit_code == 0
    assert told["outcome"] == "a generated candidate of class 'cat': refused by min_p_real"
    assert [each["verdict"] for each in told["gates"]] == ["passed", "refused", "not asked"]
    assert told["lineage"] == {"generator": "r3gan", "seed": 12}


def test_the_workspace_stands_for_its_latest_version_and_the_page_shows_the_refusal(version: Path) -> None:
    result = CliRunner().invoke(cli.app, ["explain", "aaaaaa11", "-w", str(version.parents[1])])

    assert result.exit_code == 0
    assert "Not published: refused by min_p_real." in result.output
    assert "not asked, would pass" in result.output

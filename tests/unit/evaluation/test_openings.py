from dataclasses import replace

import pytest

from aigc_pipeline.evaluation.openings import next_opening, read_openings, write_openings
from aigc_pipeline.metrics.verdict import ALPHA, spend_alpha
from aigc_pipeline.records import EvalReport


@pytest.fixture
def ask(context):
    """Put a question to some samples, as the stage does, and return its number."""
    nights = iter(range(100))

    def ask(*test_ids: str) -> int:
        fingerprint = f"night-{next(nights)}"
        with context.store.open_partial("some_stage", fingerprint) as partial:
            night = replace(context, fingerprint=fingerprint, out=partial)
            openings = read_openings(night, test_ids)
            opening = next_opening(openings, test_ids)
            write_openings(partial, openings | dict.fromkeys(test_ids, opening))
            context.store.commit("some_stage", fingerprint, make_report(night))
        return opening

    return ask


def make_report(context, **old):
    fields = {"metrics": {}, "arms": {}, "per_class": (), "memorised": False, "memorisation_z": None, "verdict": None}
    return context.record(EvalReport, judge_encoder="e", test_digest="d", **fields, **old)


def test_a_test_role_that_gains_a_sample_is_not_a_new_test(ask):
    assert [ask("a", "b"), ask("a", "b"), ask("a", "b", "c"), ask("c", "d")] == [1, 2, 3, 4]


def test_a_test_role_of_new_samples_starts_at_one(ask):
    assert [ask("a", "b"), ask("c"), ask("a")] == [1, 1, 2]


def test_questions_along_a_moving_test_set_spend_at_most_alpha(ask):
    nights = [ask(*(f"{sample}" for sample in range(night, night + 3))) for night in range(20)]

    assert len(set(nights)) == 20
    assert sum(spend_alpha(k) for k in nights) < ALPHA


def test_all_questions_of_an_older_report_count(context, ask):
    old = replace(context, fingerprint="old")
    with context.store.open_partial("some_stage", "old"):
        context.store.commit("some_stage", "old", make_report(old, test_openings={"d": 2, "e": 1}))

    assert [ask("a", "b"), ask("b"), ask("c")] == [4, 5, 1]

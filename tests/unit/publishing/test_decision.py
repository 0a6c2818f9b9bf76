from types import SimpleNamespace

import pytest

from aigc_pipeline.publishing.decision import decide


def evidence(
    outcome: str | None = "helps",
    *,
    memorised: bool = False,
    complaints: tuple[str, ...] = (),
    num_kept: int = 9,
    shortfall: dict[str, int] | None = None,
    mix: str = "generated",
):
    verdict = SimpleNamespace(outcome=outcome, sentence="said") if outcome else None
    return (
        SimpleNamespace(complaints=complaints),
        SimpleNamespace(verdict=verdict, memorised=memorised, choice=SimpleNamespace(mix=mix)),
        SimpleNamespace(num_kept=num_kept, shortfall=shortfall or {}),
    )


@pytest.mark.parametrize(
    ("when", "outcome", "synthetic", "recommends"),
    [
        ("unless_harmful", "helps", True, True),
        ("unless_harmful", "does_not_help", True, False),
        ("unless_harmful", "not_enough_evidence", True, False),
        ("unless_harmful", "harms", False, False),
        ("helps", "helps", True, True),
        ("helps", "not_enough_evidence", False, False),
        ("always", "harms", True, False),
        ("never", "helps", False, False),
    ],
)
def test_the_verdict_decides_what_is_published(when, outcome, synthetic, recommends):
    decision = decide(when, *evidence(outcome))

    assert (decision.writes_synthetic, decision.recommends) == (synthetic, recommends)
    assert decision.writes_version == (when != "never")


@pytest.mark.parametrize(
    ("kwargs", "said"),
    [
        ({"memorised": True}, "memorisation"),
        ({"complaints": ("AUC too high",)}, "AUC too high"),
        ({"num_kept": 0, "outcome": None, "shortfall": {"cat": 4}}, "no candidate passed all gates"),
        ({"num_kept": 0, "outcome": None}, "the plan wants no synthetic sample"),
    ],
)
def test_obstacles_publish_no_synthetic_row_and_say_why(kwargs, said):
    decision = decide("unless_harmful", *evidence(**kwargs))

    assert not decision.writes_synthetic
    assert said in decision.reason


@pytest.mark.parametrize(
    ("shortfall", "said"), [({"cat": 4}, "No candidate was accepted"), ({}, "The plan wants no synthetic sample")]
)
def test_without_a_verdict_the_sentence_says_why(shortfall, said):
    decision = decide("unless_harmful", *evidence(None, num_kept=0, shortfall=shortfall))

    assert decision.sentence == f"{said}, so there was nothing to test."


@pytest.mark.parametrize(("mix", "publishes"), [("classic", True), ("both", False), ("generated", False)])
@pytest.mark.parametrize("obstacle", [{"memorised": True}, {"complaints": ("AUC too high",)}])
def test_what_speaks_against_generated_rows_says_nothing_against_varied_ones(mix, publishes, obstacle):
    assert decide("unless_harmful", *evidence(**obstacle, mix=mix)).writes_synthetic is publishes


def test_an_obstacle_is_named_even_when_publishing_always():
    decision = decide("always", *evidence(memorised=True))

    assert decision.writes_synthetic
    assert not decision.recommends
    assert "memorisation" in decision.reason

import pytest
from pydantic import ValidationError

from aigc_pipeline.core.context import Context
from aigc_pipeline.core.errors import ConfigError
from aigc_pipeline.core.samples import ROLES
from aigc_pipeline.fitting.budget import Speed
from aigc_pipeline.fitting.watching import GRID_SIZE, REPORT_SAMPLES
from aigc_pipeline.generators import R3GAN, Classic
from aigc_pipeline.generators.recipe import Recipe, wanted_samples
from aigc_pipeline.modalities.image import ImageSpec
from aigc_pipeline.records import DatasetSplits
from aigc_pipeline.stages.plan import (
    Equalize,
    Explicit,
    Multiply,
    PlanConfig,
    _Length,
    _length,
    _plan_class,
    _show,
    bytes_to_expect,
)
from aigc_pipeline.stages.synthesize import SynthesizeConfig, candidates_for

HAVE = {"a": 100, "b": 40, "c": 5}


def test_equalize_fills_up_to_the_largest_and_gives_everyone_a_share():
    assert Equalize().want(HAVE) == {"a": 25, "b": 60, "c": 95}


def test_equalize_asks_for_no_more_than_a_multiple_of_what_a_class_has():
    assert Equalize().want({"a": 5_000, "b": 5}) == {"a": 1_250, "b": 500}
    assert Equalize(at_most=2.5).want(HAVE) == {"a": 25, "b": 60, "c": 12}
    with pytest.raises(ValidationError, match=r"at_least \(3.0\) is above at_most \(2.0\)"):
        Equalize(at_least=3, at_most=2)


def test_the_least_share_is_rounded_up():
    assert Equalize(at_least=0.25).want({"a": 10, "b": 1}) == {"a": 3, "b": 9}


def test_multiply_rounds_up():
    assert Multiply(factor=0.5).want({"a": 3}) == {"a": 2}


def test_explicit_counts_are_exact_and_others_get_none():
    assert Explicit(counts={"b": 7}).want(HAVE) == {"a": 0, "b": 7, "c": 0}


@pytest.mark.parametrize(("counts", "message"), [({"zebra": 1}, r"zebra.*\['a', 'b', 'c'\]"), ({"a": -1}, "negative")])
def test_explicit_refuses_what_it_cannot_mean(counts, message):
    with pytest.raises(ConfigError, match=message):
        Explicit(counts=counts).want(HAVE)


def test_a_class_too_small_for_a_generator_is_varied_and_told_why():
    planned = _plan_class("c", 5, 95, PlanConfig(), Recipe(generator=R3GAN()))

    assert planned.method == "vary"
    assert "only 5 training samples (under 20)" in planned.expectation


def test_of_many_classes_that_are_too_small_five_are_noted_and_the_rest_is_counted(store, recording_reporter):
    planned = [_plan_class(f"c{index}", 5, 95, PlanConfig(), Recipe(generator=R3GAN())) for index in range(8)]
    _show(Context(store, 0, reporter=recording_reporter), planned, _Length(1, 0.05, 1.0, 1.0, 0.0), 1)

    assert len(recording_reporter.notes) == 6
    assert recording_reporter.notes[-1].startswith("3 further classes")


@pytest.mark.parametrize("drawn", [1_000, 50, 0.5])
def test_a_family_that_is_slow_to_draw_is_looked_at_less_often_and_keeps_to_its_minutes(drawn, store, monkeypatch):
    monkeypatch.setattr("aigc_pipeline.stages.plan._measure_speed", lambda *_: Speed(trained=500, drawn=drawn))
    counts = dict.fromkeys(ROLES, (100_000, 100_000))
    splits = DatasetSplits(
        fingerprint="f", path="p", created_by="split@1", spec=ImageSpec(height=32, width=32, channels=3),
        classes=("a", "b"), class_counts=counts, num_in=800_000, rejected={}, test_digest="d",
    )  # fmt: skip

    length = _length(Context(store, 0), Recipe(max_minutes=40), splits, 600)

    assert length.minutes == pytest.approx(40, rel=0.01)
    assert length.minutes_to_draw == pytest.approx(10 / drawn)
    assert length.validate_share == {1_000: 0.05, 50: 0.05, 0.5: 1.0}[drawn]
    assert length.total_samples >= 0.5 * 40 * 60 * 500 / (1 + 500 * GRID_SIZE / REPORT_SAMPLES / drawn) - 64


def test_the_classic_family_varies_everything():
    assert _plan_class("a", 100, 25, PlanConfig(), Recipe(generator=Classic())).method == "vary"


def test_training_length_follows_the_data_within_bounds():
    assert [wanted_samples(n) for n in (10, 2_000, 1_000_000)] == [500_000, 2_000_000, 20_000_000]


def test_candidates_follow_measured_acceptance_with_a_margin_and_a_cap():
    config = SynthesizeConfig(audit_per_class=50)

    assert candidates_for(100, 200, 1.0, config) == 100
    assert 200 < candidates_for(100, 200, 0.5, config) < 260
    assert candidates_for(0, 200, 0.5, config) >= 100  # the audit alone
    assert candidates_for(100, 200, 0.0, config) == 2_000
    assert candidates_for(100, 200, 0.001, config) == 2_000
    assert candidates_for(0, 0, 0.5, config) == 0


def test_disk_space_covers_every_real_sample_and_both_kinds_of_candidates():
    spec = ImageSpec(height=8, width=8, channels=1)
    of_one = bytes_to_expect(spec, 1, 0, with_classic=True)

    assert bytes_to_expect(spec, 1_219, 446, with_classic=True) == (1_219 + 2 * 4 * 446) * of_one
    assert bytes_to_expect(spec, 1_219, 446, with_classic=False) == (1_219 + 4 * 446) * of_one


def test_a_small_class_is_generated_only_where_the_warm_start_knows_it():
    planned = [
        _plan_class("c", 5, 95, PlanConfig(), Recipe(generator=R3GAN()), is_known=known) for known in (True, False)
    ]

    assert [each.method for each in planned] == ["generate", "vary"]


def test_a_class_of_just_enough_training_samples_is_generated():
    methods = [_plan_class("c", have, 95, PlanConfig(), Recipe(generator=R3GAN())).method for have in (19, 20)]

    assert methods == ["vary", "generate"]


def test_what_a_class_has_is_counted_over_the_training_role(tiny_run):
    planned, splits = tiny_run.done.planned, tiny_run.done.splits

    assert tuple(each.have for each in planned.classes) == splits.class_counts["train"]
    assert [each.method for each in planned.classes] == ["generate", "nothing", "vary"]
    assert planned.with_classic

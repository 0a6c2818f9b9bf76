"""What the report says, and that it says it offline."""

import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pyarrow as pa
import pytest

from aigc_pipeline.core.tables import CANDIDATES
from aigc_pipeline.publishing.card import card
from aigc_pipeline.publishing.manifest import empty_metadata
from aigc_pipeline.publishing.report import ReportContent, render_report, write_report
from aigc_pipeline.publishing.report.gallery import MAX_CLASSES, build_gallery, spread
from aigc_pipeline.publishing.report.summary import cost_words, groups_words, unfiltered_words, warnings_of
from aigc_pipeline.publishing.report.tables import GroupRow, class_rows
from aigc_pipeline.publishing.report.wording import (
    arm_words,
    as_sentence,
    fixed,
    number,
    percent,
    points,
    reason_words,
    short_reason,
)
from aigc_pipeline.records import Arrivals, GroupOutcome

ContentFactory = Callable[..., ReportContent]
_VOID = {"meta", "img", "br", "link", "input", "hr"}


class _Page(HTMLParser):
    """What a browser would see: the text, every reference, and whether tags are closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.references, self.open_tags, self.tags = "", list[str](), list[str](), set[str]()
        self.feed(html)
        self.text = re.sub(r"\s+", " ", self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.references += [value or "" for name, value in attrs if name in {"src", "href", "xlink:href", "srcset"}]
        if tag not in _VOID:
            self.open_tags.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.open_tags.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open_tags.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open_tags[-1:] != ["style"]:
            self.text += data + " "


def _page(content: ReportContent) -> _Page:
    return _Page(render_report(content))


def test_the_verdict_comes_before_every_table_and_picture(make_content: ContentFactory) -> None:
    html = render_report(make_content())

    assert html.index(make_content().sentence) < min(html.index("<table"), html.index("<svg"), html.index("<figure"))


def test_nothing_is_fetched_and_no_script_runs(make_content: ContentFactory) -> None:
    page = _page(make_content())

    assert not page.tags & {"script", "link", "iframe", "object"}
    assert all(reference.startswith(("data:", "#")) for reference in page.references)
    assert "http" not in render_report(make_content())


@pytest.mark.parametrize("which", ["full", "bare"])
def test_every_tag_is_closed_in_order(which: str, make_content: ContentFactory, bare_content: ReportContent) -> None:
    page = _page(make_content() if which == "full" else bare_content)

    assert page.open_tags == []


def test_verdict_facts_are_all_said(make_content: ContentFactory) -> None:
    text = _page(make_content(num_real=120, num_synthetic=6, num_recommended=5)).text

    for fact in (
        "+2.1",
        "+0.7 to +3.5",
        "real + balanced softmax",
        "2.0 points",
        "25 %",
        "loss weight 0.5",
        "0.025",
    ):
        assert fact in text
    assert re.search(r"120 real rows .* 6 synthetic rows .* 5 synthetic rows recommended", text)


def test_accepted_and_rejected_add_up_to_all_candidates(make_content: ContentFactory) -> None:
    table = render_report(make_content())
    table = table[table.index('<table class="fates">') :]
    numbers = [
        int(n.replace(",", "")) for n in re.findall(r'<td class="n">([\d,]+)</td>', table[: table.index("</table>")])
    ]

    assert numbers == [6, 3, 1, 10]


def test_a_candidate_stands_beside_its_nearest_training_sample(make_content: ContentFactory) -> None:
    html = render_report(make_content())

    assert re.search(r"candidate-4</code></div>\s*<div class=\"near\"><code>train-1</code>", html)


def test_rejected_samples_carry_their_reason(make_content: ContentFactory) -> None:
    gallery = build_gallery(make_content())

    reasons = {shot.reason for each in gallery.classes for group in each.groups for shot in group.shots}
    assert reasons == {None, "another class"}


def test_a_sample_over_quota_is_shown_only_where_nothing_else_was_rejected(make_content: ContentFactory) -> None:
    gallery = build_gallery(make_content(reasons=["class_quota"] * 2))

    assert [shot.reason for shot in gallery.classes[0].groups[0].shots] == ["class full"]


def test_rare_reject_reasons_are_shown_too(make_content: ContentFactory) -> None:
    reasons = ["rejection_sampling"] * 20 + ["not_memorised"] * 2

    shots = build_gallery(make_content(reasons=reasons)).classes[0].groups[0].shots

    assert [shot.reason for shot in shots].count("near copy") == 1
    assert len(shots) == 4


def test_best_comes_first_and_no_sample_is_shown_twice() -> None:
    best, between, worst = spread(range(20), size=4)

    assert (best, between, worst) == ([0, 1, 2, 3], [8, 9, 10, 11], [19, 18, 17, 16])


@pytest.mark.parametrize("num_rows", [0, 1, 5, 8, 9, 12])
def test_few_samples_are_each_shown_once(num_rows: int) -> None:
    best, between, worst = spread(range(num_rows), size=4)

    assert sorted(best + between + worst) == list(range(num_rows))


def test_samples_are_ordered_by_label_probability_without_p_real(make_content: ContentFactory) -> None:
    table = make_content().candidates
    values = pa.array([0.1, 0.2, 0.9, 0.4, 0.5, 0.6, 0, 0, 0, 0], pa.float32())
    for name, column in (("p_real", pa.nulls(10, pa.float32())), ("label_probability", values)):
        table = table.set_column(table.column_names.index(name), table.schema.field(name), column)

    gallery = build_gallery(make_content(candidates=table))

    assert gallery.ordered_by == "label_probability"
    assert gallery.classes[0].groups[0].shots[0].html == "<code>candidate-2</code>"


def test_of_many_classes_those_with_accepted_samples_are_shown(make_content: ContentFactory) -> None:
    names = tuple(f"class {k:02d}" for k in range(MAX_CLASSES + 3))
    table = make_content(reasons=("label_agreement",) * (len(names) - 1) + (None,)).candidates
    position = table.column_names.index("class_name")
    table = table.set_column(position, table.schema.field("class_name"), pa.array(names))

    gallery = build_gallery(make_content(candidates=table, classes=names))

    assert [each.name for each in gallery.classes] == [*names[: MAX_CLASSES - 1], names[-1]]


def test_classes_over_the_limit_are_counted_as_not_shown(make_content: ContentFactory) -> None:
    names = tuple(f"class {k:02d}" for k in range(MAX_CLASSES + 3))
    table = make_content(reasons=(None,) * len(names)).candidates
    position = table.column_names.index("class_name")
    table = table.set_column(position, table.schema.field("class_name"), pa.array(names))

    page = _page(make_content(candidates=table, classes=names))

    assert "3 more are not shown" in page.text


def test_of_many_classes_that_are_short_or_starved_a_few_are_named(make_content: ContentFactory) -> None:
    content = make_content()
    short = content.filtered.model_copy(update={"shortfall": {f"c{index:03d}": 2 for index in range(181)}})
    groups = tuple(
        content.evaluation.groups[0].model_copy(update={"group": f"c{index:03d}", "warning": "starved: 0 %"})
        for index in range(97)
    )
    evaluation = content.evaluation.model_copy(update={"groups": groups})
    content = replace(content, filtered=short, evaluation=evaluation)
    warning = next(each.text for each in warnings_of(content) if "never padded" in each.text)

    assert warning.endswith(" more.")
    assert "c180" not in warning
    assert "c096" not in card(content, empty_metadata())


def test_complaints_shortfall_and_copies_are_warned_of(make_content: ContentFactory) -> None:
    content = make_content()
    judge = content.judge.model_copy(update={"healthy": False, "complaints": ("the critic separates perfectly",)})
    evaluation = content.evaluation.model_copy(update={"memorised": True})

    text = _page(replace(content, judge=judge, evaluation=evaluation)).text

    assert "The screen for copies failed" in text
    assert "the critic separates perfectly" in text
    assert "cat (1), dog (1)" in text


def test_wanted_is_accepted_plus_short_and_varied_samples_stand_apart(make_content: ContentFactory) -> None:
    content = make_content(reasons=(None,) * 9)
    origins = ["generated"] * 6 + ["classic"] * 3
    table = content.candidates.drop_columns("origin").append_column("origin", pa.array(origins))
    plan = content.plan.model_copy(update={"with_classic": True})
    rows = tuple(class_rows(replace(content, candidates=table, plan=plan)))

    assert [(row.name, row.generated, row.varied) for row in rows] == [("cat", 3, 2), ("dog", 3, 1)]


def test_a_run_without_candidates_critic_and_verdict_says_so(bare_content: ReportContent) -> None:
    text = _page(bare_content).text

    for said in (bare_content.sentence, "There is no critic", "no candidates to show", "No training was compared"):
        assert said in text


def test_nothing_accepted_is_a_warning_and_leaves_the_rejected_to_see(make_content: ContentFactory) -> None:
    text = _page(make_content(reasons=["label_agreement"] * 4)).text

    assert "None of 4 candidates was accepted." in text
    assert "Nothing was accepted." in text
    assert "candidate-3" in text


def test_nothing_wanted_is_no_failure_of_the_candidates_that_were_made_to_measure(make_content: ContentFactory) -> None:
    content = make_content(reasons=["class_quota"] * 4)
    plan = content.plan.model_copy(
        update={"classes": tuple(each.model_copy(update={"want": 0}) for each in content.plan.classes)}
    )
    filtered = content.filtered.model_copy(update={"shortfall": {}})

    text = _page(replace(content, plan=plan, filtered=filtered)).text

    assert "The plan wants no synthetic sample." in text
    assert "None of" not in text


def test_fidelity_is_named_by_its_encoder_and_never_fid(make_content: ContentFactory) -> None:
    text = _page(make_content()).text

    assert "Fréchet distance in random_network features" in text
    assert "FID" not in text


def test_names_from_the_user_cannot_break_the_page(make_content: ContentFactory) -> None:
    page = _page(make_content(source="<script>alert(1)</script>", sentence="<b>&"))

    assert "script" not in page.tags
    assert "<script>alert(1)</script>" in page.text


def test_the_same_content_gives_the_same_bytes(make_content: ContentFactory) -> None:
    assert render_report(make_content()) == render_report(make_content())


def test_the_file_is_written_whole(tmp_path: Path, make_content: ContentFactory) -> None:
    write_report(tmp_path / "report.html", make_content())

    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
    assert (tmp_path / "report.html").read_text().rstrip().endswith("</html>")


def test_candidates_without_rows_keep_their_columns(bare_content: ReportContent) -> None:
    assert bare_content.candidates.column_names == [column.name for column in CANDIDATES]


def test_numbers_read_as_people_write_them() -> None:
    read = (points(-0.031), percent(0.25, 0), percent(None), number(0.06123), number(1234.5, 2))

    assert read == ("\N{MINUS SIGN}3.1", "25\N{NO-BREAK SPACE}%", "\N{EN DASH}", "0.0612", "1,200")


def test_a_class_is_short_of_what_its_method_was_to_make(make_content: ContentFactory) -> None:
    content = make_content()
    short = content.filtered.model_copy(update={"shortfall": {"cat": 2}})

    said = [each.text for each in warnings_of(replace(content, filtered=short))]

    assert "Fewer accepted than the plan's method was to make, and never padded: cat (2)." in said


def test_a_rounded_zero_is_never_negative() -> None:
    """The verdict's sentence says `+0.0` there."""
    assert (points(-0.0003), points(-0.0007), fixed(-0.04)) == ("+0.0", "\N{MINUS SIGN}0.1", "0.0")


def test_a_setting_at_the_start_of_a_sentence_keeps_its_case() -> None:
    assert as_sentence("publish.when is 'always'") == "publish.when is 'always'."
    assert as_sentence("they help") == "They help."


def test_the_choice_its_control_and_the_dose_curve_are_shown(make_content: ContentFactory) -> None:
    page = _page(make_content())

    assert "with 3 generated samples as 25 % of a batch at loss weight 0.5, for every class but dog" in page.text
    assert "plain copies of real samples in their place bring +0.2 points, the synthetic samples +2.1" in page.text
    assert "chosen" in page.text
    assert "loss weight 0.25" in page.text


def test_cost_per_point_is_a_number_only_where_something_was_gained(make_content: ContentFactory) -> None:
    content = make_content()
    verdict = content.evaluation.verdict
    assert verdict is not None
    harms = verdict.model_copy(
        update={"uplift": verdict.uplift.model_copy(update={"value": -0.01}), "outcome": "harms"}
    )
    unsure = verdict.model_copy(update={"outcome": "not_enough_evidence"})

    assert cost_words(verdict, 2.1) == ("1", "minutes of training per point gained, as planned")
    assert cost_words(unsure, 2.1)[1].endswith("but the gain itself is not certain")
    assert cost_words(harms, 2.1)[1] == "no cost per point: nothing was gained by the 2.1 minutes of training planned"


def test_varied_samples_that_were_chosen_cost_no_training(make_content: ContentFactory) -> None:
    content = make_content()
    assert content.evaluation.choice is not None
    choice = content.evaluation.choice.model_copy(update={"mix": "classic"})
    evaluation = content.evaluation.model_copy(update={"choice": choice})

    assert "0.95 minutes of training per point gained" in _page(content).text
    assert " 0 minutes of training per point gained" in _page(replace(content, evaluation=evaluation)).text


def test_worth_is_said_for_the_set_and_where_it_is_not_measurable(make_content: ContentFactory) -> None:
    page = _page(make_content())

    assert "As good as 40 more real samples of the same class mix (12 to 85)." in page.text
    assert "Nothing measurable of class dog" in page.text
    assert "real samples alone" in page.text


def test_a_starved_group_is_a_grave_warning_and_falling_recall_a_mild_one(make_content: ContentFactory) -> None:
    content = make_content()
    falls = content.evaluation.groups[0].model_copy(update={"warning": "recall falls by 3.0 points"})
    evaluation = content.evaluation.model_copy(update={"groups": (falls, content.evaluation.groups[1])})

    html = render_report(replace(content, evaluation=evaluation))

    assert '<li class="grave">Group site south is starved: 20% pass' in html
    starved = falls.model_copy(update={"warning": "starved: 9% pass"})
    evaluation = content.evaluation.model_copy(update={"groups": (starved,)})
    for shortfall, is_grave in (({"cat": 2}, True), ({}, False)):
        filtered = content.filtered.model_copy(update={"shortfall": shortfall})
        found = warnings_of(replace(content, evaluation=evaluation, filtered=filtered))
        assert [each.is_grave for each in found if "Class cat is starved" in each.text] == [is_grave]
    assert "<li>Class cat: recall falls by 3.0 points.</li>" in html
    assert "the group of the real sample it is made from, else for that its generator was told, else" in html


@pytest.mark.parametrize("warning", [None, "9 of 20 samples are unlike"])
def test_samples_that_came_are_a_warning_only_where_they_are_unlike(
    make_content: ContentFactory, warning: str | None
) -> None:
    arrivals = Arrivals(num_samples=20, num_unlike=9 if warning else 1, unlike=(), warning=warning)

    content = make_content(arrivals=arrivals)

    assert ("<li>9 of 20 samples are unlike.</li>" in render_report(content)) == (warning is not None)
    assert ("9 of 20 samples are unlike." in card(content, empty_metadata())) == (warning is not None)


def test_a_group_passes_as_often_as_its_candidates_do() -> None:
    outcome = GroupOutcome(
        attribute="class", group="cat", candidates=40, accepted=10, test_samples=5, recall_baseline=0.6,
        recall_with_synthetic=None, warning=None,
    )  # fmt: skip

    assert GroupRow(outcome, is_grave=False).acceptance == 0.25
    assert GroupRow(outcome.model_copy(update={"candidates": 0}), is_grave=False).acceptance is None


def test_the_trade_of_the_filter_and_its_relaxation_are_said(make_content: ContentFactory) -> None:
    text = _page(make_content()).text

    assert "the filter keeps 75 %. That moves precision from 61 % to 70 %, recall from 72 % to 66 %" in text
    assert "It was set to keep 50 %, which only trimmed diversity" in text
    assert "keeps 75 %, used" in text


def test_excess_ece_stands_beside_ece(make_content: ContentFactory) -> None:
    assert re.search(r"ECE 0\.031 .* ECE beyond chance 0\.0047", _page(make_content()).text)


def test_fid_is_said_in_its_own_feature_space_alone(make_content: ContentFactory) -> None:
    content = make_content()
    evaluation = content.evaluation.model_copy(update={"judge_encoder": "inception_v3_pool3"})
    text = _page(replace(content, evaluation=evaluation)).text

    assert "FID in inception_v3_pool3 features" in text
    assert "Classifier score by the label referee" in text
    assert "Fr\u00e9chet" not in text


@pytest.mark.parametrize(
    "reason", ["in_distribution", "metropolis_hastings", "top_share", "class_quota", "rejection_sampling"]
)
def test_every_reject_reason_has_words(reason: str) -> None:
    assert reason_words(reason) != reason.replace("_", " ")
    assert short_reason(reason) != reason.replace("_", " ")


def test_every_arm_has_words() -> None:
    names = ("real", "smote_and_copies", "balanced_resampling_and_synthetic", "your_command_and_synthetic")

    assert [arm_words(name) for name in names] == [
        "real samples, unvaried",
        "real + SMOTE + plain copies",
        "real + balanced resampling + synthetic",
        "your own training + synthetic",
    ]


def test_accepted_samples_of_a_class_are_counted_by_kind(make_content: ContentFactory) -> None:
    content = make_content()
    origins = ["generated", "classic"] * 5  # of the six accepted, the three cats are generated, the three dogs varied
    place = content.candidates.column_names.index("origin")
    table = content.candidates.set_column(place, content.candidates.schema.field("origin"), pa.array(origins))

    page = render_report(replace(content, candidates=table))

    row = r'<td><b>{}</b></td>.*?data-of="Generated">(\d+)</td><td class="n" data-of="Varied">(\d+)</td>'
    assert re.findall(row.format("cat"), page) == [("3", "0")]
    assert re.findall(row.format("dog"), page) == [("0", "3")]


def test_the_reals_that_fidelity_is_measured_against_are_not_said_to_be_unknown_to_the_critic(
    make_content: ContentFactory,
) -> None:
    text = _page(make_content()).text

    assert "nor filter was fitted on" not in text
    assert "those for calibration also fitted the critic" in text


def test_a_verdict_by_the_users_own_training_is_not_said_to_come_from_batches_of_our_network(
    make_content: ContentFactory,
) -> None:
    content = make_content()
    assert content.evaluation.verdict is not None
    verdict = content.evaluation.verdict.model_copy(update={"baseline": "your_command"})
    arms = {**content.evaluation.arms, "your_command": content.evaluation.arms["smote"]}
    evaluation = content.evaluation.model_copy(update={"verdict": verdict, "arms": arms})

    text = _page(replace(content, evaluation=evaluation)).text

    assert "Mixed in as synthetic rows weighted for the share of the loss of 25 % of a batch at loss weight 0.5" in text
    assert "and your own training without and with synthetic samples" in text
    assert "small network" not in text


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"complaints": ("it separates perfectly",), "healthy": False}, "it separates perfectly"),
        (
            {"critic_mode": "none", "auc": None},
            "there is no critic: nothing was generated, or too few real samples to fit one",
        ),
        ({"auc": None}, "no selection sample was left to prove the critic on"),
        ({"auc": 0.503}, "the critic cannot tell real from synthetic samples (AUC 0.503)"),
        ({"filters_by_probability": True}, "none of the gates reads it"),
    ],
)
def test_why_nothing_was_filtered_by_probability_is_said(
    changes: dict[str, object], reason: str, make_content: ContentFactory
) -> None:
    content = make_content()
    filtered = content.filtered.model_copy(update={"filtered_by_probability": False})
    content = replace(content, filtered=filtered, judge=content.judge.model_copy(update=changes))

    assert unfiltered_words(content) == reason
    assert unfiltered_words(make_content()) is None


def test_a_critic_that_was_never_proven_is_not_said_to_have_passed(make_content: ContentFactory) -> None:
    content = make_content()
    unknown = dict.fromkeys(("auc", "ece", "excess_ece", "brier", "z"))
    filtered = content.filtered.model_copy(update={"filtered_by_probability": False})
    judge = content.judge.model_copy(update={**unknown, "reliability": ()})

    text = _page(replace(content, filtered=filtered, judge=judge)).text

    assert "Not known: no selection sample was left to prove it on" in text
    assert "passed its health checks" not in text


def test_recall_of_groups_is_not_said_to_hold_where_nothing_was_compared(make_content: ContentFactory) -> None:
    content = make_content()
    groups = (content.evaluation.groups[0],)
    untested = content.evaluation.model_copy(update={"verdict": None, "groups": groups})
    tested = content.evaluation.model_copy(update={"groups": groups})

    assert "Recall was not compared" in groups_words(replace(content, evaluation=untested))
    assert groups_words(replace(make_content(reasons=()), evaluation=untested)).startswith("Not measured")
    assert "none loses recall beyond chance" in groups_words(replace(content, evaluation=tested))


def test_a_generator_that_was_not_trained_is_not_said_to_have_seen_samples(make_content: ContentFactory) -> None:
    text = _page(replace(make_content(), family="classic", samples_seen=0)).text

    assert "Generator classic , which was not trained" in text


def test_the_page_says_which_candidates_are_compared_with_real_samples(make_content: ContentFactory) -> None:
    assert "without those made from the real samples that are compared with" in _page(make_content()).text


def test_the_proof_of_the_critic_names_how_many_real_samples_it_rests_on(make_content: ContentFactory) -> None:
    assert "passed its health checks on 3 unseen real samples" in _page(make_content(num_proof=3)).text
    assert "passed its health checks on unseen samples" in _page(make_content()).text


def test_report_and_card_say_where_the_critic_judges_some_classes_alone(make_content: ContentFactory) -> None:
    content = make_content()
    assert "it judges" not in card(content, empty_metadata())
    names = content.candidates["class_name"].to_pylist()
    p = pa.array([None if name == "dog" else 0.5 for name in names], pa.float32())
    some = content.candidates.set_column(content.candidates.schema.get_field_index("p_real"), "p_real", p)

    content = replace(content, candidates=some)
    assert "it judges 1 of 2 classes: the others have too few real samples" in card(content, empty_metadata())
    assert "Of what was generated it judges 1 of 2 classes" in render_report(content)

import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.stats import ttest_1samp

from aigc_pipeline.metrics.command import (
    WITH,
    WITHOUT,
    Asked,
    CommandArm,
    Targets,
    command_files,
    synthetic_weight,
)
from aigc_pipeline.metrics.command_answer import read_answer
from aigc_pipeline.metrics.command_run import CommandError, run_command

CLASSES = ("cat", "dog")
TARGETS = Targets(("a", "b", "c", "d"), np.array([0, 1, 0, 1]), CLASSES)
ALL_FOUR = {"a": "cat", "b": "dog", "c": "dog", "d": "dog"}
PREAMBLE = "import json, os, sys, time\nmanifest, output, seed = sys.argv[1], sys.argv[2], int(sys.argv[3])\n"
PREDICTING = """
answer = json.load(open(manifest))
answer["c"] = "cat" if seed % 2 else answer["c"]
json.dump({"predictions": answer}, open(output, "w"))
"""


@pytest.fixture
def command(tmp_path):
    """A factory: the body of a script to the command that runs it."""

    def make(body, **settings):
        script = tmp_path / "train.py"
        script.write_text(PREAMBLE + body)
        argv = (sys.executable, "-IS", str(script), "{manifest}", "{output}", "{seed}")
        return CommandArm(argv=argv, **{"num_seeds": 2, **settings})

    return make


@pytest.fixture
def manifests(tmp_path):
    """What the predicting script reads instead of a table: its answer."""
    files = {WITHOUT: tmp_path / "without.json", WITH: tmp_path / "with.json"}
    files[WITHOUT].write_text(json.dumps(ALL_FOUR | {"a": "dog"}))
    files[WITH].write_text(json.dumps(ALL_FOUR))
    return files


def asked(command, folder, **settings):
    return Asked(command, TARGETS, folder, lambda number: number, **settings)


def ask(command, manifests, folder, **settings):
    return asked(command, folder).compare(manifests, **settings)


def answer(tmp_path, content):
    file = tmp_path / "answer.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return read_answer(file, TARGETS.ids, TARGETS.labels, CLASSES)


def test_predictions_come_back_per_arm_seed_and_item(command, manifests, tmp_path):
    comparison = ask(command(PREDICTING), manifests, tmp_path / "runs")

    assert comparison.predicted[WITHOUT].tolist() == [[1, 1, 1, 1], [1, 1, 0, 1]]
    assert comparison.predicted[WITH].tolist() == [[0, 1, 1, 1], [0, 1, 0, 1]]
    assert comparison.values[WITH].tolist() == [0.75, 1.0]
    assert comparison.metric == "balanced_accuracy"


def test_runs_alternate_between_arms_and_both_get_the_same_seeds(command, manifests, tmp_path):
    body = PREDICTING + f"open({str(tmp_path / 'calls')!r}, 'a').write(f'{{manifest[-12:]}} {{seed}};')"
    Asked(command(body), TARGETS, tmp_path / "runs", lambda number: 2**40 + 7 + number).compare(manifests)

    assert (tmp_path / "calls").read_text() == "without.json 7;t1/with.json 7;without.json 8;t1/with.json 8;".replace(
        "t1/with.json", str(manifests[WITH])[-12:]
    )


def test_a_number_alone_gets_the_interval_of_a_paired_t_test_over_seeds(command, manifests, tmp_path):
    body = "v = .5 + .01 * seed ** 2 + (.1 + .02 * seed) * (manifest[-12:] != 'without.json')\n"
    body += "json.dump({'metric': 'macro_f1', 'value': v}, open(output, 'w'))"
    comparison = ask(command(body, num_seeds=4), manifests, tmp_path / "runs")
    estimate = comparison.over_seeds()["command_macro_f1/difference"]
    reference = ttest_1samp([0.1, 0.12, 0.14, 0.16], 0).confidence_interval(0.95)

    assert comparison.predicted == {}
    assert (estimate.ci_low, estimate.ci_high) == pytest.approx((reference.low, reference.high))
    assert (estimate.value, estimate.n) == (pytest.approx(0.13), 4)
    assert "0.535 without and 0.665 with" in comparison.sentence
    assert "seeds alone" in comparison.sentence


def test_a_number_alone_is_refused_at_once_where_the_command_decides(command, manifests, tmp_path):
    body = f"open({str(tmp_path / 'calls')!r}, 'a').write('x')\n"
    body += "json.dump({'balanced_accuracy': .5}, open(output, 'w'))"
    with pytest.raises(CommandError, match="decide_by"):
        asked(command(body), tmp_path / "runs", must_predict=True).rehearse(manifests[WITHOUT])

    assert (tmp_path / "calls").read_text() == "x"


def test_runs_must_answer_alike(command, manifests, tmp_path):
    body = "json.dump({'metric': 'f%d' % seed, 'value': 1}, open(output, 'w'))"

    with pytest.raises(CommandError, match="All runs must"):
        ask(command(body), manifests, tmp_path / "runs")


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
def test_a_killed_comparison_goes_on_where_it_stopped(command, manifests, tmp_path, interruption):
    calls = tmp_path / "calls"
    arm = command(PREDICTING + f"open({str(calls)!r}, 'a').write('x')")

    def stop():
        raise interruption

    with pytest.raises(interruption):
        ask(arm, manifests, tmp_path / "runs", tick=stop)
    ask(arm, manifests, tmp_path / "runs")

    assert calls.read_text() == "x" * 4


def test_a_rehearsal_is_the_first_run_and_is_not_repeated(command, manifests, tmp_path):
    calls = tmp_path / "calls"
    body = f"open({str(calls)!r}, 'a').write(manifest[-12:] + str(seed) + ';')\n" + PREDICTING
    question = asked(command(body), tmp_path / "runs")
    question.rehearse(manifests[WITHOUT])
    assert calls.read_text() == "without.json0;"
    comparison = question.compare(manifests)

    assert calls.read_text().count("without.json0;") == 1
    assert calls.read_text().count(";") == 4
    assert comparison.predicted[WITHOUT].tolist() == [[1, 1, 1, 1], [1, 1, 0, 1]]


def test_a_rehearsal_that_fails_is_done_again(command, manifests, tmp_path):
    question = asked(command("json.dump({'predictions': {}}, open(output, 'w'))"), tmp_path / "runs")
    with pytest.raises(CommandError):
        question.rehearse(manifests[WITHOUT])

    assert not list((tmp_path / "runs").glob("*/finished.txt"))


def test_after_an_error_or_a_changed_manifest_runs_are_repeated(command, manifests, tmp_path):
    calls = tmp_path / "calls"
    counting = f"open({str(calls)!r}, 'a').write('x')\n"
    with pytest.raises(CommandError):
        ask(command(counting + PREDICTING + "sys.exit(seed)"), manifests, tmp_path / "runs")
    ask(command(counting + PREDICTING), manifests, tmp_path / "runs")
    assert calls.read_text() == "x" * (3 + 4)
    manifests[WITH].write_text(json.dumps(ALL_FOUR | {"b": "cat"}))
    comparison = ask(command(counting + PREDICTING), manifests, tmp_path / "runs")

    assert calls.read_text() == "x" * (3 + 4 + 2)
    assert comparison.predicted[WITH][0].tolist() == [0, 0, 1, 1]


def test_a_changed_script_is_a_new_question(command):
    before = command_files(command("pass"))

    assert command_files(command("pass")) == before
    assert command_files(command("pass  # changed")).digest() != before.digest()
    assert command_files(None).sha256 == ()


@pytest.mark.parametrize("left_out", ["{manifest}", "{output}", "{seed}"])
def test_each_placeholder_is_required(left_out):
    argv = tuple(each for each in ("train", "{manifest}", "{output}", "{seed}") if each != left_out)

    with pytest.raises(ValidationError, match="argv lacks"):
        CommandArm(argv=argv)


def test_arguments_reach_the_program_unread_by_a_shell(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text("")
    argv = ("sh", "train.py", "; touch x", "{{json}} {other}", "{manifest}:{output}", "--seed={seed}", "$HOME")
    arguments = CommandArm(argv=argv).arguments(Path("{seed}/m"), Path("/o"), 7)

    assert arguments[0].endswith("/sh")
    assert arguments[1:4] == [str(tmp_path / "train.py"), "; touch x", "{{json}} {other}"]
    assert arguments[4:] == [f"{tmp_path}/{{seed}}/m:/o", "--seed=7", "$HOME"]


def test_the_environment_and_a_working_directory_of_its_own_are_passed_on(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_SETTING", "kept $(touch x)")
    run_command(["/bin/sh", "-c", 'pwd; echo "$MY_SETTING"; echo oops >&2'], tmp_path, timeout_seconds=20)

    assert (tmp_path / "log.txt").read_text() == f"{tmp_path}\nkept $(touch x)\noops\n"


def test_a_command_that_is_not_there_is_named():
    arm = CommandArm(argv=("no-such-trainer", "{manifest}", "{output}", "{seed}"))

    with pytest.raises(CommandError, match=r"no-such-trainer.*PATH"):
        arm.program()


def test_a_failure_shows_the_end_of_the_log_and_where_it_lies(command, manifests, tmp_path):
    body = "print('line\\n' * 100, flush=True)\nraise SystemExit('CUDA out of memory')"
    with pytest.raises(CommandError) as caught:
        ask(command(body), manifests, tmp_path / "runs")

    message = str(caught.value)
    assert "exit code 1" in message
    assert "CUDA out of memory" in message
    assert message.count("line\n") < 20
    assert str(tmp_path / "runs" / f"{WITHOUT}-0" / "log.txt") in message


def test_a_signal_is_named(tmp_path):
    with pytest.raises(CommandError, match=r"SIGKILL.*printed nothing"):
        run_command(["/bin/sh", "-c", "kill -9 $$"], tmp_path, timeout_seconds=20)


def test_a_timeout_ends_the_command_and_its_children(tmp_path):
    started = time.monotonic()
    with pytest.raises(CommandError, match="timeout_minutes"):
        run_command(["/bin/sh", "-c", "(sleep 3; touch late) & sleep 60"], tmp_path, timeout_seconds=0.5)
    assert time.monotonic() - started < 15
    time.sleep(3.2)

    assert not (tmp_path / "late").exists()


def test_no_answer_says_what_to_write(command, manifests, tmp_path):
    with pytest.raises(CommandError, match=r"wrote no answer.*predictions"):
        ask(command("pass"), manifests, tmp_path / "runs")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", "not valid JSON"),
        ("[1]", "is a list"),
        ({}, r"holds \[\]"),
        ({"predictions": ALL_FOUR, "loss": 1}, r"holds \['loss', 'predictions'\]"),
        ({"predictions": ["cat"] * 4}, "predictions"),
        ({"predictions": {"a": "cat"}}, r"3 of 4 test rows have no prediction \(\['b', 'c', 'd'\]\)"),
        ({"predictions": ALL_FOUR | {"e": "cat"}}, r"no test rows \(\['e'\]\)"),
        ('{"predictions": {"a": "cat", "a": "dog"}}', r"1 keys come twice \(\['a'\]\)"),
        ({"predictions": ALL_FOUR | {"a": "Cat"}}, r"no class name \(\['Cat'\]\)"),
        ({"predictions": ALL_FOUR | {"a": 0}}, r"no class name \(\[0\]\)"),
        ({"predictions": ALL_FOUR | {"a": ["cat"]}}, "no class name"),
        ({"balanced_accuracy": 93}, "not percent"),
        ('{"balanced_accuracy": NaN}', "not a finite number"),
        ({"metric": "f1", "value": "0.9"}, "not a finite number"),
        ({"metric": "f1", "value": True}, "not a finite number"),
    ],
)
def test_an_unusable_answer_says_why(tmp_path, content, complaint):
    with pytest.raises(CommandError, match=complaint):
        answer(tmp_path, content)


def test_predictions_may_come_in_any_order(tmp_path):
    backwards = dict(reversed(ALL_FOUR.items()))

    assert answer(tmp_path, {"predictions": backwards}).predicted.tolist() == [0, 1, 1, 1]


@pytest.mark.parametrize(("num_real", "num_synthetic"), [(100, 400), (900, 30)])
@pytest.mark.parametrize(("dose", "loss_weight"), [(0.25, 1.0), (0.1, 0.25), (0.5, 0.5)])
def test_synthetic_rows_have_the_share_of_the_total_weight_that_they_have_in_our_loss(
    num_real, num_synthetic, dose, loss_weight
):
    weight = synthetic_weight(num_real, num_synthetic, dose=dose, loss_weight=loss_weight)
    share = num_synthetic * weight / (num_real + num_synthetic * weight)
    batch = np.where(np.arange(1000) < 1000 * dose, loss_weight, 1.0)

    assert share == pytest.approx(batch[: int(1000 * dose)].sum() / batch.sum())
    if loss_weight == 1:
        assert share == pytest.approx(dose)

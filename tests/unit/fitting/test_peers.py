import json
import os
import sys
from types import SimpleNamespace

import pytest

from aigc_pipeline.core.context import RuntimeConfig
from aigc_pipeline.core.errors import CheckpointError, ConfigError
from aigc_pipeline.core.reporting import LogReporter
from aigc_pipeline.fitting import peers
from aigc_pipeline.fitting.fit import Outcome
from aigc_pipeline.fitting.peers import _run, fit_together
from aigc_pipeline.training.team import Team

SAYS_ITS_ID_AND_STAYS = """#!/bin/sh
echo '{"verb": "note", "arguments": ["'$$'"]}'
exec sleep 100
"""


def test_the_processes_end_where_the_parent_is_interrupted(tmp_path, monkeypatch):
    class Interrupted(LogReporter):
        def note(self, message: str) -> None:
            heard.append(int(message))
            raise KeyboardInterrupt

    heard: list[int] = []
    (tmp_path / "torchrun").write_text(SAYS_ITS_ID_AND_STAYS)
    (tmp_path / "torchrun").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "torchrun"))

    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path / "job.json", 2, Interrupted())
    with pytest.raises(ProcessLookupError):
        os.kill(heard[0], 0)


@pytest.mark.parametrize("rank", [0, 1])
def test_an_error_of_any_process_is_told_and_ends_them_all_and_the_first_alone_speaks(
    rank, tmp_path, monkeypatch, capsys
):
    def fit(context, *_: object) -> None:
        context.reporter.note("said once")
        msg = "the GPU has too little memory"
        raise ConfigError(msg)

    job = dict.fromkeys(peers.Job.model_fields) | {"runtime": RuntimeConfig(device="cpu", threads=1)}
    job |= {"workspace": tmp_path, "out": tmp_path, "seed": 0}
    (tmp_path / "job.json").touch()
    monkeypatch.setattr(peers.Job, "model_validate_json", lambda _: SimpleNamespace(**job))
    monkeypatch.setattr(peers.Team, "joined", lambda _: Team(rank, 2))
    monkeypatch.setattr(peers, "fit", fit)

    with pytest.raises(SystemExit, match="1"):
        peers.take_part(tmp_path / "job.json")
    assert json.loads((tmp_path / "error.json").read_text()) == {
        "type": "ConfigError",
        "message": "the GPU has too little memory",
    }
    assert ("said once" in capsys.readouterr().out) == (rank == 0)


@pytest.fixture
def together(tiny_run, tmp_path, monkeypatch):
    """Train in processes that end with these last words."""

    def run(last_words: str) -> Outcome:
        monkeypatch.setattr(peers, "_run", lambda *_: last_words)
        done, context = tiny_run.done, tiny_run.context.for_stage("train", 1, "f", tmp_path)
        return fit_together(context, tiny_run.config.train, done.planned, done.splits, done.embeddings)

    return run


def test_the_error_of_an_earlier_try_is_forgotten(together, tmp_path):
    (tmp_path / "error.json").write_text('{"type": "ConfigError", "message": "of yesterday"}')
    outcome = Outcome("weights", 640, 320, 1.5, 0.25, ("halved",))
    outcome.write(tmp_path / "outcome.json")

    assert together("") == outcome


def test_a_process_that_died_is_told_with_its_last_words(together):
    with pytest.raises(CheckpointError, match=r"a training process died: out of memory\. Run the same command again"):
        together("out of memory")


@pytest.mark.parametrize(
    ("script", "last_words"),
    [
        ("exit 0", ""),
        ("exit 3", "no message"),
        ("echo 'Error, but what of it' >&2; exit 0", ""),
        ("echo one >&2; echo 'ValueError: two' >&2; exit 1", "ValueError: two"),
    ],
)
def test_processes_that_fail_have_last_words_also_where_they_said_nothing(script, last_words, tmp_path, monkeypatch):
    (tmp_path / "torchrun").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "torchrun").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "torchrun"))

    assert _run(tmp_path / "job.json", 2, LogReporter()) == last_words

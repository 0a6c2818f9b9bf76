import json
import os
import sys
from types import SimpleNamespace

import pytest

from aigc_pipeline.core.context import RuntimeConfig
from aigc_pipeline.core.errors import ConfigError
from aigc_pipeline.core.reporting import LogReporter
from aigc_pipeline.fitting import peers
from aigc_pipeline.fitting.peers import _run
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
def test_an_error_of_any_process_is_told_and_ends_them_all(rank, tmp_path, monkeypatch):
    def fit(*_: object) -> None:
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

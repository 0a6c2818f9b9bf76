import os
import sys

import pytest

from aigc_pipeline.core.reporting import LogReporter
from aigc_pipeline.fitting.peers import _run

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

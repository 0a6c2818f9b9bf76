"""Several processes for one training: started by torchrun from a job file, the first of them speaks for all, but for errors.

What the first process reports comes back as one JSON object a line, and is told to the reporter here.
"""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, SerializeAsAny

from aigc_pipeline.core.context import Context, RuntimeConfig
from aigc_pipeline.core.errors import CheckpointError, ConfigError, TrainingDivergedError
from aigc_pipeline.core.reporting import LogReporter, Reporter, Scalar, StageEvent
from aigc_pipeline.core.store import Store, write_atomically
from aigc_pipeline.fitting.fit import Outcome, fit
from aigc_pipeline.fitting.settings import FitSettings
from aigc_pipeline.records import DatasetSplits, Embeddings, SynthesisPlan
from aigc_pipeline.training.devices import device_of, runtime_of_peer
from aigc_pipeline.training.team import Team

_OUTCOME, _ERROR = "outcome.json", "error.json"
_ERRORS = {each.__name__: each for each in (TrainingDivergedError, CheckpointError, ConfigError)}


class Job(BaseModel):
    """Everything that a process needs to take part."""

    workspace: Path
    out: Path
    stage: str
    fingerprint: str
    seed: int
    runtime: RuntimeConfig
    config: SerializeAsAny[FitSettings]
    planned: SynthesisPlan
    splits: DatasetSplits
    embeddings: Embeddings


def fit_together(
    context: Context, config: FitSettings, planned: SynthesisPlan, splits: DatasetSplits, embeddings: Embeddings
) -> Outcome:
    """Do what `fit` does, in `runtime.processes` processes.

    Raises:
        TrainingDivergedError: as `fit`.
        CheckpointError: as `fit`; or if a process died, with its last words.
        ConfigError: as `fit`; or if a batch has fewer pairs of samples than there are processes.
    """
    settings = FitSettings.model_validate(config.model_dump(include=set(FitSettings.model_fields)))
    job = Job(
        workspace=context.store.workspace.absolute(), out=context.out.absolute(), stage=context.stage,
        fingerprint=context.fingerprint, seed=context.seed, runtime=context.runtime, config=settings, planned=planned,
        splits=splits, embeddings=embeddings,
    )  # fmt: skip
    file = context.out / "job.json"
    file.write_text(job.model_dump_json(), encoding="utf-8")
    (context.out / _ERROR).unlink(missing_ok=True)
    last_words = _run(file, context.runtime.processes, context.reporter)
    if (context.out / _ERROR).exists():
        error = json.loads((context.out / _ERROR).read_text())
        raise _ERRORS[error["type"]](error["message"])
    if last_words:
        msg = f"a training process died: {last_words}. Run the same command again to go on from the last checkpoint."
        raise CheckpointError(msg)
    return Outcome.read(context.out / _OUTCOME)


def _run(file: Path, num_processes: int, reporter: Reporter) -> str:
    """Start the processes and pass on what they say; return the last lines of a failed run, else nothing."""
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={num_processes}",
        "-m", "aigc_pipeline.fitting.peers", str(file),
    ]  # fmt: skip
    errors_file = file.with_name("processes.log")
    with (
        errors_file.open("w") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process,  # noqa: S603 - our own module
    ):
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith("{"):
                    _pass_on(json.loads(line), reporter)
            failed = process.wait() != 0
        finally:
            process.terminate()  # torchrun ends its workers; nothing is done where it has ended
            process.wait()
    lines = [line for line in errors_file.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return " / ".join(line for line in lines if "Error" in line)[-500:] or "no message" if failed else ""


def _pass_on(call: Mapping[str, object], reporter: Reporter) -> None:
    arguments = call["arguments"]
    assert isinstance(arguments, list)
    if call["verb"] == "image":
        reporter.image(arguments[0], base64.b64decode(arguments[1]))
    else:
        getattr(reporter, str(call["verb"]))(*arguments)


class LineReporter:
    """Says everything as one JSON object a line on standard output."""

    def stage(self, name: str, event: StageEvent, seconds: float) -> None:
        """Pass on."""
        self._say("stage", name, event, seconds)

    def progress(self, task: str, done: int, total: int) -> None:
        """Pass on."""
        self._say("progress", task, done, total)

    def metric(self, name: str, value: float, step: int) -> None:
        """Pass on."""
        self._say("metric", name, value, step)

    def table(self, title: str, rows: Sequence[Mapping[str, Scalar]]) -> None:
        """Pass on."""
        self._say("table", title, [dict(row) for row in rows])

    def image(self, title: str, png: bytes) -> None:
        """Pass on, in base64."""
        self._say("image", title, base64.b64encode(png).decode())

    def file(self, title: str, path: Path) -> None:
        """Pass on the path as text."""
        self._say("note", f"{title}: {path}")

    def note(self, message: str) -> None:
        """Pass on."""
        self._say("note", message)

    def _say(self, verb: str, *arguments: object) -> None:
        sys.stdout.write(json.dumps({"verb": verb, "arguments": arguments}) + "\n")
        sys.stdout.flush()


def take_part(file: Path) -> None:
    """Be one of the processes: train, and write beside the job the outcome, if first, or the error, whoever had it."""
    job = Job.model_validate_json(file.read_bytes())
    runtime = runtime_of_peer(job.runtime)
    team = Team.joined(device_of(runtime))
    reporter = LineReporter() if team.is_first else LogReporter()  # all of them would say the same
    context = Context(
        Store(job.workspace), job.seed, runtime, reporter, stage=job.stage, fingerprint=job.fingerprint, out=job.out
    )  # fmt: skip
    try:
        outcome = fit(context, job.config, job.planned, job.splits, job.embeddings, team)
    except tuple(_ERRORS.values()) as err:
        content = json.dumps({"type": type(err).__name__, "message": str(err)})
        write_atomically(job.out / _ERROR, content.encode())
        sys.exit(1)  # torchrun then ends the others, which may be waiting for this one
    if team.is_first:
        outcome.write(job.out / _OUTCOME)
    team.leave()


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    take_part(Path(sys.argv[1]))

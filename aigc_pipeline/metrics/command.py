"""The user's own training command, asked the uplift question: the same training without and with synthetic rows.

It reads a manifest and answers with a class per test sample, so that the paired verdict of `metrics.verdict` applies.
A command that only answers with a number gets an interval over seeds and never a verdict: seeds alone call 6 to 21 % of
useless sets helpful. Nothing is chosen here: mix, dose and weight are those that the small network found on selection.
"""

import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator
from scipy.stats import t

from aigc_pipeline.core.samples import content_sha256
from aigc_pipeline.core.store import write_atomically
from aigc_pipeline.core.strict import Settings, digest_of
from aigc_pipeline.metrics.command_answer import Answer, read_answer
from aigc_pipeline.metrics.command_run import CommandError, run_command
from aigc_pipeline.metrics.verdict import ALPHA
from aigc_pipeline.records import Estimate

WITHOUT, WITH = "your_command", "your_command_and_synthetic"
ANSWER_FILE = "answer.json"
_FINISHED = "finished.txt"
_PLACEHOLDERS = ("manifest", "output", "seed")
_MAX_SEED = 2**31
"""Seeds stay below: numpy and scikit-learn take 32 bits."""


class CommandArm(Settings):
    """A training of one's own that the uplift question is put to as well. See docs/how-to/own-training-command.md."""

    argv: tuple[str, ...] = Field(min_length=1)
    """Program and arguments; no shell reads them. `{manifest}`, `{output}` and `{seed}` are filled in and must all occur.
    It runs in a folder of its own, so an argument that names an existing file is made absolute."""
    timeout_minutes: float = Field(default=60.0, gt=0)
    """A single run that takes longer is stopped, and the evaluation with it."""
    num_seeds: int = Field(default=5, ge=2)
    """Paired runs: twice as many trainings."""

    @field_validator("argv")
    @classmethod
    def _names_all_placeholders(cls, argv: tuple[str, ...]) -> tuple[str, ...]:
        missing = [f"{{{name}}}" for name in _PLACEHOLDERS if not any(f"{{{name}}}" in each for each in argv)]
        if missing:
            msg = (
                f"argv lacks {', '.join(missing)}; for example [python, train.py, '{{manifest}}', '{{output}}', "
                "'{seed}'] (without the seed, repeated trainings would say nothing about chance)"
            )
            raise ValueError(msg)
        return argv

    def program(self) -> str:
        """Return the absolute path of the program.

        Raises:
            CommandError: if there is none that may be executed.
        """
        found = shutil.which(_absolute(self.argv[0]))
        if found is None:
            msg = (
                f"the command '{self.argv[0]}' is neither on PATH nor an executable file seen from {Path.cwd()}. "
                "Correct evaluate.command.argv."
            )
            raise CommandError(msg)
        return str(Path(found).absolute())

    def arguments(self, manifest: Path, output: Path, seed: int) -> list[str]:
        """Return what is executed. Other braces stay as they are.

        Raises:
            CommandError: if there is no such program.
        """
        values = {"manifest": str(manifest.absolute()), "output": str(output.absolute()), "seed": str(seed)}
        pattern = re.compile("|".join(rf"\{{{name}\}}" for name in _PLACEHOLDERS))
        rest = [pattern.sub(lambda found: values[found[0][1:-1]], _absolute(each)) for each in self.argv[1:]]
        return [self.program(), *rest]


class CommandFiles(Settings):
    """Contents of the files that a command names: a changed script is a new question."""

    sha256: tuple[str, ...] = ()
    """One hash per file, in the order of `argv`."""


def command_files(command: CommandArm | None) -> CommandFiles:
    """Return the hashes of all files that `argv` names but the program; none where there is no command."""
    argv = command.argv[1:] if command else ()
    files = [Path(each) for each in argv if Path(each).is_file()]
    return CommandFiles(sha256=tuple(content_sha256(file.read_bytes()) for file in files))


def synthetic_weight(num_real: int, num_synthetic: int, *, dose: float, loss_weight: float) -> float:
    """Return the weight of a synthetic row beside real rows of weight 1, where every row is shown equally often.

    Our own network fills a share `dose` of each batch with synthetic rows and weighs them by `loss_weight`; their share
    of its loss is d w / (1 - d + d w). With this weight they have the same share of the total weight of a table:
    w d / (1 - d) * num_real / num_synthetic. Importance weights multiply it in both.

    Args:
        num_real: real rows to train on, at least 1.
        num_synthetic: synthetic rows to train on, at least 1.
        dose: share of synthetic rows in a batch, in (0, 1).
        loss_weight: weight of a synthetic row in the loss of that batch.
    """
    return loss_weight * dose / (1 - dose) * num_real / num_synthetic


@dataclass(frozen=True)
class Targets:
    """The rows that a command is to predict: those of the test role."""

    ids: Sequence[str]
    labels: NDArray[np.int64]
    classes: Sequence[str]


@dataclass(frozen=True)
class Comparison:
    """What a command answered without and with synthetic rows; run s of one arm shares its seed with run s of the other."""

    metric: str
    values: Mapping[str, NDArray[np.float64]]
    """Per arm, `[seeds]`."""
    predicted: Mapping[str, NDArray[np.int64]]
    """Per arm, class indices on test, `[seeds, items]`; empty where the command only gave numbers."""

    def over_seeds(self) -> dict[str, Estimate]:
        """Return the metric without, with, and their paired difference, each with a 95 % t interval over seeds alone.

        `n` counts seeds. The interval leaves out what the choice of test samples adds, so it is too narrow to decide by.
        """
        without, treated = self.values[WITHOUT], self.values[WITH]
        sets = {"without": without, "with": treated, "difference": treated - without}
        return {f"command_{self.metric}/{name}": _over_seeds(values) for name, values in sets.items()}

    @property
    def sentence(self) -> str:
        """What a person should know about numbers without predictions."""
        without, treated = (self.values[name].mean() for name in (WITHOUT, WITH))
        return (
            f"Your command gave {self.metric} alone: {without:.4g} without and {treated:.4g} with synthetic samples, mean "
            f"of {len(self.values[WITH])} seeds. A verdict needs its predictions per test sample: seeds alone call 6 to "
            "21 % of useless sets helpful."
        )


@dataclass(frozen=True)
class Asked:
    """A command and what is asked of it."""

    command: CommandArm
    targets: Targets
    directory: Path
    """Gets a folder `<arm>-<number>` per run: working directory, log and answer."""
    seed_for: Callable[[int], int]
    """Number of the pair to its seed; cut to 31 bits."""
    must_predict: bool = False
    """Refuse an answer without predictions, since a verdict is to be made of them."""

    def rehearse(self, manifest: Path) -> None:
        """Do the first run without synthetic rows; `compare` does not repeat it.

        Raises:
            CommandError: if it fails or its answer cannot be used.
        """
        try:
            self._answer(WITHOUT, 0, manifest)
        except CommandError:
            self._forget()
            raise

    def compare(self, manifests: Mapping[str, Path], *, tick: Callable[[], None] = lambda: None) -> Comparison:
        """Run the command on both manifests with paired seeds.

        Runs that an earlier, killed call finished in `directory` are not repeated. After an error all are: the user may
        have changed more than the files that `argv` names.

        Args:
            manifests: `WITHOUT` and `WITH` to the manifest's file.
            tick: called after each run.

        Raises:
            CommandError: if a run fails or its answer cannot be used.
        """
        answers: dict[str, list[Answer]] = {WITHOUT: [], WITH: []}
        try:
            for number in range(self.command.num_seeds):
                for arm, done in answers.items():
                    done.append(self._answer(arm, number, manifests[arm]))
                    _check_form(self._output(arm, number), done[-1], answers[WITHOUT][0])
                    tick()
        except CommandError:
            self._forget()
            raise
        return Comparison(
            answers[WITHOUT][0].metric,
            {arm: np.array([each.value for each in done]) for arm, done in answers.items()},
            {
                arm: np.stack([each.predicted for each in done if each.predicted is not None])
                for arm, done in answers.items()
                if done[0].predicted is not None
            },
        )

    def _answer(self, arm: str, number: int, manifest: Path) -> Answer:
        """Return what one run answers."""
        output, targets = self._output(arm, number), self.targets
        arguments = self.command.arguments(manifest, output, self.seed_for(number) % _MAX_SEED)
        _run_once(self.command, arguments, manifest, output.parent)
        answer = read_answer(output, targets.ids, targets.labels, targets.classes)
        if self.must_predict and answer.predicted is None:
            msg = (
                f"the command's answer {output} has no predictions, and evaluate.decide_by is 'command'. Write "
                '{"predictions": {sample_id: class_name}}, or let the network decide.'
            )
            raise CommandError(msg)
        return answer

    def _output(self, arm: str, number: int) -> Path:
        return self.directory / f"{arm}-{number}" / ANSWER_FILE

    def _forget(self) -> None:
        """Have all runs repeated by the next call."""
        for mark in self.directory.glob(f"*/{_FINISHED}"):
            mark.unlink()


def _run_once(command: CommandArm, arguments: list[str], manifest: Path, directory: Path) -> None:
    """Run in an empty `directory`, unless the same run has finished there."""
    run = digest_of([arguments, command_files(command).sha256, content_sha256(manifest.read_bytes())])
    mark = directory / _FINISHED
    if mark.exists() and mark.read_text(encoding="utf-8") == run:
        return
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    run_command(arguments, directory, timeout_seconds=60 * command.timeout_minutes)
    write_atomically(mark, run.encode())


def _check_form(file: Path, answer: Answer, first: Answer) -> None:
    if (answer.metric, answer.predicted is None) != (first.metric, first.predicted is None):
        msg = (
            f"the command's answer {file} has {_form(answer)} where its first answer has {_form(first)}. All runs must "
            "answer alike."
        )
        raise CommandError(msg)


def _form(answer: Answer) -> str:
    return f"the number '{answer.metric}'" if answer.predicted is None else "predictions"


def _over_seeds(values: NDArray[np.float64]) -> Estimate:
    half = float(t.ppf(1 - ALPHA / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    mean = float(values.mean())
    return Estimate(value=mean, ci_low=mean - half, ci_high=mean + half, n=len(values))


def _absolute(argument: str) -> str:
    """Return an argument that names an existing file as an absolute path, any other as it is."""
    path = Path(argument)
    return str(path.absolute()) if path.is_file() else argument

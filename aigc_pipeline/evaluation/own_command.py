"""The user's own command put to the question: the trials it reads, its runs, and what they say."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from aigc_pipeline.core.context import Context
from aigc_pipeline.core.samples import ROLES
from aigc_pipeline.data.mixing import chosen_rows
from aigc_pipeline.data.shards import read_table
from aigc_pipeline.evaluation.material import Material
from aigc_pipeline.metrics.command import WITH, WITHOUT, Asked, CommandArm, Comparison, Targets, synthetic_weight
from aigc_pipeline.metrics.verdict import decide
from aigc_pipeline.publishing.trial import SyntheticRows, write_real, write_with_synthetic
from aigc_pipeline.records import Choice, Verdict


@dataclass(frozen=True)
class OwnCommand:
    """The user's command on an evaluation's rows.

    Everything lies in `command/` of the stage's directory; the trials' samples are removed when all went well.
    """

    material: Material
    asked: Asked
    without: Path
    """Manifest of the real rows alone."""
    real_rows: pa.Table
    """Its rows."""

    @classmethod
    def rehearse(cls, material: Material, command: CommandArm, *, must_predict: bool = False) -> "OwnCommand":
        """Train the command once on real rows: what fails is known before anything else is trained.

        Raises:
            CommandError: if the command fails, or answers what cannot be used.
        """
        command.program()  # a misspelt one needs no rows
        context, splits, test = material.context, material.splits, material.roles["test"]
        stored = {
            role: read_table(context.files_of(splits) / f"{role}.arrow") for role in ROLES if splits.num_samples(role)
        }
        without, rows = write_real(_trials(context) / "without", stored, classes=splits.classes, spec=splits.spec)
        asked = Asked(
            command,
            Targets(test.ids, test.labels, splits.classes),
            context.out / "command" / "runs",
            lambda number: context.seed_for("command", number),
            must_predict,
        )
        asked.rehearse(without)
        return cls(material, asked, without, rows)

    def compare(self, choice: Choice) -> Comparison:
        """Train the command without and with the rows that `choice` takes, and return its answers on test.

        Raises:
            CommandError: if the command fails, or answers what cannot be used.
        """
        context, splits = self.material.context, self.material.splits
        part = synthetic_part(self.material, choice)
        treated = write_with_synthetic(
            _trials(context) / "with", self.without, self.real_rows, part, classes=splits.classes, spec=splits.spec
        )
        runs = 2 * self.asked.command.num_seeds
        done = iter(range(1, runs + 1))
        comparison = self.asked.compare(
            {WITHOUT: self.without, WITH: treated},
            tick=lambda: context.reporter.progress("evaluate: your command", next(done), runs),
        )
        shutil.rmtree(_trials(context))
        return comparison


def _trials(context: Context) -> Path:
    return context.out / "command" / "trials"


def synthetic_part(material: Material, choice: Choice) -> SyntheticRows:
    """Return the accepted rows that the choice takes, with the weight that a command sees."""
    rows = chosen_rows(material.table, choice.mix, [material.splits.classes.index(name) for name in choice.classes])
    weight = synthetic_weight(len(material.real), len(rows), dose=choice.dose, loss_weight=choice.loss_weight)
    return SyntheticRows(material.table.take(pa.array(rows)), material.candidates.take(rows), weight)


def decide_by_command(comparison: Comparison, material: Material, choice: Choice, *, opening: int) -> Verdict:
    """Return the verdict of the user's own training; `comparison` is of one that must predict."""
    labels = material.roles["test"].labels
    without, treated = (comparison.predicted[name] == labels for name in (WITHOUT, WITH))
    return decide(
        np.asarray(without),
        np.asarray(treated),
        labels,
        baseline_name=WITHOUT,
        dose=choice.dose,
        loss_weight=choice.loss_weight,
        opening=opening,
    )

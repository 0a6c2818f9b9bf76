"""The user's own command put to the question: the trials it reads, its runs, and what they say."""

import shutil

import numpy as np
import pyarrow as pa

from aigc_pipeline.core.samples import ROLES
from aigc_pipeline.data.mixing import chosen_rows
from aigc_pipeline.data.shards import read_table
from aigc_pipeline.evaluation.material import Material
from aigc_pipeline.metrics.command import WITH, WITHOUT, CommandArm, Comparison, Targets, compare, synthetic_weight
from aigc_pipeline.metrics.verdict import decide
from aigc_pipeline.publishing.trial import SyntheticRows, write_trials
from aigc_pipeline.records import Choice, Verdict


def ask_command(material: Material, command: CommandArm, choice: Choice, *, must_predict: bool = False) -> Comparison:
    """Train the command without and with the rows that `choice` takes, and return its answers on test.

    Everything lies in `command/` of the stage's directory; the trials' samples are removed when all went well.

    Raises:
        CommandError: if the command fails, or answers what cannot be used.
    """
    context, splits = material.context, material.splits
    command.program()
    folder = context.out / "command"
    stored = {
        role: read_table(context.files_of(splits) / f"{role}.arrow") for role in ROLES if splits.num_samples(role)
    }
    trials = write_trials(
        folder / "trials", stored, synthetic_part(material, choice), classes=splits.classes, spec=splits.spec
    )
    test, runs = material.roles["test"], 2 * command.num_seeds
    done = iter(range(1, runs + 1))
    comparison = compare(
        command,
        {WITHOUT: trials.without, WITH: trials.with_synthetic},
        Targets(test.ids, test.labels, splits.classes),
        folder / "runs",
        seed_for=lambda number: context.seed_for("command", number),
        must_predict=must_predict,
        tick=lambda: context.reporter.progress("evaluate: your command", next(done), runs),
    )
    shutil.rmtree(folder / "trials")
    return comparison


def synthetic_part(material: Material, choice: Choice) -> SyntheticRows:
    """Return the accepted rows that the choice takes, with the weight that a command sees."""
    rows = chosen_rows(material.table, choice.mix, [material.splits.classes.index(name) for name in choice.classes])
    weight = synthetic_weight(len(material.real), len(rows), dose=choice.dose, loss_weight=choice.loss_weight)
    return SyntheticRows(material.table.take(pa.array(rows)), material.candidates.take(rows), weight)


def decide_by_command(comparison: Comparison, material: Material, choice: Choice, *, opening: int) -> Verdict:
    """Return the verdict of the user's own training; `comparison` was asked for with `must_predict`."""
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

"""Measure fidelity in the judge encoder, train-on-synthetic accuracy, and uplift: the verdict that publishing obeys.

The test role is read here alone: for train-on-synthetic accuracy, the learning curve, and the one comparison of the
verdict. Baseline, mix, dose, weight and classes are fixed before, on the selection role.
"""

from dataclasses import replace
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from aigc_pipeline.core.context import Context
from aigc_pipeline.core.strict import Settings
from aigc_pipeline.evaluation.likeness import (
    ask_referee,
    measure_authenticity,
    measure_classes,
    measure_fidelity,
    screen_for_copies,
)
from aigc_pipeline.evaluation.material import Material
from aigc_pipeline.evaluation.openings import next_opening, read_openings, write_openings
from aigc_pipeline.evaluation.own_command import OwnCommand, decide_by_command
from aigc_pipeline.evaluation.question import Question
from aigc_pipeline.evaluation.question import Settings as QuestionSettings
from aigc_pipeline.metrics.command import WITH, WITHOUT, CommandArm, CommandFiles
from aigc_pipeline.metrics.screening import Limits
from aigc_pipeline.metrics.uplift import Options
from aigc_pipeline.records import (
    CandidateSet,
    DatasetSplits,
    Embeddings,
    EvalReport,
    FilteredSet,
    Judge,
    ScoredSet,
)
from aigc_pipeline.scorers import JudgeState

STAGE_VERSION = 10
Dose = Annotated[float, Field(gt=0, lt=1)]
LossWeight = Annotated[float, Field(gt=0, le=1)]


class EvaluateConfig(Settings):
    """How much is trained for the verdict, and what is chosen on the selection role."""

    num_seeds: int = Field(default=5, ge=2)
    """Paired trainings of the chosen baseline, of the arm with synthetic rows, and of its control of plain copies. Baselines
    that were not chosen are trained twice."""
    total_samples: int | None = Field(default=None, ge=1)
    """Samples per downstream training; None means 60 per real sample within 20,000 .. 200,000."""
    batch_size: int = Field(default=64, ge=4)
    """Rows per optimizer step."""
    network: Literal["auto", "small", "large", "linear_probe"] = "auto"
    """The downstream model. `small` and `large` start from scratch; `auto` takes the large one on a GPU.
    `linear_probe` is a linear layer on the judge encoder's features, which must not have been trained with labels: on
    features trained with the same labels, nothing could be gained."""
    doses: tuple[Dose, ...] = Field(default=(0.1, 0.25, 0.5), min_length=1)
    """Shares of synthetic rows in a batch that selection chooses from."""
    dose: Dose = 0.25
    """The dose where selection cannot choose."""
    loss_weights: tuple[LossWeight, ...] = (0.25, 0.5, 1.0)
    """Loss weights of synthetic rows that selection chooses from."""
    loss_weight: LossWeight = 0.5
    """The loss weight where selection cannot choose, and while it chooses a dose."""
    min_selection: int = Field(default=300, ge=1)
    """Fewer selection samples than this choose nothing: defaults hold."""
    num_selection_seeds: int = Field(default=2, ge=1)
    """Trainings per option when choosing."""
    num_cas_seeds: int = Field(default=3, ge=1)
    """Trainings for train-on-synthetic and train-on-real accuracy."""
    command: CommandArm | None = None
    """Your own training, asked the same question; see docs/how-to/own-training-command.md."""
    decide_by: Literal["network", "command"] = "network"
    """Whose predictions on test the verdict rests on. Mix, dose and weight are chosen with the network in any case."""
    learning_shares: tuple[float, ...] = (0.5, 0.75)
    """Shares of the real samples that the baseline is also trained on: the learning curve that says what the synthetic
    rows are worth in real samples. Two or more; empty: not measured. Nor where the uplift is not above 0."""
    num_subsamples: int = Field(default=10, ge=2)
    """Draws without replacement for the intervals of fidelity metrics."""
    max_copy_share: float = Field(default=0.05, gt=0, lt=1)
    """Share of near copies among generated candidates that the screen tolerates (its lower 95 % bound counts)."""
    min_copying_z: float = Field(default=-3.0, lt=0)
    """Data-copying statistic under which accepted samples count as significantly nearer than unseen reals ..."""
    max_nearer_share: float = Field(default=0.75, gt=0.5, lt=1)
    """... and the probability of being nearer above which that fails the screen."""

    @model_validator(mode="after")
    def _command_decides_only_if_there(self) -> Self:
        if self.decide_by == "command" and self.command is None:
            msg = "decide_by is 'command', but there is none: set evaluate.command.argv"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _curve_has_shape(self) -> Self:
        shares = self.learning_shares
        if shares and (len(set(shares)) < 2 or min(shares) <= 0 or max(shares) >= 1):
            msg = f"learning_shares must be two or more different shares between 0 and 1, or none, not {list(shares)}"
            raise ValueError(msg)
        return self

    def question(self) -> QuestionSettings:
        """Return how downstream models are trained and compared."""
        return QuestionSettings(
            Options(self.doses, self.loss_weights, self.dose, self.loss_weight, self.num_selection_seeds),
            self.min_selection,
            self.num_seeds,
            self.num_cas_seeds,
            self.total_samples,
            self.batch_size,
            self.network,
            self.learning_shares,
        )

    def limits(self) -> Limits:
        """Return what the memorisation screen tolerates."""
        return Limits(self.max_copy_share, self.min_copying_z, self.max_nearer_share)


def evaluate(
    context: Context,
    config: EvaluateConfig,
    files: CommandFiles,
    splits: DatasetSplits,
    embeddings: Embeddings,
    judge: Judge,
    candidates: CandidateSet,
    scored: ScoredSet,
    filtered: FilteredSet,
) -> EvalReport:
    """Measure and decide; everything is in the record.

    Raises:
        CommandError: if the user's own training command fails.
    """
    del files, scored  # inputs for the fingerprint; the latter's numbers come through the filtered table
    material = Material.open(context, splits, embeddings, candidates, filtered)
    decides = config.decide_by == "command"
    own = (
        OwnCommand.rehearse(material, config.command, must_predict=decides)
        if config.command is not None and material.pools()
        else None
    )
    question = Question(material, config.question())
    unseen = JudgeState.load(context.files_of(judge) / "judge.npz").holdout_distances
    screening = screen_for_copies(material, config.limits(), unseen=unseen)
    metrics = measure_fidelity(material, config.num_subsamples) | screening.estimates
    metrics |= measure_authenticity(material) | ask_referee(material) | question.train_on_synthetic()
    test_ids = material.roles["test"].ids
    openings = read_openings(context, test_ids)
    opening = next_opening(openings, test_ids)
    answer = question.ask(opening)
    choice = answer.choice
    if own is not None and choice is not None:
        comparison = own.compare(choice)
        metrics |= comparison.over_seeds()
        answer = answer.with_command(comparison, material.roles["test"].labels, material.num_classes)
        if decides:
            verdict = decide_by_command(comparison, material, choice, opening=opening)
            answer = replace(answer, verdict=verdict, baseline=WITHOUT, treated=WITH, worth=())
        elif not comparison.predicted:
            context.reporter.note(comparison.sentence)
    for sentence in (screening.sentence, answer.verdict and answer.verdict.sentence):
        if sentence:
            context.reporter.note(sentence)
    if answer.verdict is not None:
        openings |= dict.fromkeys(test_ids, opening)
    write_openings(context.out, openings)
    context.reporter.table(
        "accuracy", [{"arm": name, "balanced accuracy": round(e.value, 4)} for name, e in answer.arms.items()]
    )
    return context.record(
        EvalReport,
        metrics=metrics,
        arms=answer.arms,
        arm_scores=answer.scores,
        choice=answer.choice,
        doses=tuple(answer.doses),
        per_class=tuple(question.describe_classes(answer)),
        class_fidelity=tuple(measure_classes(material)),
        worth=answer.worth,
        groups=question.groups(answer),
        verdict=answer.verdict,
        memorised=screening.failed,
        memorisation_z=screening.z,
        judge_encoder=embeddings.judge_encoder,
        test_digest=splits.test_digest,
    )

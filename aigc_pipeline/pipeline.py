"""The stages in order: the table of contents of the project. Data travels one way, and this is the only place that says so.

Who runs a stage (a terminal, a Prefect flow, a test) passes in a `Runner`; what a stage answers is reused by
fingerprint = its settings + the fingerprints of its inputs + its STAGE_VERSION + the root seed.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Concatenate, Generic, ParamSpec, Protocol, TypeVar, get_type_hints

from aigc_pipeline.config import PipelineConfig, to_yaml
from aigc_pipeline.core.context import Context
from aigc_pipeline.core.records import Record
from aigc_pipeline.core.reporting import Scalar
from aigc_pipeline.core.strict import Settings, digest_of
from aigc_pipeline.evaluation.effort import expected_effort
from aigc_pipeline.metrics.command import command_files
from aigc_pipeline.publishing.versions import point_latest
from aigc_pipeline.records import (
    CandidateSet,
    Checkpoint,
    CleanDataset,
    DatasetSplits,
    Embeddings,
    FilteredSet,
    Judge,
    Manifest,
    RawDataset,
    ScoredSet,
    SynthesisPlan,
)
from aigc_pipeline.stages.calibrate import calibrate
from aigc_pipeline.stages.clean import clean
from aigc_pipeline.stages.embed import embed, minutes_at_most
from aigc_pipeline.stages.evaluate import evaluate
from aigc_pipeline.stages.filter import filter_candidates
from aigc_pipeline.stages.ingest import ingest, list_source
from aigc_pipeline.stages.plan import plan
from aigc_pipeline.stages.publish import publish
from aigc_pipeline.stages.score import score
from aigc_pipeline.stages.split import split
from aigc_pipeline.stages.synthesize import synthesize
from aigc_pipeline.stages.train import train
from aigc_pipeline.tracking import tracked

P = ParamSpec("P")
R = TypeVar("R", bound=Record)
R_co = TypeVar("R_co", bound=Record, covariant=True)


class Runner(Protocol):
    """How to call a stage: directly, as a Prefect task, under a profiler."""

    def __call__(self, stage: "BoundStage[P, R]", /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Return `stage(*args)`, or what the store already has for it."""
        ...


def run_pipeline(config: PipelineConfig, *, context: Context, call: Runner | None = None) -> Manifest:
    """Run or resume all stages and return what was published, or why nothing was."""
    run = StageCaller.of(config, context, call)
    done = _judge(config, run)
    report = run(
        evaluate, config.evaluate, command_files(config.evaluate.command), done.splits, done.embeddings, done.judge,
        done.candidates, done.scored, done.filtered,
    )  # fmt: skip
    manifest = run(
        publish, config.publish, done.raw, done.cleaned, done.splits, done.planned, done.embeddings, done.checkpoint,
        done.judge, done.candidates, done.filtered, report,
    )  # fmt: skip
    if manifest.directory is not None:  # a source that went back to what it was finds its old version, not the last one
        point_latest(context.store.workspace / "versions", context.store.workspace / manifest.directory)
    return manifest


def judge_pipeline(config: PipelineConfig, *, context: Context, call: Runner | None = None) -> "Judged":
    """Run up to the gates: every candidate has its numbers and its verdict, nothing is evaluated or published."""
    return _judge(config, StageCaller.of(config, context, call))


def plan_pipeline(config: PipelineConfig, *, context: Context, call: Runner | None = None) -> SynthesisPlan:
    """Run up to the plan: what would be synthesized, at what cost. Nothing is trained but short probes of the speed."""
    _, _, splits, planned = _prepare(config, StageCaller.of(config, context, call))
    effort = expected_effort(context, config.evaluate.question(), splits, planned)
    minutes = {
        "encoder, at most": minutes_at_most(context, config.embed, splits),
        "generator": planned.minutes,
        "candidates": planned.minutes_to_draw,
        "evaluation, at most": effort.minutes,
    }
    minutes["together, without judging"] = sum(minutes.values())
    context.reporter.table("minutes to expect", [{name: round(each, 2) for name, each in minutes.items()}])
    row: dict[str, Scalar] = {"trainings at most": effort.num_trainings}
    if (command := config.evaluate.command) is not None:
        row["runs of your command besides"] = 2 * command.num_seeds
    context.reporter.table("evaluation to expect", [row])
    return planned


@dataclass(frozen=True)
class Judged:
    """The records up to the gates."""

    raw: RawDataset
    cleaned: CleanDataset
    splits: DatasetSplits
    planned: SynthesisPlan
    embeddings: Embeddings
    checkpoint: Checkpoint
    judge: Judge
    candidates: CandidateSet
    scored: ScoredSet
    filtered: FilteredSet


def _judge(config: PipelineConfig, run: "StageCaller") -> Judged:
    raw, cleaned, splits, planned = _prepare(config, run)
    embeddings = run(embed, config.embed, splits)
    checkpoint = run(train, config.train, planned, splits, embeddings)
    judge = run(calibrate, config.calibrate, config.filter, planned, splits, embeddings, checkpoint)
    candidates = run(synthesize, config.synthesize, planned, splits, checkpoint, judge)
    scored = run(score, config.score, planned, splits, embeddings, checkpoint, judge, candidates)
    filtered = run(filter_candidates, config.filter, planned, judge, scored)
    return Judged(raw, cleaned, splits, planned, embeddings, checkpoint, judge, candidates, scored, filtered)


def _prepare(
    config: PipelineConfig, run: "StageCaller"
) -> tuple[RawDataset, CleanDataset, DatasetSplits, SynthesisPlan]:
    if config.evaluate.command is not None:
        config.evaluate.command.program()  # evaluate would learn only after the training that there is none
    raw = run(ingest, config.ingest, list_source(config.ingest))
    cleaned = run(clean, config.clean, raw)
    splits = run(split, config.split, raw, cleaned)
    config.filter.refuse_unknown_classes(splits.classes)  # calibrate would learn it only after the training
    return raw, cleaned, splits, run(plan, config.plan, config.train.recipe(), splits)


@dataclass(frozen=True)
class BoundStage(Generic[P, R_co]):
    """A stage with its context: calling it answers from the store or computes and commits."""

    function: Callable[Concatenate[Context, P], R_co]
    context: Context

    @property
    def name(self) -> str:
        """The stage's module name: `train`, `filter`, ..."""
        return self.function.__module__.rpartition(".")[2]

    def find(self, *args: P.args, **kwargs: P.kwargs) -> R_co | None:
        """Return the finished record, or None where the stage has yet to run, or would now be served by a later fit."""
        assert not kwargs, "stages take positional inputs"
        fingerprint = self._fingerprint(*args)
        found = self.context.store.find(self.name, fingerprint, self._record_type())
        is_superseded = getattr(sys.modules[self.function.__module__], "is_superseded", None)
        if found is None or is_superseded is None:
            return found
        context = self.context.for_stage(self.name, self._version(), fingerprint, self.context.out)
        return None if is_superseded(context, found, *args) else found

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Return the finished record, computing it first where needed."""
        reporter = self.context.reporter
        if (found := self.find(*args, **kwargs)) is not None:
            reporter.stage(self.name, "reused", 0.0)
            return found
        started = time.monotonic()
        reporter.stage(self.name, "started", 0.0)
        fingerprint = self._fingerprint(*args)
        with self.context.store.open_partial(self.name, fingerprint) as partial:
            if (found := self.find(*args, **kwargs)) is not None:  # another run finished it while we waited
                return found
            record = self.function(
                self.context.for_stage(self.name, self._version(), fingerprint, partial), *args, **kwargs
            )
            self.context.store.commit(self.name, fingerprint, record)
        reporter.stage(self.name, "finished", time.monotonic() - started)
        return record

    def _record_type(self) -> type[R_co]:
        record_type: type[R_co] = get_type_hints(self.function)["return"]
        return record_type

    def _version(self) -> int:
        version: int = sys.modules[self.function.__module__].STAGE_VERSION
        return version

    def _fingerprint(self, *inputs: object) -> str:
        return digest_of([self.name, self._version(), self.context.seed, [_identity(each) for each in inputs]])


def _identity(value: object) -> str:
    if isinstance(value, Record):
        return value.fingerprint
    if isinstance(value, Settings):
        return value.digest()
    msg = f"a stage input must be settings or a record, not {type(value).__name__}"
    raise TypeError(msg)


@dataclass(frozen=True)
class StageCaller:
    """Binds stages to one context and hands them to the runner."""

    context: Context
    call: Runner

    @classmethod
    def of(cls, config: PipelineConfig, context: Context, call: Runner | None) -> "StageCaller":
        """Bind to a context that also knows the resolved settings, for the record, and keeps curves."""
        reporter = tracked(context.reporter, config.runtime.tracking, context.store.workspace)
        return cls(replace(context, config_yaml=to_yaml(config), reporter=reporter), call or call_directly)

    def __call__(self, stage: Callable[Concatenate[Context, P], R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run one stage; the type checker refuses records in a wrong order."""
        bound: BoundStage[P, R] = BoundStage(stage, self.context)
        return self.call(bound, *args, **kwargs)


def call_directly(stage: BoundStage[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """The simplest runner."""
    return stage(*args, **kwargs)

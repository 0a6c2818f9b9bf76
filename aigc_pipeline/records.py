"""What travels from stage to stage. Each record checks its own invariant, so a wrong count cannot be handed on."""

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from aigc_pipeline.core.records import Record
from aigc_pipeline.core.samples import ROLES, Mix, Role
from aigc_pipeline.modalities import AnySpec

Counts = dict[str, int]
CLASS = "class"
"""What a group outcome calls the class beside metadata columns."""


def _conserved(num_in: int, num_kept: int, rejected: Counts, what: str) -> None:
    if num_in != num_kept + sum(rejected.values()):
        msg = f"{what}: {num_in} in, {num_kept} kept and {sum(rejected.values())} rejected do not add up"
        raise ValueError(msg)


class SourceListing(Record):
    """What the source offers right now, by name, size and time: cheap to take, enough to see that something changed."""

    modality: str
    num_listed: int
    uri: str


class RawDataset(Record):
    """Every listed sample: its content by hash where it could be read, a ledger row in any case."""

    modality: str
    source: str
    source_settings: str = ""
    """Digest of the settings that it was listed and read with."""
    classes: tuple[str, ...]
    num_listed: int
    num_samples: int
    num_bytes: int
    quarantined: Counts

    @model_validator(mode="after")
    def _check(self) -> Self:
        _conserved(self.num_listed, self.num_samples, self.quarantined, "ingest")
        return self


class CleanDataset(Record):
    """The samples that survived cleaning, with their duplicate clusters."""

    modality: str
    classes: tuple[str, ...]
    num_in: int
    num_kept: int
    rejected: Counts
    num_clusters: int

    @model_validator(mode="after")
    def _check(self) -> Self:
        _conserved(self.num_in, self.num_kept, self.rejected, "clean")
        return self


class DatasetSplits(Record):
    """Cells of the four disjoint roles under one spec. `class_counts[role][k]` counts class `classes[k]`."""

    spec: AnySpec
    classes: tuple[str, ...]
    class_counts: dict[Role, tuple[int, ...]]
    num_in: int
    rejected: Counts
    test_digest: str
    """sha256 over the sorted ids of the test samples."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        _conserved(self.num_in, sum(self.num_samples(role) for role in ROLES), self.rejected, "split")
        return self

    def num_samples(self, role: Role) -> int:
        """Return how many samples a role has."""
        return sum(self.class_counts[role])


class Arrivals(BaseModel):
    """Samples of any role that the run before did not have, beside those it had, in the encoder's feature space."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_samples: int
    num_unlike: int
    """Farther from the training samples of their class than 95 % of unseen ones are; about 5 % by chance."""
    unlike: tuple[str, ...]
    """Their ids."""
    warning: str | None
    """Set where more are unlike than chance explains."""


class Embeddings(Record):
    """The fitted encoder (also the label referee), the independent judge encoder, and a feature row per real sample."""

    encoder: str
    encoder_sha256: str
    judge_encoder: str
    judge_encoder_sha256: str
    num_features: int
    referee_accuracy: float | None = Field(ge=0.0, le=1.0)
    """Accuracy of the referee on selection samples; None where the encoder has no class head."""
    trained_on: int
    refitted: bool
    """False where an earlier encoder still serves because the dataset has hardly changed."""
    arrivals: Arrivals | None = None
    """None where no sample came, or where no run before had the same encoder, spec and classes."""


class ClassPlan(BaseModel):
    """What is planned for one class."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    class_name: str
    have: int = Field(ge=0)
    want: int = Field(ge=0)
    method: Literal["generate", "vary", "nothing"]
    expectation: str
    """One sentence: what to expect and why."""

    @property
    def origin(self) -> str:
        """Origin of the samples that the method makes."""
        return "generated" if self.method == "generate" else "classic"


class SynthesisPlan(Record):
    """How much is wanted per class, by which method, and what it will cost."""

    classes: tuple[ClassPlan, ...]
    total_samples: int = Field(ge=0)
    """Real samples that training will show: the unit of its time."""
    validate_share: float = Field(default=0.05, ge=0, le=1)
    """Every such share of it, samples are compared with the selection split; more seldom than asked for where time is short."""
    samples_per_second: float = Field(ge=0)
    minutes: float = Field(ge=0)
    """Of training."""
    minutes_to_draw: float = Field(default=0.0, ge=0)
    """Of the candidates that the trained generator makes, if one in four is accepted."""
    num_bytes: int = Field(ge=0)
    """Disk space to expect, candidates and published version together."""
    with_classic: bool = False
    """Also make varied real samples of generated classes, so that selection can choose between them."""

    def want(self) -> dict[str, int]:
        """Return the wanted number per class name."""
        return {each.class_name: each.want for each in self.classes}


class Condition(BaseModel):
    """What a generator is told about a sample, beside or instead of its class; a row of its networks' tables."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    class_counts: tuple[int, ...]
    """Training samples that it stands for, by label."""
    attributes: dict[str, str]
    """Values by name; empty where none is told."""


class Checkpoint(Record):
    """A trained generator: weights as safetensors, settings as JSON."""

    family: str
    spec: AnySpec
    classes: tuple[str, ...]
    samples_seen: int
    """When training ended."""
    best_samples_seen: int = 0
    """When these weights were current: validation chose them."""
    seconds: float = 0.0
    """What the last process took; one that resumed does not count those before it."""
    events: tuple[str, ...] = ()
    """What went wrong in training and how it was answered."""
    num_threads: int
    weights_sha256: str
    trained_on: int
    condition_on: tuple[str, ...] = ("class",)
    conditions: tuple[Condition, ...] = ()
    """In the order of the networks' tables; empty where those count classes."""
    retrained: bool
    """False where an earlier checkpoint still serves because the dataset has hardly changed."""

    def is_complete(self, workspace: Path) -> bool:
        """Tell whether the folder that holds the weights is still there; it may be an earlier run's."""
        return (workspace / self.path).is_dir()


class TradePoint(BaseModel):
    """What a budget buys and costs, measured on the pilot at equal numbers, in the filter's own encoder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    keep_share: float
    """Budget K of rejection sampling; 1 keeps whatever the other gates let pass."""
    precision: float
    recall: float
    density: float
    coverage: float
    min_class_share: float
    """Mean acceptance of the class that keeps least, over the mean of all; 1 where every class meets the same budget.
    Classes with a budget of their own are left out."""


class Judge(Record):
    """Everything a verdict on a candidate depends on, fitted and frozen; and how good the critic is on unseen data."""

    critic_mode: Literal["calibration", "crossfit", "none"]
    healthy: bool
    complaints: tuple[str, ...]
    """Why the critic may not filter by probability; empty when healthy."""
    filters_by_probability: bool = False
    """Whether it does: it is healthy, was proven on unseen reals, and tells generated from real."""
    num_proof: int | None = None
    """Unseen reals that it was proven on: those of the selection role whose classes it judges. None without a critic."""
    calibrator: str = "platt"
    ece: float | None
    excess_ece: float | None = None
    """ECE beyond what a perfect calibrator would show on average at this n; at most about 0.02 when calibrated."""
    brier: float | None
    auc: float | None
    z: float | None
    """Turner's Z-statistic: within about +-2 when calibrated."""
    mean_ratio: float | None
    """Mean density ratio over fresh fakes before normalization: 1 for a calibrated ratio with full coverage."""
    effective_share: float | None
    """Effective sample size of the ratio, as a share of the fakes."""
    reliability: tuple[tuple[float, float, int], ...]
    """Reliability curve on unseen data: mean `p_real`, observed share of reals, number of samples, per bin."""
    temperature: float
    """Softmax temperature of the label referee."""
    copy_threshold: float
    """Distance under which a candidate counts as a copy of a training sample."""
    acceptance: dict[str, float]
    """Share of pilot candidates that passed every gate but the quota, per class."""
    classic_acceptance: dict[str, float] = Field(default_factory=dict)
    """The same for varied real samples of generated classes, where the plan wants both."""
    trade: tuple[TradePoint, ...] = ()
    """Precision against recall and coverage over budgets; empty where nothing was filtered by probability."""
    keep_share: float | None = None
    """The budget that was frozen; None without rejection sampling."""
    relaxed_from: float | None = None
    """The configured budget, where it only trimmed diversity and was raised."""
    state_sha256: str


class CandidateSet(Record):
    """Synthetic samples before any gate, one distinct seed each."""

    num_samples: int
    class_counts: Counts
    checkpoint_sha256: str


class ScoredSet(Record):
    """Candidates with their numbers: one column per scorer output."""

    num_samples: int
    columns: tuple[str, ...]
    ranges: dict[str, tuple[float, float]]


class FilteredSet(Record):
    """Candidates with their verdict: accepted, or the first gate that refused them."""

    num_in: int
    num_kept: int
    rejected: Counts
    kept_by_class: Counts
    shortfall: Counts
    """Wanted minus accepted, per class; only classes that fell short."""
    filtered_by_probability: bool

    @model_validator(mode="after")
    def _check(self) -> Self:
        _conserved(self.num_in, self.num_kept, self.rejected, "filter")
        return self


class Estimate(BaseModel):
    """A number with its interval. `ci_low` and `ci_high` are None where no interval is defined for it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float
    ci_low: float | None = None
    ci_high: float | None = None
    n: int


Outcome = Literal["helps", "harms", "does_not_help", "not_enough_evidence"]


class Verdict(BaseModel):
    """Does adding the accepted samples help a downstream model, beyond the best baseline without synthesis?"""

    model_config = ConfigDict(frozen=True, extra="forbid")

    outcome: Outcome
    sentence: str
    baseline: str
    """The arm that was fixed before the test set was read."""
    uplift: Estimate
    """Balanced accuracy, chosen baseline + synthetic minus chosen baseline, in [-1, 1]."""
    standard_error: float
    smallest_detectable: float
    """The effect that this test would have found four times out of five."""
    alpha: float
    test_opening: int
    """The number of this question to the test set: at least 1, and above that of any earlier one that shares samples."""
    dose: float
    """Share of synthetic rows in a training batch."""
    loss_weight: float


class Choice(BaseModel):
    """What selection chose before the test set was read: the baseline, and which synthetic rows are added to it how."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    baseline: str
    mix: Mix
    dose: float
    """Share of synthetic rows in a training batch."""
    loss_weight: float
    classes: tuple[str, ...]
    """Classes whose synthetic rows are used; the others lost recall on selection and get none."""
    on_selection: bool
    """False where selection is too small to choose: the defaults hold."""


class DosePoint(BaseModel):
    """One option that was tried on selection."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mix: Mix
    dose: float
    loss_weight: float
    uplift: Estimate
    """Balanced accuracy on selection minus that of the chosen baseline; the interval covers seeds and items."""


class LearningPoint(BaseModel):
    """The chosen baseline, trained on a share of the real samples."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_real: int
    accuracy: Estimate
    """Balanced accuracy, or one class's recall, on test."""


class Worth(BaseModel):
    """How many more real samples would do what the synthetic ones did: the learning curve, turned around."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    class_name: str | None
    """None for the whole set."""
    real_samples: Estimate | None
    """None where nothing is measurable; `sentence` says why."""
    sentence: str
    curve: tuple[LearningPoint, ...]


class GroupOutcome(BaseModel):
    """How one group fared: its share of accepted candidates, and recall on its test samples."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    attribute: str
    """`class`, or a metadata column of the source."""
    group: str
    candidates: int
    accepted: int
    test_samples: int
    recall_baseline: float | None
    recall_with_synthetic: float | None
    warning: str | None
    """Set where the filter starves the group or its recall falls."""

    @property
    def is_class(self) -> bool:
        """Tell whether the group is a class, and not what a metadata column says."""
        return self.attribute == CLASS


class EvalReport(Record):
    """Everything measured: fidelity in the judge encoder, train-on-synthetic accuracy, uplift and the verdict."""

    metrics: dict[str, Estimate]
    """Keys are `<what>/<which set>`, e.g. `frechet_distance/after`."""
    arms: dict[str, Estimate]
    """Balanced accuracy on test per arm."""
    arm_scores: dict[str, dict[str, float]] = Field(default_factory=dict)
    """Accuracy, macro precision, macro recall and macro F1 on test per arm, in [0, 1]."""
    choice: Choice | None = None
    """None where nothing was accepted."""
    doses: tuple[DosePoint, ...] = ()
    """What was tried on selection, in order."""
    per_class: tuple[dict[str, str | int | float | None], ...]
    class_fidelity: tuple[dict[str, str | int | float | None], ...] = ()
    """Fidelity in the judge encoder per class and set (before, after, real)."""
    worth: tuple[Worth, ...] = ()
    """The whole set first, then per class; empty where not measured."""
    groups: tuple[GroupOutcome, ...] = ()
    verdict: Verdict | None
    """None where nothing was accepted, so that there was nothing to test."""
    memorised: bool
    """True when the set-level memorisation screen failed."""
    memorisation_z: float | None
    judge_encoder: str
    test_digest: str
    test_openings: dict[str, int] = Field(default_factory=dict)
    """Questions by `test_digest`, in reports from before stage version 4; newer ones have `openings.arrow` beside them."""


class Manifest(Record):
    """A published version, or the reason why none was published."""

    version: str | None
    directory: str | None
    """Version directory relative to the workspace; None when nothing was published."""
    table_sha256: str | None
    num_real: int
    num_synthetic: int
    num_recommended: int
    reason: str
    """Why this was published as it is, or why not."""
    sentence: str
    """The verdict in one sentence."""

    def is_complete(self, workspace: Path) -> bool:
        """Tell whether the version is still there: a removed one is published again."""
        return self.directory is None or (workspace / self.directory).is_dir()

"""Everything that an evaluation reads, opened once: real roles, candidates, their judge features and their fate."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aigc_pipeline.core.context import Context
from aigc_pipeline.core.samples import HELD_BACK, ROLES, Mix, Role
from aigc_pipeline.data.loader import Attributes, LabelledCells, attributes_of, concatenate, from_table, load_cells
from aigc_pipeline.data.mixing import chosen_rows, mixes
from aigc_pipeline.data.shards import read_shards, read_table
from aigc_pipeline.features import FittedEncoder
from aigc_pipeline.features.stored import LabelledFeatures, read_features
from aigc_pipeline.loading import open_encoder
from aigc_pipeline.metrics.uplift import Pool
from aigc_pipeline.records import CandidateSet, DatasetSplits, Embeddings, FilteredSet

QUOTA = "class_quota"
_BALANCED_RATIO = 1.05
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Material:
    """The data of one evaluation."""

    context: Context
    splits: DatasetSplits
    roles: Mapping[Role, LabelledCells]
    attributes: Mapping[Role, list[Attributes]]
    judge_features: Mapping[Role, NDArray[np.float32]]
    table: pa.Table
    """`filtered.arrow`, in the order of `candidates`."""
    candidates: LabelledCells
    candidate_features: NDArray[np.float32]
    encoder: FittedEncoder
    judge_encoder: FittedEncoder

    @classmethod
    def open(
        cls,
        context: Context,
        splits: DatasetSplits,
        embeddings: Embeddings,
        candidates: CandidateSet,
        filtered: FilteredSet,
    ) -> "Material":
        """Read everything."""
        roles: dict[Role, LabelledCells] = {}
        attributes: dict[Role, list[Attributes]] = {}
        features: dict[Role, NDArray[np.float32]] = {}
        for role in ROLES:
            if splits.num_samples(role):
                file = context.files_of(splits) / f"{role}.arrow"
                roles[role], attributes[role] = load_cells(file), attributes_of(read_table(file))
                features[role] = read_features(context.files_of(embeddings), role, space="judge_feature").features
        cells = (
            from_table(read_shards(context.files_of(candidates), "candidates"))
            if candidates.num_samples
            else _none_of(roles["train"])
        )
        encoder, judge = (open_encoder(context, splits, embeddings, name) for name in ("encoder", "judge"))
        table = read_table(context.files_of(filtered) / "filtered.arrow")
        return cls(
            context, splits, roles, attributes, features, table, cells, judge.encode(cells.cells), encoder, judge
        )

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.splits.classes)

    @property
    def good(self) -> Flags:
        """Those of `own_method` that passed every gate but the quota."""
        reasons = self.table["reject_reason"].to_pylist()
        passed = np.array([reason is None or reason == QUOTA for reason in reasons], bool)
        return np.asarray(self.own_method & passed)

    @property
    def own_method(self) -> Flags:
        """Candidates by the plan's method for their class: not the varied ones beside generated ones.

        Nor those made from held-back samples: a comparison with these would flatter them.
        """
        generated = self.is_generated
        with_generated = np.unique(self.candidates.labels[generated])
        is_own = generated | ~np.isin(self.candidates.labels, with_generated)
        return np.asarray(is_own & ~self.is_made_from(*HELD_BACK))

    @property
    def is_generated(self) -> Flags:
        """Candidates that a generator made."""
        return np.array([origin == "generated" for origin in self.table["origin"].to_pylist()], bool)

    @property
    def is_parentless(self) -> Flags:
        """Generated candidates that declare no parent: those that may secretly be copies."""
        return np.asarray(
            self.is_generated & ~np.array([bool(ids) for ids in self.table["parent_ids"].to_pylist()], bool)
        )

    def is_made_from(self, *roles: Role) -> Flags:
        """Return which candidates have a parent in some roles."""
        ids = {sample_id for role in roles if role in self.roles for sample_id in self.roles[role].ids}
        return np.array([not ids.isdisjoint(parents) for parents in self.table["parent_ids"].to_pylist()], bool)

    @property
    def real(self) -> LabelledCells:
        """All real samples but the test role's."""
        return self.all_but("test")

    @property
    def real_attributes(self) -> list[Attributes]:
        """The attributes of `real`."""
        return [each for role, own in self.attributes.items() if role != "test" for each in own]

    def all_but(self, *left_out: Role) -> LabelledCells:
        """Return the real samples of the other roles, which may be none."""
        train = self.roles["train"]
        return concatenate(_none_of(train), *(part for role, part in self.roles.items() if role not in left_out))

    def unseen(self) -> LabelledFeatures:
        """Return judge features of the reals that neither generator nor encoder saw; small datasets hold none back."""
        held = [role for role in HELD_BACK if role in self.roles]
        return LabelledFeatures(
            np.concatenate([self.judge_features["train"][:0], *(self.judge_features[role] for role in held)]),
            np.concatenate([self.roles["train"].labels[:0], *(self.roles[role].labels for role in held)]),
        )

    def features_of(self, rows: Flags) -> LabelledFeatures:
        """Return judge features of some candidates."""
        return LabelledFeatures(self.candidate_features[rows], self.candidates.labels[rows])

    def pools(self, *compared: Role) -> dict[Mix, Pool]:
        """Return the accepted rows of every mix that there is; the plan's own comes first.

        Args:
            compared: roles that a training is compared on: it must see no sample made from them.
        """
        accepted = np.flatnonzero(self.table["accepted"].to_numpy(zero_copy_only=False))
        if not len(accepted):
            return {}
        table = self.table.take(pa.array(accepted))
        seen = np.flatnonzero(~self.is_made_from(*compared))
        rows = {mix: np.intersect1d(chosen_rows(self.table, mix), seen) for mix in mixes(table)}
        weights = self.table["importance_weight"].to_numpy()
        return {mix: Pool(self.candidates.take(index), weights[index]) for mix, index in rows.items() if len(index)}

    def is_balanced(self, samples: LabelledCells) -> bool:
        """Say whether all classes are equally large in these samples."""
        return is_balanced(samples.class_counts(self.num_classes).tolist())


def is_balanced(counts: Sequence[int]) -> bool:
    """Say whether all classes are equally large, give or take 5 %."""
    return max(counts) <= _BALANCED_RATIO * max(min(counts), 1)


def _none_of(samples: LabelledCells) -> LabelledCells:
    """Return no sample, of the same cell type."""
    return samples.take(np.zeros(0, np.int64))

"""Fresh fakes and unseen reals on the scoring bench: what a judge is fitted, proven and frozen on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aigc_pipeline.core.context import Context
from aigc_pipeline.data.loader import LabelledCells
from aigc_pipeline.gates import Gate, apply_gates
from aigc_pipeline.generators.synthesis import Order, Synthesizer
from aigc_pipeline.records import DatasetSplits, SynthesisPlan
from aigc_pipeline.scorers import Bench, JudgeState, ScoringBatch, add_set_columns, score_batch

_FAKES_PER_REAL = 2
_MIN_FAKES = 30
_CLASSIC_PILOT_PART = 4
_MIN_BESIDE = 20


@dataclass(frozen=True)
class Pilot:
    """Fresh fakes in the order they were made, and their cells."""

    batch: ScoringBatch
    cells: pa.Array


@dataclass(frozen=True)
class Pilots:
    """Draws fresh fakes, and puts fakes and reals on the bench. Seeds share nothing with those of published candidates."""

    context: Context
    splits: DatasetSplits
    synthesizer: Synthesizer
    bench: Bench
    per_class: int
    """Fakes of a class in the pilot."""

    def fresh(self, purpose: str) -> Pilot:
        """Return as many fakes of every class as the settings say."""
        return self.fakes(dict.fromkeys(range(len(self.splits.classes)), self.per_class), purpose)

    def as_many_as(self, reals: LabelledCells, purpose: str) -> Pilot:
        """Return twice as many fakes of each class as there are reals, at least 30.

        A family that needs parents gets these reals: from training samples, which the encoder knows, the critic would learn
        to tell what the encoder knows.
        """
        counts = reals.class_counts(len(self.splits.classes))
        wanted = {k: max(_FAKES_PER_REAL * int(n), _MIN_FAKES) for k, n in enumerate(counts) if n}
        if not self.synthesizer.generator.uses_parents:
            return self.fakes(wanted, purpose)
        source = replace(self.synthesizer, train=reals, held_back=None)
        return self._made(source.orders(wanted, purpose, root=self.context.seed_for("fakes")), purpose, source)

    def fakes(self, counts: Mapping[int, int], purpose: str) -> Pilot:
        """Return `counts[k]` fresh fakes of class k."""
        return self._made(self.synthesizer.orders(counts, purpose, root=self.context.seed_for("fakes")), purpose)

    def with_parents(self) -> Pilot | None:
        """Return fakes of the classes whose candidates are made from real samples, out of the same ones.

        None without such classes, or where nothing is held back: then `fresh` makes the same.

        Nothing may be fitted on them: they tell how many candidates will pass.
        """
        labels = self.synthesizer.varied_labels
        if self.synthesizer.generator.uses_parents:
            labels = frozenset(range(len(self.splits.classes)))
        if not labels or not self.synthesizer.held_back:
            return None
        counts, root = dict.fromkeys(labels, self.per_class), self.context.seed_for("fakes")
        return self._made(self.synthesizer.orders(counts, "parents", root=root, from_held_back=True), "parents")

    def beside(self, planned: SynthesisPlan) -> Pilot:
        """Return a smaller pilot of varied real samples of the generated classes, for the same purpose."""
        number = max(self.per_class // _CLASSIC_PILOT_PART, _MIN_BESIDE)
        generated = [label for label, each in enumerate(planned.classes) if each.method == "generate"]
        root = self.context.seed_for("fakes")
        counts = dict.fromkeys(generated, number)
        return self._made(
            self.synthesizer.orders(counts, "beside", root=root, varied_only=True, from_held_back=True), "beside"
        )

    def reals(self, reals: LabelledCells) -> ScoringBatch:
        """Put real samples on the bench."""
        return self.bench.prepare(
            reals.cells,
            labels=reals.labels,
            parents=np.full(len(reals), -1, np.int64),
            is_classic=np.zeros(len(reals), bool),
            ids=reals.ids,
            run_seed=self.context.seed,
        )

    def passes(self, state: JudgeState, pilot: Pilot, gates: Sequence[Gate]) -> NDArray[np.bool_]:
        """Tell which of a pilot pass all gates."""
        batch = pilot.batch
        parents = [[str(row)] if row >= 0 else [] for row in batch.parents]
        known = {"label": pa.array(batch.labels), "parent_ids": pa.array(parents, pa.list_(pa.string()))}
        table = pa.table(known | score_batch(batch, state, self.bench.reference))
        reasons = apply_gates(gates, add_set_columns(table, pilot.cells, self.splits.spec, state))
        return np.array([reason is None for reason in reasons], bool)

    def _made(self, orders: Sequence[Order], purpose: str, source: Synthesizer | None = None) -> Pilot:
        cells, _ = (source or self.synthesizer).make(orders)
        batch = self.bench.prepare(
            cells,
            labels=np.array([order.label for order in orders], np.int64),
            parents=np.array([-1 if source else order.parent for order in orders], np.int64),
            is_classic=np.array([order.origin == "classic" for order in orders]),
            ids=[f"{purpose}-{i}" for i in range(len(orders))],
            run_seed=self.context.seed,
        )
        return Pilot(batch, cells)

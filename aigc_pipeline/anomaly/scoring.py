"""A user's own files, held against a finished run: one row per file, the most unlike first, the unreadable last."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
from scipy.special import softmax

from aigc_pipeline.anomaly.files import UserFile, list_files
from aigc_pipeline.anomaly.finished import FinishedRun
from aigc_pipeline.anomaly.unlikeness import Scale, Signs, read_signs
from aigc_pipeline.core.errors import DataError
from aigc_pipeline.core.samples import HELD_BACK, ROLES, Role, content_sha256, sample_id_of
from aigc_pipeline.core.tables import Column, build_table
from aigc_pipeline.data.loader import LabelledCells, concatenate, load_cells
from aigc_pipeline.data.shards import read_table
from aigc_pipeline.loading import open_bench, open_synthesizer
from aigc_pipeline.modalities import MODALITIES, Reject
from aigc_pipeline.scorers import Bench, JudgeState
from aigc_pipeline.scorers.critic import Critic
from aigc_pipeline.scorers.in_distribution import conformal_p

ANOMALIES: tuple[Column, ...] = (
    Column("rank", pa.int64(), "1 is the most unlike; null where the file could not be read.", nullable=True),
    Column("file", pa.string(), "Path below the folder."),
    Column("unlikeness", pa.float64(), "Sum of three signs, in standard deviations of unseen reals.", nullable=True),
    Column("unlike_p", pa.float64(), "Conformal p-value: share of unseen reals that are as unlike.", nullable=True),
    Column("class_given", pa.string(), "Its folder, where that is a class of the run.", nullable=True),
    Column("class_predicted", pa.string(), "The referee's first choice; null without a referee.", nullable=True),
    Column("predicted_probability", pa.float64(), "The referee's probability for it, in [0, 1].", nullable=True),
    Column("knn_distance", pa.float64(), "Distance to the 5th nearest training sample in the encoder.", nullable=True),
    Column("ood_p", pa.float64(), "Conformal p-value of `knn_distance`, as the gate reads it.", nullable=True),
    Column("train_distance", pa.float64(), "Distance to the nearest training sample over shifts.", nullable=True),
    Column("near_copy", pa.bool_(), "Is `train_distance` at or under the run's copy threshold?", nullable=True),
    Column("nearest_train_id", pa.string(), "The training sample at `train_distance`.", nullable=True),
    Column("nearest_train_uri", pa.string(), "Its source file.", nullable=True),
    Column(
        "p_real", pa.float64(), "The critic's probability of real against generated, given the class.", nullable=True
    ),
    Column("real_percentile", pa.float64(), "Share of unseen reals that look no more real to it.", nullable=True),
    Column("known_role", pa.string(), "Role of identical content in the run: no longer unseen.", nullable=True),
    Column("problem", pa.string(), "Why it could not be read.", nullable=True),
)
_CHUNK = 256
_MIN_HOLDOUT = 20
_MAX_HOLDOUT = 500  # p-values reach 1/501; more would only make the start slower


@dataclass(frozen=True)
class Examiner:
    """A finished run, opened."""

    run: FinishedRun
    bench: Bench
    state: JudgeState
    scale: Scale
    train_uris: list[str]
    roles: Mapping[str, Role]
    """Role by sample id."""

    @classmethod
    def open(cls, run: FinishedRun) -> "Examiner":
        """Read encoders, critic, training split and hold-out reals.

        Raises:
            DataError: if the run kept fewer than 20 real samples out of training.
        """
        context, splits = run.context, run.splits
        folder = context.files_of(splits)
        bench = open_bench(
            context, splits, run.embeddings, open_synthesizer(context, run.planned, splits, run.checkpoint)
        )
        holdout = _holdout(folder)
        return cls(
            run,
            bench,
            JudgeState.load(context.files_of(run.judge) / "judge.npz"),
            Scale.of(read_signs(holdout.cells, bench.encoder, bench.reference)),
            read_table(folder / "train.arrow")["uri"].to_pylist(),
            {each: role for role in ROLES for each in read_table(folder / f"{role}.arrow")["sample_id"].to_pylist()},
        )

    def score(self, folder: Path) -> pa.Table:
        """Return the table `ANOMALIES` for every file below `folder`.

        Raises:
            SourceError: if it is no folder, or holds no file.
        """
        files = list_files(folder)
        rows: list[dict[str, object]] = []
        for chunk in _chunks(files):
            rows += self._rows(chunk)
            self.run.context.reporter.progress("score", len(rows), len(files))
        rows.sort(key=lambda row: (row["unlikeness"] is None, -float(row["unlikeness"] or 0.0), row["file"]))  # type: ignore[arg-type] # a float or None
        for rank, row in enumerate(rows, start=1):
            row["rank"] = rank if row["problem"] is None else None
        return build_table(ANOMALIES, {column.name: [row.get(column.name) for row in rows] for column in ANOMALIES})

    def _rows(self, files: Sequence[UserFile]) -> list[dict[str, object]]:
        modality = MODALITIES[self.run.splits.spec.kind]
        good: list[tuple[UserFile, bytes]] = []
        rows: list[dict[str, object]] = []
        for file in files:
            content, problem = file.read()
            found = modality.inspect(content) if content is not None else Reject("unreadable", str(problem))
            if isinstance(found, Reject):
                rows.append({"file": file.uri, "problem": f"{found.code}: {found.message}", "unlikeness": None})
            elif content is not None:
                good.append((file, content))
        return rows + (
            self._examined(good, modality.decode([content for _, content in good], self.run.splits.spec))
            if good
            else []
        )

    def _examined(self, files: list[tuple[UserFile, bytes]], cells: pa.Array) -> list[dict[str, object]]:
        signs, classes = read_signs(cells, self.bench.encoder, self.bench.reference), self.run.splits.classes
        given = [classes.index(file.class_name) if file.class_name in classes else None for file, _ in files]
        ids = [sample_id_of(content_sha256(content)) for _, content in files]
        columns: dict[str, Sequence[object]] = {
            "file": [file.uri for file, _ in files],
            "problem": [None] * len(files),
            "unlikeness": self.scale.unlikeness(signs).tolist(),
            "unlike_p": self.scale.p_value(signs).tolist(),
            "class_given": [None if label is None else classes[label] for label in given],
            "knn_distance": signs.knn_distance.tolist(),
            "ood_p": conformal_p(signs.knn_distance, self.state.holdout_outlyingness).tolist(),
            "train_distance": signs.train_distance.tolist(),
            "near_copy": (signs.train_distance <= self.state.copy_threshold).tolist(),
            "nearest_train_id": [self.bench.reference.ids[row] for row in signs.nearest_row],
            "nearest_train_uri": [self.train_uris[row] for row in signs.nearest_row],
            "known_role": [self.roles.get(each) for each in ids],
            **self._referee(signs),
            **self._critic(cells, signs, given, ids),
        }
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def _referee(self, signs: Signs) -> dict[str, Sequence[object]]:
        if signs.logits is None:
            return {}
        probability = softmax(signs.logits / self.state.temperature, axis=1)
        return {
            "class_predicted": [self.run.splits.classes[label] for label in signs.logits.argmax(1)],
            "predicted_probability": probability.max(1).tolist(),
        }

    def _critic(
        self, cells: pa.Array, signs: Signs, given: Sequence[int | None], ids: Sequence[str]
    ) -> dict[str, Sequence[object]]:
        """Ask the critic under the given class, else under the predicted one; where there is neither, not at all."""
        labels = np.array([-1 if label is None else label for label in given], np.int64)
        if signs.logits is not None:
            labels = np.where(labels < 0, signs.logits.argmax(1), labels)
        asked = np.maximum(labels, 0)
        batch = self.bench.prepare(
            cells,
            labels=asked,
            parents=np.full(len(labels), -1),
            is_classic=np.zeros(len(labels), bool),
            ids=ids,
            run_seed=self.run.context.seed,
        )
        scores = Critic().score(batch, self.state, self.bench.reference)
        return {
            name: [
                None if label < 0 or np.isnan(value) else float(value)
                for label, value in zip(labels, scores[name], strict=True)
            ]
            for name in ("p_real", "real_percentile")
        }


def _holdout(folder: Path) -> LabelledCells:
    """Return calibration and selection reals, thinned evenly to at most 500.

    Raises:
        DataError: if there are fewer than 20.
    """
    both = concatenate(*(load_cells(folder / f"{role}.arrow") for role in HELD_BACK))
    if len(both) < _MIN_HOLDOUT:
        msg = (
            f"the run kept {len(both)} real samples out of training, and {_MIN_HOLDOUT} are the least to compare with. "
            "Run with more samples, or raise split.calibration_share."
        )
        raise DataError(msg)
    return both.take(np.unique(np.linspace(0, len(both) - 1, min(len(both), _MAX_HOLDOUT)).astype(np.int64)))


def _chunks(files: Sequence[UserFile]) -> Iterator[list[UserFile]]:
    iterator = iter(files)
    while chunk := list(islice(iterator, _CHUNK)):
        yield chunk

"""A version directory of five candidates and four real files, written by the publishing code itself."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from aigc_pipeline.core.tables import CANDIDATES, LEDGER, METADATA, build_table
from aigc_pipeline.gates import ClassQuota, FilterPolicy, MinPReal, NotMemorised, apply_gates
from aigc_pipeline.publishing.manifest import CANDIDATES_FILE, LEDGER_FILE, METADATA_FILE, write_parquet
from aigc_pipeline.publishing.versions import VERSION_FILE

CANDIDATE_IDS = ("aaaaaa00", "aaaaaa11", "bbbbbb00", "cccccc00", "dddddd00")
GATES = (NotMemorised(), MinPReal(threshold=0.3))


@pytest.fixture
def version(tmp_path: Path) -> Path:
    """A workspace's only version. Gates in order: near copy, p_real of 0.3, a quota of 2."""
    folder = tmp_path / "versions" / "v0001"
    folder.mkdir(parents=True)
    candidates = build_table(
        CANDIDATES,
        {
            "sample_id": list(CANDIDATE_IDS),
            "label": [0] * 5,
            "class_name": ["cat"] * 5,
            "origin": ["generated"] * 5,
            "generator": ["r3gan"] * 5,
            "seed": [11, 12, 13, 14, 15],
            "parent_ids": [[]] * 5,
            "p_real": np.array([0.9, 0.2, 0.8, 0.7, 0.6], np.float32),
            "train_distance": np.array([0.01, 0.5, 0.5, 0.5, 0.5], np.float32),
            "copy_threshold": np.full(5, 0.02, np.float32),
            "nearest_train_id": ["eeeeee00"] * 5,
            "accept_probability": np.full(5, 0.5, np.float32),
            "accept_coin": np.full(5, 0.1),
            "importance_weight": np.ones(5, np.float32),
            "class_want": [2] * 5,
            "accepted": [False] * 5,
        },
    )
    reasons = apply_gates([*GATES, ClassQuota()], candidates)
    assert reasons == ["not_memorised", "min_p_real", None, None, "class_quota"]
    for name, values in (("reject_reason", reasons), ("accepted", [reason is None for reason in reasons])):
        place = candidates.column_names.index(name)
        field = candidates.schema.field(name)
        candidates = candidates.set_column(place, field, [values])
    write_parquet(folder / CANDIDATES_FILE, candidates, ["cat"])
    write_parquet(folder / LEDGER_FILE, _ledger(reasons), ["cat"])
    write_parquet(folder / METADATA_FILE, _metadata(), ["cat"])
    choice = {"classes": ["cat"], "mix": "both"}
    metrics = {
        "EvalReport": {"choice": choice},
        "reason": "the synthetic rows are published and recommended: they help",
    }
    (folder / "metrics.json").write_text(json.dumps(metrics))
    policy = FilterPolicy(gates=GATES)
    (folder / "config.yaml").write_text(json.dumps({"filter": policy.model_dump(mode="json")}))
    (folder / VERSION_FILE).write_text("{}")
    return folder


def _ledger(reasons: list[str | None]) -> pa.Table:
    inputs = ["eeeeee00", "eeeeee99", "ffffff00", "ffffff99"]
    return build_table(
        LEDGER,
        {
            "sample_id": [*CANDIDATE_IDS, *inputs],
            "kind": ["candidate"] * 5 + ["input"] * 4,
            "origin": ["generated"] * 5 + ["real"] * 4,
            "class_name": ["cat"] * 9,
            "state": ["accepted" if each is None else "rejected" for each in reasons]
            + ["kept", "rejected", "quarantined", "kept"],
            "stage": ["filter"] * 5 + [None, "clean", "ingest", None],
            "reason": [*reasons, None, "duplicate", "truncated", None],
            "detail": [None] * 5 + [None, "identical content was listed before", "half a file", None],
            "role": [None] * 5 + ["train", None, None, "test"],
            "source_uri": [None] * 5 + ["cat/1.png", "cat/copy.png", "cat/half.png", "cat/2.png"],
            "duplicate_of": [*[None] * 6, "eeeeee00", None, None],
        },
    )


def _metadata() -> pa.Table:
    """Real rows of both roles and one of the two accepted candidates."""
    return build_table(
        METADATA,
        {
            "file_name": ["images/ee/eeeeee00.png", None, "images/bb/bbbbbb00.png"],
            "sample_id": ["eeeeee00", "ffffff99", "bbbbbb00"],
            "label": [0, 0, 0],
            "class_name": ["cat"] * 3,
            "origin": ["real", "real", "generated"],
            "split": ["train", "test", "train"],
            "role": ["train", "test", "train"],
            "recommended": [True, True, True],
            "weight": np.array([1, 1, 0.5], np.float32),
            "sha256": ["0" * 64] * 3,
        },
    )

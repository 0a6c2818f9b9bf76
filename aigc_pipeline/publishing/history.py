"""A workspace's versions side by side: what changed from run to run, read from the versions alone."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from aigc_pipeline.core.errors import PublishError
from aigc_pipeline.publishing.lineage import LINEAGE_FILE
from aigc_pipeline.publishing.manifest import METADATA_FILE, REFERENCES_FILE
from aigc_pipeline.publishing.versions import VERSION_FILE, published
from aigc_pipeline.records import Outcome


class VersionFacts(BaseModel):
    """What is worth watching from version to version. None where nothing was tested or compared."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    created: str
    """Date and time, ISO 8601."""
    num_real: int
    num_synthetic: int
    num_recommended: int
    num_arrived: int | None
    """Samples that the run before did not have."""
    num_unlike: int | None
    """Those of them that are unlike the earlier ones of their class; about 5 % by chance."""
    outcome: Outcome | None
    uplift: float | None
    """Balanced accuracy on test by the synthetic samples, in [-1, 1]; the next two are its interval."""
    uplift_low: float | None
    uplift_high: float | None
    baseline_accuracy: float | None
    """Balanced accuracy without synthetic samples on test, in [0, 1]."""
    test_opening: int | None
    """The number of the question to the test set."""
    frechet_distance: float | None
    """Of accepted candidates to unseen reals, in the judge encoder."""
    auc: float | None
    """The critic's, on unseen samples."""
    family: str
    weights_sha256: str


def history_of(workspace: Path, *, newest: int | None = None) -> list[VersionFacts]:
    """Return what every version says, oldest first.

    Args:
        newest: so many at most; None for all.

    Raises:
        PublishError: if there is no version, or one is damaged.
    """
    found = published(workspace / "versions")
    if not found:
        msg = f"there is no published version in {workspace}. Run `aigc run` first, or name another workspace."
        raise PublishError(msg)
    return [_facts_of(version) for version in (found[-newest:] if newest else found)]


def _facts_of(version: Path) -> VersionFacts:
    try:
        return _read(version)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as err:
        msg = f"cannot read {version}: {err!r}. The version is damaged: restore it, or remove its folder."
        raise PublishError(msg) from err


def _read(version: Path) -> VersionFacts:
    facts, metrics, lineage = (_json(version / name) for name in (VERSION_FILE, "metrics.json", LINEAGE_FILE))
    report, records = metrics["EvalReport"], lineage["records"]
    verdict = report["verdict"] or {}
    uplift = verdict.get("uplift", {})
    arrivals = records.get("embeddings", {}).get("arrivals") or {}  # versions before publish@8 do not say
    files = [file for name in (METADATA_FILE, REFERENCES_FILE) if (file := version / name).exists()]
    rows = [row for file in files for row in pq.read_table(file, columns=["origin", "recommended"]).to_pylist()]
    synthetic = [row for row in rows if row["origin"] != "real"]
    return VersionFacts(
        version=version.name,
        created=facts["created"],
        num_real=len(rows) - len(synthetic),
        num_synthetic=len(synthetic),
        num_recommended=sum(row["recommended"] for row in synthetic),
        num_arrived=arrivals.get("num_samples"),
        num_unlike=arrivals.get("num_unlike"),
        outcome=verdict.get("outcome"),
        uplift=uplift.get("value"),
        uplift_low=uplift.get("ci_low"),
        uplift_high=uplift.get("ci_high"),
        baseline_accuracy=report["arms"].get(verdict.get("baseline"), {}).get("value"),
        test_opening=verdict.get("test_opening"),
        frechet_distance=report["metrics"].get("frechet_distance/after", {}).get("value"),
        auc=metrics["Judge"]["auc"],
        family=records["checkpoint"]["family"],
        weights_sha256=records["checkpoint"]["weights_sha256"],
    )


def _json(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(file.read_text())
    return content

"""Give every sample a role for ever, fit the spec on the training role alone, and write cells.

Old files never change role: earlier assignments are read back from this workspace's last split and only added to. An old
file that the source now gives another split is left out: it was trained on, or the test role was read with it. New ones
follow their duplicate cluster; clusters come largest first, then in hash order, to where their class needs them.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from aigc_pipeline.core.context import Context
from aigc_pipeline.core.errors import DataError
from aigc_pipeline.core.samples import ROLES, Role, refused_id
from aigc_pipeline.core.seeding import coin
from aigc_pipeline.core.strict import Settings, digest_of
from aigc_pipeline.data.shards import read_shards, read_table, write_table
from aigc_pipeline.features.history import copy_samples, has_hardly_changed, write_samples
from aigc_pipeline.modalities import MODALITIES, AnySpec
from aigc_pipeline.modalities.contents import decode_rows
from aigc_pipeline.records import CleanDataset, DatasetSplits, RawDataset

STAGE_VERSION = 5
_ASSIGNMENTS = "assignments.arrow"
_SETTINGS = "settings.txt"
_NEEDED: tuple[Role, ...] = ("train", "test")
_FIXED_SEED = 0  # roles depend on content alone, never on the run's seed: a new seed must not move a test sample


class SplitConfig(Settings):
    """Target shares of the roles, and what the user knows about the samples' geometry."""

    calibration_share: float = Field(default=0.15, gt=0, lt=0.5)
    """Real samples that fit the critic and the quantiles."""
    max_calibration: int = Field(default=2_000, ge=1)
    """Cap of the above."""
    selection_share: float = Field(default=0.10, gt=0, lt=0.5)
    """Real samples that choose (early stopping, dose, baseline)."""
    max_selection: int = Field(default=2_000, ge=1)
    """Cap of the above."""
    test_share: float = Field(default=0.15, gt=0, lt=0.5)
    """Real samples that only the verdict reads; ignored where the source gives a test split."""
    max_test: int = Field(default=5_000, ge=1)
    """Cap of the above."""
    refit_after: float = Field(default=0.05, ge=0)
    """Change of the training role (samples that came, went or got another label) up to which the last spec still serves."""
    size: int | None = Field(default=None, ge=8, le=256)
    """Side of a sample; None lets the modality choose from the training role."""
    symmetries: tuple[str, ...] = ()
    """Mirrorings of pictures that do not change the label, `horizontal` and `vertical`; none unless you say so (a mirrored 2 is
    a bug)."""
    keep_alpha: bool = False
    """Make transparency a channel, where pictures have it; otherwise it shows white."""

    @model_validator(mode="after")
    def _some_are_left_to_train_on(self) -> Self:
        shares = {name: getattr(self, name) for name in ("calibration_share", "selection_share", "test_share")}
        if sum(shares.values()) >= 1:
            named = " + ".join(f"{name} {share:g}" for name, share in shares.items())
            msg = (
                f"{named} is {sum(shares.values()):g}, which leaves nothing to train on: together they must be under 1"
            )
            raise ValueError(msg)
        return self


def split(context: Context, config: SplitConfig, raw: RawDataset, cleaned: CleanDataset) -> DatasetSplits:
    """Assign roles and write one cell file per role.

    The record's fingerprint is that of the roles' content, in the order in which this workspace came to know it: a file that
    was refused, or got another name, trains nothing anew and asks the test role no new question.

    Writes `<role>.arrow` (sample_id, uri, sha256, attributes, label, cell), `assignments.arrow` and `ledger.arrow`.

    Raises:
        DataError: if the training or test role would lack a class.
        ConfigError: if `size` or `symmetries` is none that the modality knows.
    """
    known = _known_roles(context)
    kept = _known_first(read_table(context.files_of(cleaned) / "kept.arrow"), known)
    roles, leaked = assign_roles(kept, known, config)
    if moved := moved_rows(kept, known):
        context.reporter.note(
            f"{len(moved):,} samples lie in another split folder than the role they have had in this workspace, and are left "
            "out. A new workspace (--workspace) takes the folders as they are."
        )
    _refuse_missing_classes(kept, roles, cleaned.classes)
    table, rows = read_shards(context.files_of(raw), "raw"), kept["row"].to_numpy()
    facts = table.drop_columns(["content"]).take(kept["row"])
    spec = _spec(context, config, cleaned, _take(facts, roles, "train"))
    labels = np.array([cleaned.classes.index(name) for name in kept["class_name"].to_pylist()], np.int64)
    content: list[object] = [STAGE_VERSION, spec.model_dump(mode="json"), cleaned.classes]
    for role in ROLES:
        part = _take(kept, roles, role).select(["sample_id", "uri", "sha256", "attributes"])
        index = np.array([i for i, each in enumerate(roles) if each == role], np.int64)
        cells = decode_rows(table["content"], rows[index], spec)
        content += [role, part["sample_id"].to_pylist(), part["attributes"].to_pylist(), labels[index].tolist()]
        write_table(
            context.out / f"{role}.arrow",
            part.append_column("label", pa.array(labels[index])).append_column("cell", cells),
        )
    _write_assignments(context, known, kept, roles)
    _write_ledger(context, kept, leaked)
    counts = {
        role: tuple(int(n) for n in np.bincount(labels[[r == role for r in roles]], minlength=len(cleaned.classes)))
        for role in ROLES
    }
    test_ids = sorted(_take(kept, roles, "test")["sample_id"].to_pylist())
    return context.record(
        DatasetSplits,
        fingerprint=digest_of(content),
        spec=spec,
        classes=cleaned.classes,
        class_counts=counts,
        num_in=len(kept),
        rejected={"leakage": len(leaked)} if leaked else {},
        test_digest=digest_of(test_ids),
    )


def _spec(context: Context, config: SplitConfig, cleaned: CleanDataset, train: pa.Table) -> AnySpec:
    """Fit the spec on the training role, or keep the last one while that role has hardly changed.

    A spec that moved with every new file would invalidate every checkpoint.
    """
    ids, names = train["sample_id"].to_pylist(), train["class_name"].to_pylist()
    settings = f"{config.size} {config.symmetries} {config.keep_alpha} {cleaned.modality}"
    (context.out / _SETTINGS).write_text(settings, encoding="utf-8")
    if (previous := context.previous(DatasetSplits)) is not None:
        folder = context.files_of(previous)
        unchanged = (folder / _SETTINGS).read_text(encoding="utf-8") == settings
        if unchanged and has_hardly_changed(folder, ids, names, config.refit_after):
            copy_samples(folder, context.out)
            return previous.spec
    write_samples(context.out, ids, names)
    spec: AnySpec = MODALITIES[cleaned.modality].fit(
        train, size=config.size, symmetries=config.symmetries, keep_alpha=config.keep_alpha
    )
    return spec


def assign_roles(kept: pa.Table, known: Mapping[str, Role], config: SplitConfig) -> tuple[list[Role | None], list[int]]:
    """Return a role per row and the rows that had to be left out: their cluster spans two roles, or their role would change.

    Args:
        kept: columns `sha256`, `class_name`, `given_role`, `cluster`.
        known: roles that were given out before, by content hash.
    """
    contents, classes = kept["sha256"].to_pylist(), kept["class_name"].to_pylist()
    given, clusters = kept["given_role"].to_pylist(), kept["cluster"].to_pylist()
    members: dict[int, list[int]] = defaultdict(list)
    for row, cluster in enumerate(clusters):
        members[cluster].append(row)
    roles: list[Role | None] = [None] * len(contents)
    leaked: list[int] = []
    moved = moved_rows(kept, known)
    for rows in members.values():
        fixed = {row: known.get(contents[row]) or given[row] for row in rows}
        present = {role for role in fixed.values() if role}
        for row in rows:
            if row in moved:
                leaked.append(row)
            elif len(present) == 1:
                roles[row] = next(iter(present))
            elif fixed[row] and (contents[row] in known or fixed[row] == _strictest(present)):
                roles[row] = fixed[row]
            elif len(present) > 1:
                leaked.append(row)
    _fill(roles, leaked, members, contents, classes, given, config)
    return roles, sorted(leaked)


def moved_rows(kept: pa.Table, known: Mapping[str, Role]) -> set[int]:
    """Return the rows to which the source gives another role than they had before; see `assign_roles`."""
    contents, given = kept["sha256"].to_pylist(), kept["given_role"].to_pylist()
    return {row for row, role in enumerate(given) if role and known.get(contents[row], role) != role}


def _fill(
    roles: list[Role | None],
    leaked: Sequence[int],
    members: Mapping[int, list[int]],
    contents: Sequence[str],
    classes: Sequence[str],
    given: Sequence[Role | None],
    config: SplitConfig,
) -> None:
    """Give free clusters their roles, the largest first: small ones fill what those leave. Equal ones in hash order.

    A class's last clusters go to training and test where these are still empty: without a sample there, the run ends.
    """
    total = Counter(classes)
    targets = {name: _targets(count, len(classes), set(given), config) for name, count in total.items()}
    have: Counter[tuple[str, str]] = Counter((classes[row], role) for row, role in enumerate(roles) if role is not None)
    out = set(leaked)
    free = [rows for rows in members.values() if all(roles[row] is None and row not in out for row in rows)]
    left = Counter(classes[rows[0]] for rows in free)
    for rows in sorted(free, key=lambda rows: (-len(rows), coin(_FIXED_SEED, min(contents[row] for row in rows)))):
        name = classes[rows[0]]
        held = {role: have[name, role] for role in targets[name]}
        empty = [role for role in _NEEDED if role in held and not held[role]]
        options = empty if len(empty) >= left[name] else list(held)
        role = _role_for(len(rows), {role: targets[name][role] for role in options}, held)
        left[name] -= 1
        for row in rows:
            roles[row] = role
            have[classes[row], role] += 1


def _role_for(size_samples: int, wanted: Mapping[Role, float], held: Mapping[Role, int]) -> Role:
    """Return the role that would exceed its target by the fewest samples; of equals, the one furthest under it."""

    def fitness(role: Role) -> tuple[float, float]:
        missing = wanted[role] - held[role]
        return min(0.0, missing + 1 - size_samples), missing / wanted[role]

    return max(wanted, key=fitness)


def _targets(count: int, num_all: int, given: set[Role | None], config: SplitConfig) -> dict[Role, float]:
    """Return how many samples of a class each free role should have; given test and selection roles are not free."""
    test = 0.0 if "test" in given else min(config.test_share, config.max_test / num_all)
    calibration = min(config.calibration_share, config.max_calibration / num_all)
    selection = 0.0 if "selection" in given else min(config.selection_share, config.max_selection / num_all)
    shares: dict[Role, float] = {  # the order breaks ties: a tiny class is trained on, then tested
        "train": 1.0 - test - calibration - selection,
        "test": test,
        "calibration": calibration,
        "selection": selection,
    }
    return {role: share * count for role, share in shares.items() if share > 0}


def _strictest(present: set[str | None]) -> str:
    return next(role for role in ("test", "selection", "calibration", "train") if role in present)


def _known_roles(context: Context) -> dict[str, Role]:
    previous = context.previous(DatasetSplits)
    if previous is None:
        return {}
    table = read_table(context.files_of(previous) / _ASSIGNMENTS)
    return dict(zip(table["sha256"].to_pylist(), table["role"].to_pylist(), strict=True))


def _known_first(kept: pa.Table, known: Mapping[str, Role]) -> pa.Table:
    """Return the rows as they came to this workspace, new ones last: the source lists files by name, which may change."""
    place = {sha256: row for row, sha256 in enumerate(known)}
    places = [place.get(sha256, len(place)) for sha256 in kept["sha256"].to_pylist()]
    return kept.take(pa.array(np.argsort(np.array(places, np.int64), kind="stable")))


def _write_assignments(
    context: Context, known: Mapping[str, Role], kept: pa.Table, roles: Sequence[Role | None]
) -> None:
    """Write old and new assignments together: a file that is gone today keeps its role for the day it comes back."""
    new = {sha256: role for sha256, role in zip(kept["sha256"].to_pylist(), roles, strict=True) if role is not None}
    merged = dict(known) | new
    write_table(
        context.out / _ASSIGNMENTS,
        pa.table({"sha256": pa.array(list(merged), pa.string()), "role": pa.array(list(merged.values()), pa.string())}),
    )


def _write_ledger(context: Context, kept: pa.Table, leaked: Sequence[int]) -> None:
    refused = kept.select(["uri", "sha256", "class_name"]).take(pa.array(leaked, pa.int64()))
    ids = [
        refused_id(uri, sha256)
        for uri, sha256 in zip(refused["uri"].to_pylist(), refused["sha256"].to_pylist(), strict=True)
    ]
    write_table(context.out / "ledger.arrow", refused.append_column("sample_id", pa.array(ids, pa.string())))


def _take(table: pa.Table, roles: Sequence[Role | None], role: Role) -> pa.Table:
    return table.take(pa.array([i for i, each in enumerate(roles) if each == role], pa.int64()))


def _refuse_missing_classes(kept: pa.Table, roles: Sequence[Role | None], classes: Sequence[str]) -> None:
    names = kept["class_name"].to_pylist()
    for role in _NEEDED:
        present = {name for name, each in zip(names, roles, strict=True) if each == role}
        if missing := sorted(set(classes) - present):
            clusters = kept["cluster"].to_pylist()
            counts = {
                name: Counter(cluster for each, cluster in zip(names, clusters, strict=True) if each == name)
                for name in missing[:5]
            }
            listed = ", ".join(
                f"'{name}' ({each.total()} samples in {len(each)} clusters of near duplicates)"
                for name, each in counts.items()
            )
            msg = f"the {role} split has no sample of {listed}. {_remedy(role, kept, counts)}"
            raise DataError(msg)


def _remedy(role: Role, kept: pa.Table, counts: Mapping[str, Counter[int]]) -> str:
    """Return why `role` lacks the classes of `counts`, whose clusters are counted, and what helps."""
    rows = zip(kept["given_role"].to_pylist(), kept["class_name"].to_pylist(), strict=True)
    if any(given == role or (given and name in counts) for given, name in rows):
        return (
            "The source says which samples are which: put some of each class into its training folder and into its test "
            "folder, or leave the class out."
        )
    if all(len(clusters) > 1 for clusters in counts.values()):
        return (
            "Its samples have had other roles in this workspace, or follow near duplicates of another class. Add samples, "
            "leave the class out, or give all roles anew in another workspace (--workspace)."
        )
    return (
        "A class needs at least 2 such clusters, which are never cut, so that one can be trained on and one tested on. "
        "Add samples, leave the class out, or lower clean.near_duplicate_tolerances where they are no duplicates."
    )

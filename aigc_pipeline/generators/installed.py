"""Families from other packages, found by their entry point in the group `aigc_pipeline.generators`.

A static union cannot hold strangers. Its last member stands for them: settings whose kind is no built-in one are handed
to the family of that name, whose own model validates them; dumped, they carry the package's name and version, so that
another version of a family is another fingerprint. A built-in kind cannot be replaced.
"""

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated

from pydantic import PlainSerializer, PlainValidator, ValidationError

from aigc_pipeline.generators.base import Family, Generator
from aigc_pipeline.generators.families import BUILT_IN

GROUP = "aigc_pipeline.generators"
PACKAGE = "package"
"""The key under which a dump names the package and its version."""
_NEEDED = ("paper", "choose_when", "batch_size", "ema_half_life_samples", "networks", "phases", "sample")
_FAILED_IMPORT = (ImportError, SyntaxError, NameError, AttributeError, LookupError, TypeError, ValueError, RuntimeError, OSError)  # fmt: skip
"""What a module of somebody else may raise while it is imported; pydantic's complaints about a class are among them."""


def installed() -> dict[str, EntryPoint]:
    """Return the entry points of other packages by kind, in the order of their names."""
    return {entry.name: entry for entry in sorted(entry_points(group=GROUP)) if entry.name not in BUILT_IN}


def shadowed() -> list[EntryPoint]:
    """Return entry points that claim a built-in kind; they are never used."""
    return [entry for entry in entry_points(group=GROUP) if entry.name in BUILT_IN]


def package_of(entry: EntryPoint) -> str:
    """Return name and version of the package that an entry point belongs to."""
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist is not None else "an unnamed package"


def load_family(kind: str) -> type[Family]:
    """Import the family of another package.

    Raises:
        ValueError: if no package offers it, or what it offers is no family of that kind.
    """
    offers = installed()
    if kind not in offers:
        others = f"; installed: {', '.join(offers)}" if offers else ""
        msg = f"there is no generator '{kind}'. Built in: {', '.join(sorted(BUILT_IN))}{others}."
        raise ValueError(msg)
    entry, package = offers[kind], package_of(offers[kind])
    try:
        family = entry.load()
    except _FAILED_IMPORT as err:
        reason = f"{type(err).__name__}: {err}"
        msg = f"the generator '{kind}' of {package} cannot be imported ({reason}). Repair or remove that package."
        raise ValueError(msg) from err
    if not (isinstance(family, type) and issubclass(family, Family)):
        msg = f"the generator '{kind}' of {package} is {family!r}, not a subclass of aigc_pipeline.generators.Family."
        raise ValueError(msg)  # noqa: TRY004 - pydantic shows ValueErrors at their place in the settings
    own = family.model_fields["kind"].default if "kind" in family.model_fields else None
    if own != kind:
        msg = f"the generator '{kind}' of {package} calls itself '{own}': entry point and `kind` must agree."
        raise ValueError(msg)
    _refuse_incomplete(family)
    return family


def _validate(value: object) -> Generator:
    if isinstance(value, Family):
        return _as_generator(value)
    if not isinstance(value, Mapping):
        msg = f"a generator is a mapping of settings with a `kind`, not {value!r}"
        raise ValueError(msg)  # noqa: TRY004 - as above
    family = load_family(str(value.get("kind")))
    try:
        return _as_generator(family.model_validate({name: each for name, each in value.items() if name != PACKAGE}))
    except ValidationError as err:
        problems = [
            f"{'.'.join(map(str, each['loc']))}: {each['msg']} (got {each['input']!r})" for each in err.errors()
        ]
        raise ValueError("; ".join(problems)) from err


def _as_generator(family: Family) -> Generator:
    _refuse_incomplete(type(family))
    return family  # type: ignore[return-value] # everything is there; a stranger's types are its own


def _refuse_incomplete(family: type[Family]) -> None:
    missing = [name for name in _NEEDED if name not in family.model_fields and not hasattr(family, name)]
    if missing:
        msg = (
            f"the generator {family.__module__}.{family.__qualname__} lacks {', '.join(missing)}. "
            "`aigc new-generator` writes a family that has everything."
        )
        raise ValueError(msg)


def _dump(value: Generator) -> dict[str, object]:
    settings: dict[str, object] = value.model_dump(mode="json")
    entry = installed().get(value.kind)
    return settings | ({PACKAGE: package_of(entry)} if entry is not None else {})


Installed = Annotated[Generator, PlainValidator(_validate), PlainSerializer(_dump)]
"""Any family of another package."""


def tag_of(value: object) -> str:
    """Return which member of the union a value or its settings belong to."""
    kind = value.get("kind") if isinstance(value, Mapping) else getattr(value, "kind", None)
    return kind if isinstance(kind, str) and kind in BUILT_IN else "installed"

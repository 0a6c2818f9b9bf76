"""One config tree: each stage's settings under its name. YAML, dotted overrides, Python and the Prefect form share it."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, Self, get_args

import yaml
from pydantic import Field, ValidationError, model_validator

from aigc_pipeline.core.context import RuntimeConfig
from aigc_pipeline.core.errors import ConfigError
from aigc_pipeline.core.strict import Member, Settings
from aigc_pipeline.features import AnyEncoder, Classifier
from aigc_pipeline.gates import AnyCleaningGate, AnyFilterGate
from aigc_pipeline.generators import AnyGenerator, Generator
from aigc_pipeline.stages.calibrate import CalibrateConfig
from aigc_pipeline.stages.clean import CleanConfig
from aigc_pipeline.stages.embed import EmbedConfig
from aigc_pipeline.stages.evaluate import EvaluateConfig
from aigc_pipeline.stages.filter import FilterConfig
from aigc_pipeline.stages.ingest import IngestConfig
from aigc_pipeline.stages.plan import PlanConfig
from aigc_pipeline.stages.publish import PublishConfig
from aigc_pipeline.stages.score import ScoreConfig
from aigc_pipeline.stages.split import SplitConfig
from aigc_pipeline.stages.synthesize import SynthesizeConfig
from aigc_pipeline.stages.train import TrainConfig

Preset = Literal["default", "smoke", "demo", "thorough"]
PRESETS: Mapping[Preset, Mapping[str, object]] = {
    "default": {},
    "smoke": {
        "train.max_minutes": 0.1,
        "evaluate.num_seeds": 2,
        "evaluate.total_samples": 6_000,
        "embed.encoder.total_samples": 8_000,
        "calibrate.pilot_per_class": 100,
    },
    "demo": {"ingest.source.kind": "digits", "train.max_minutes": 1.0, "evaluate.total_samples": 20_000},
    "thorough": {"train.max_minutes": 240, "evaluate.num_seeds": 10, "evaluate.total_samples": 200_000},
}


class PipelineConfig(Settings):
    """Everything a run depends on. Only `ingest.source` has no default."""

    seed: int = Field(default=0, ge=0, lt=2**63)
    """Root of every random act."""
    ingest: IngestConfig
    clean: CleanConfig = CleanConfig()
    split: SplitConfig = SplitConfig()
    embed: EmbedConfig = EmbedConfig()
    plan: PlanConfig = PlanConfig()
    train: TrainConfig = TrainConfig()
    calibrate: CalibrateConfig = CalibrateConfig()
    synthesize: SynthesizeConfig = SynthesizeConfig()
    score: ScoreConfig = ScoreConfig()
    filter: FilterConfig = FilterConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    publish: PublishConfig = PublishConfig()
    runtime: RuntimeConfig = RuntimeConfig()
    """Circumstance: never part of a fingerprint."""

    @model_validator(mode="after")
    def _members_fit(self) -> Self:
        modality = self.ingest.source.modality
        for path, union, member in self._members():
            if not member.can_handle(modality):
                kind, handled = getattr(member, "kind", "?"), " and ".join(sorted(member.handles or ()))
                members = [each for each in get_args(get_args(union)[0]) if hasattr(each, "model_fields")]
                fitting = [each.model_fields["kind"].default for each in members if each.can_handle(modality)]
                msg = (
                    f"{path} is '{kind}', which handles {handled} samples, but the source yields {modality} samples. "
                    f"These fit: {', '.join(fitting)}."
                )
                raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _a_probe_can_gain(self) -> Self:
        if self.evaluate.network == "linear_probe" and isinstance(self.embed.judge, Classifier):
            msg = (
                "evaluate.network is 'linear_probe', but embed.judge is 'classifier', which is trained with the same "
                "labels, so that a probe on it could not gain. Use embed.judge.kind=random_network."
            )
            raise ValueError(msg)
        return self

    def _members(self) -> Iterable[tuple[str, object, Member | Generator]]:
        """Yield setting path, union and chosen member of everything that may look inside a cell."""
        yield "train.generator", AnyGenerator, self.train.generator
        yield "embed.encoder", AnyEncoder, self.embed.encoder
        yield "embed.judge", AnyEncoder, self.embed.judge
        yield from ((f"clean.gates.{i}", AnyCleaningGate, gate) for i, gate in enumerate(self.clean.gates or ()))
        yield from ((f"filter.gates.{i}", AnyFilterGate, gate) for i, gate in enumerate(self.filter.gates))


def load_config(
    *,
    file: Path | None = None,
    source: Path | str | None = None,
    preset: Preset = "default",
    overrides: Sequence[str] = (),
) -> PipelineConfig:
    """Build a config from a preset, then a YAML file, then the source folder, then dotted overrides; later ones win.

    Args:
        source: a folder with one sub-folder per class, or the word `digits`.
        overrides: `train.total_samples=200000`; values are YAML.

    Raises:
        ConfigError: naming the offending key or value, and what is allowed.
    """
    tree: dict[str, object] = {}
    for path, value in PRESETS[preset].items():
        _set(tree, path, value)
    if file is not None:
        _merge(tree, _read_yaml(file))
    if source is not None:
        _set(tree, "ingest.source", _source_settings(source))
    for override in overrides:
        path, separator, text = override.partition("=")
        if not separator:
            msg = f"override '{override}' has no '='. Write it as train.total_samples=200000."
            raise ConfigError(msg)
        _set(tree, path.strip(), _parse_value(text, override))
    _complete_kinds(tree, PipelineConfig)
    origins = [*([str(file)] if file else []), *(["the arguments"] if source or overrides or not file else [])]
    return parse_config(tree, where=" and ".join(origins))


def parse_config(tree: Mapping[str, object], *, where: str) -> PipelineConfig:
    """Validate a settings tree.

    Raises:
        ConfigError: one line per problem.
    """
    try:
        return PipelineConfig.model_validate(tree)
    except ValidationError as err:
        lines = [_explain(dict(problem), tree) for problem in err.errors(include_url=False)]
        msg = f"the settings from {where} are not valid:\n" + "\n".join(f"  {line}" for line in lines)
        raise ConfigError(msg) from err


def to_yaml(config: PipelineConfig) -> str:
    """Return the whole resolved tree as YAML; loading it gives an equal config."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _source_settings(source: Path | str) -> dict[str, object]:
    if str(source) in {"digits", "mixture"} and not Path(source).is_dir():
        return {"kind": str(source)}
    return {"kind": "class_folder", "path": str(source)}


def _read_yaml(file: Path) -> dict[str, object]:
    try:
        tree = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as err:
        msg = f"cannot read the config file {file}: {err.strerror}. Check the path."
        raise ConfigError(msg) from err
    except UnicodeDecodeError as err:
        msg = f"{file} is not UTF-8 text ({err.reason} at byte {err.start}). Save it as UTF-8."
        raise ConfigError(msg) from err
    except yaml.YAMLError as err:
        msg = f"{file} is not valid YAML: {err}"
        raise ConfigError(msg) from err
    if tree is None:  # nothing but comments
        return {}
    if not isinstance(tree, dict):
        msg = f"{file} must hold a mapping of stage names to settings, not a {type(tree).__name__}"
        raise ConfigError(msg)
    return tree


def _parse_value(text: str, override: str) -> object:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as err:
        msg = f"the value of override '{override}' is not valid YAML: {err}"
        raise ConfigError(msg) from err


def _set(tree: dict[str, object], path: str, value: object) -> None:
    *parents, last = path.split(".")
    node = tree
    for name in parents:
        child = node.setdefault(name, {})
        if not isinstance(child, dict):
            msg = f"'{path}' cannot be set: '{name}' is {child!r}, not a group of settings"
            raise ConfigError(msg)
        node = child
    node[last] = value


def _complete_kinds(tree: dict[str, object], model: object) -> None:
    """Fill in the default member where settings of a union are given without `kind`: `-o train.generator.size=medium`."""
    fields = getattr(model, "model_fields", {})
    for name, value in tree.items():
        if not isinstance(value, dict) or name not in fields:
            continue
        default = fields[name].get_default()
        if "kind" in getattr(type(default), "model_fields", {}):
            value.setdefault("kind", default.kind)
        _complete_kinds(value, type(default) if default is not None else fields[name].annotation)


def _merge(tree: dict[str, object], update: Mapping[str, object]) -> None:
    for name, value in update.items():
        present = tree.get(name)
        if isinstance(value, dict) and isinstance(present, dict):
            _merge(present, value)
        else:
            tree[name] = value


def _explain(problem: Mapping[str, object], tree: Mapping[str, object]) -> str:
    location: Sequence[object] = problem["loc"]  # type: ignore[assignment] # pydantic: a tuple of str and int
    path = _written_path(location, tree)
    if problem["type"] == "extra_forbidden":
        return f"{path}: there is no such setting. Known here: {', '.join(_known_at(location)) or 'none'}."
    if problem["type"] == "missing" and isinstance(location[-1], int):
        return f"{path}: missing: the list is too short (got {problem.get('input')!r})."
    if problem["type"] == "missing":
        is_source = path == "ingest" or path.startswith("ingest.source")
        remedy = "Give a folder (aigc run DIR) or set it" if is_source else f"Set it with -o {path}=..., or"
        return f"{path}: required. {remedy} in the config file."
    if problem["type"] == "value_error":
        return f"{path}: {problem['ctx']['error']}" if path else str(problem["ctx"]["error"])  # type: ignore[index] # pydantic's shape
    said = _IN_YAML.get(str(problem["type"]), problem["msg"])
    return f"{path}: {said} (got {problem.get('input')!r})."


_IN_YAML = {
    "tuple_type": "Input should be a list, written [a, b]",
    "string_type": "Input should be text: put quotes around what YAML takes for a number, a date, yes, no or null",
    "model_type": "Input should be a group of settings, written {name: value}",
    "model_attributes_type": "Input should be a group of settings with its kind, written {kind: name}",
    "union_tag_not_found": "Input lacks 'kind', which says what it is",
}
"""What pydantic says in words of Python, by the type of its error."""


def _written_path(location: Iterable[object], tree: object) -> str:
    """Return a dotted path as a person writes it, without what pydantic puts in: the tag of a union's member, [key]."""
    names = []
    for part in location:
        settings = tree if isinstance(tree, Mapping) else {}
        if part not in settings and part in (settings.get("kind"), "installed", "[key]"):
            continue
        names.append(str(part))
        if isinstance(tree, Mapping):
            tree = tree.get(part)
        elif isinstance(tree, Sequence) and isinstance(part, int) and part < len(tree):
            tree = tree[part]
    return ".".join(names)


def _known_at(location: Iterable[object]) -> list[str]:
    """List the settings beside the last part of `location`, walking the models; union tags are skipped."""
    model: object = PipelineConfig
    for part in list(location)[:-1]:
        fields = getattr(model, "model_fields", {})
        if part in fields:
            model = fields[part].annotation
        else:
            model = next((m for m in getattr(model, "__args__", ()) if _is_tagged(m, part)), model)
    return sorted(getattr(model, "model_fields", {}))


def _is_tagged(model: object, tag: object) -> bool:
    fields = getattr(model, "model_fields", {})
    return "kind" in fields and fields["kind"].default == tag

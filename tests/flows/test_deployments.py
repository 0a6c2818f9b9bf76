"""`deployments/`: Prefect accepts unknown parameter names and unslugged schedules without a word, so this file does not."""

import importlib
import inspect
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml
from prefect import Flow
from prefect.events import AutomationCore, EventTrigger
from prefect.exceptions import ParameterTypeError

from aigc_pipeline.config import load_config
from flows.augment import augment

FOLDER = Path(__file__).parents[2] / "deployments"
DEPLOYMENTS: list[dict[str, Any]] = yaml.safe_load((FOLDER / "prefect.yaml").read_text())["deployments"]
CONFIGS = sorted((FOLDER / "configs").glob("*.yaml"))


def flow_of(deployment: dict[str, Any]) -> Flow[..., Any]:
    module, _, name = deployment["entrypoint"].rpartition(".")
    found = getattr(importlib.import_module(module), name)
    assert isinstance(found, Flow)
    return found


@pytest.fixture(params=DEPLOYMENTS, ids=lambda each: each["name"])
def deployment(request: pytest.FixtureRequest) -> dict[str, Any]:
    chosen: dict[str, Any] = request.param
    return chosen


def test_parameters_are_those_of_the_flow(deployment: dict[str, Any]) -> None:
    flow = flow_of(deployment)

    validated = flow.validate_parameters(inspect.signature(flow.fn).bind(**deployment["parameters"]).arguments)

    assert set(deployment["parameters"]) <= set(validated)


def test_parameters_name_a_source(deployment: dict[str, Any]) -> None:
    given = deployment["parameters"]
    file = given.get("config_file")

    config = load_config(file=FOLDER.parent / file if file else None, source=given.get("source"))

    assert config.ingest.source.kind


def test_schedules_have_slugs_and_time_zones(deployment: dict[str, Any]) -> None:
    for schedule in deployment["schedules"]:
        assert schedule["slug"]
        assert schedule["timezone"]
        assert isinstance(schedule["active"], bool)


def test_no_deployment_has_a_limit_of_its_own(deployment: dict[str, Any]) -> None:
    """Prefect 3.9 ends a run whose lease it cannot renew: hours of training for a server that was away for minutes."""
    assert "concurrency_limit" not in deployment


def test_each_deployment_has_a_workspace_of_its_own() -> None:
    assert len({each["parameters"]["workspace"] for each in DEPLOYMENTS}) == len(DEPLOYMENTS)


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.name)
def test_example_configs_load(file: Path) -> None:
    assert load_config(file=file).ingest


def test_an_emptied_workspace_field_is_refused_before_a_run_is_created() -> None:
    """An empty path is the worker's own folder."""
    with pytest.raises(ParameterTypeError, match="workspace"):
        augment.validate_parameters({"source": "digits", "workspace": ""})


def test_form_is_short_flat_and_described() -> None:
    properties = augment.parameters.properties

    assert len(properties) <= 8
    assert all(each["description"] for each in properties.values())
    assert all("default" in each for each in properties.values())
    assert not any(each.get("anyOf") or each.get("$ref") for each in properties.values())


def test_automations_load_and_watch_what_is_deployed() -> None:
    text = (FOLDER / "automations.yaml").read_text().replace("BLOCK", str(uuid4()))

    loaded = [AutomationCore.model_validate(each) for each in yaml.safe_load(text)["automations"]]

    watched = [each.trigger.match_related.root for each in loaded if isinstance(each.trigger, EventTrigger)]
    assert watched == [
        {"prefect.resource.role": "tag", "prefect.resource.id": "prefect.tag.aigc"},
        {"prefect.resource.role": "deployment", "prefect.resource.name": "nightly"},
    ]
    assert all("aigc" in each["tags"] for each in DEPLOYMENTS)
    assert "nightly" in [each["name"] for each in DEPLOYMENTS]

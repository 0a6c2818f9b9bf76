"""When a stage is computed, and when the store answers for it."""

import sys
from collections.abc import Callable
from dataclasses import replace

import pytest

from aigc_pipeline.core.context import Context, RuntimeConfig
from aigc_pipeline.core.records import Record
from aigc_pipeline.core.store import Store
from aigc_pipeline.core.strict import Settings
from aigc_pipeline.pipeline import BoundStage

STAGE_VERSION = 1
HERE = sys.modules[__name__]


class Thought(Record):
    value: int


class ThinkConfig(Settings):
    depth: int = 1


def think(context: Context, config: ThinkConfig, *earlier: Thought) -> Thought:
    return context.record(Thought, value=config.depth + len(earlier))


def thought(fingerprint: str) -> Thought:
    return Thought(fingerprint=fingerprint, path="p", created_by="test", value=0)


@pytest.fixture
def computes(store: Store, recording_reporter) -> Callable[..., bool]:
    """Run the stage and tell whether it was computed."""
    base = Context(store, seed=0, reporter=recording_reporter)

    def run(*inputs: object, **surroundings: object) -> bool:
        recording_reporter.stages.clear()
        BoundStage(think, replace(base, **surroundings))(*inputs)  # type: ignore[arg-type]
        return ("test_pipeline", "finished") in recording_reporter.stages

    return run


def test_a_stage_is_computed_once_whatever_the_circumstance(computes):
    assert computes(ThinkConfig())
    assert not computes(ThinkConfig())
    assert not computes(ThinkConfig(), runtime=RuntimeConfig(device="cpu", threads=3))


def test_a_stage_is_computed_again_for_another_setting_input_seed_or_version(computes, monkeypatch):
    assert computes(ThinkConfig(), thought("a"))
    assert computes(ThinkConfig(depth=2), thought("a"))
    assert computes(ThinkConfig(), thought("b"))
    assert computes(ThinkConfig(), thought("a"), seed=1)
    monkeypatch.setattr(HERE, "STAGE_VERSION", 2)

    assert computes(ThinkConfig(), thought("a"))


def test_a_stage_whose_result_a_later_one_supersedes_is_computed_again(computes, monkeypatch):
    computes(ThinkConfig())
    monkeypatch.setattr(
        HERE, "is_superseded", lambda _context, found, config: found.value == config.depth, raising=False
    )

    assert computes(ThinkConfig())

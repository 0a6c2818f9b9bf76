"""How Prefect calls a stage: one task per stage, named after it. The store remembers results, so Prefect does not."""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.states import Completed, Failed

from aigc_pipeline.core.errors import PipelineError
from aigc_pipeline.core.records import Record
from aigc_pipeline.pipeline import BoundStage
from flows.gpu import one_training_per_gpu

P = ParamSpec("P")
R = TypeVar("R", bound=Record)

_RETRY_DELAY_SECONDS = 10


class PrefectRunner:
    """A `pipeline.Runner` that makes every stage a task run of the current flow run."""

    def __call__(self, stage: BoundStage[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the stage as a task and return its record.

        Raises:
            PipelineError: as the stage raised it.
        """
        state: State[R] = task_of(stage)(*args, return_state=True, **kwargs)
        return state.result()  # a task that ends in a named state hands its caller the state, not the record


def task_of(stage: BoundStage[P, R]) -> Task[P, R]:
    """Return a task that answers with the record, as `Reused` where the store had it.

    Training is never retried: the same command resumes it. Other stages get a second try on I/O errors. What a user
    can mend ends as a failed state with its message, without a traceback in the log.
    """

    def call(*args: P.args, **kwargs: P.kwargs) -> R | State[R]:
        try:
            if stage.find(*args, **kwargs) is None:
                return _compute(stage, *args, **kwargs)
            return Completed(name="Reused", message="answered from the workspace", data=stage(*args, **kwargs))
        except PipelineError as err:
            return Failed(message=f"{type(err).__name__}: {err}", data=err)

    return Task(
        cast("Callable[P, R]", call),  # Prefect unpacks a returned state
        name=stage.name,
        task_run_name=stage.name,
        cache_policy=NO_CACHE,
        persist_result=False,
        retries=0 if stage.name == "train" else 1,
        retry_delay_seconds=_RETRY_DELAY_SECONDS,
        retry_condition_fn=_is_passing_trouble,
    )


def _compute(stage: BoundStage[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    if stage.name != "train":
        return stage(*args, **kwargs)
    with one_training_per_gpu(stage.context.runtime):
        return stage(*args, **kwargs)


def _is_passing_trouble(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Tell whether a failure may be gone in a moment: a network share, a full queue; never a wrong setting."""
    return isinstance(state.result(raise_on_failure=False), OSError)

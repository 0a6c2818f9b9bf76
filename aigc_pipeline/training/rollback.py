"""What an alarm leads to: back to the last good checkpoint at half the rate, or the end of training. Not what an alarm is."""

from dataclasses import replace

from aigc_pipeline.core.errors import TrainingDivergedError
from aigc_pipeline.training.batch import Networks
from aigc_pipeline.training.checkpoint import Checkpointer, State
from aigc_pipeline.training.progress import Progress
from aigc_pipeline.training.state import pack, unpack
from aigc_pipeline.training.step import Stepper


def answer(
    alarm: str, progress: Progress, average: Networks | None, stepper: Stepper, checkpointer: Checkpointer | None
) -> Progress:
    """Go back to the last good checkpoint at half the rate, from one that did not help to the one before.

    Where that is no longer possible, end with the best weights, or say why there are none.

    Raises:
        TrainingDivergedError: where there is no good checkpoint, or no best weights to end with.
    """
    networks, team = stepper.networks, stepper.team
    state = _last_good(checkpointer, progress, stepper) if checkpointer is not None else None
    if state is not None and progress.rollbacks < stepper.settings.max_rollbacks:
        events, rollbacks = progress.events, progress.rollbacks + 1
        progress = unpack(state, networks, average, stepper)
        progress.events, progress.rollbacks, progress.returned_to = events, rollbacks, progress.samples_seen
        event = (
            f"{alarm}: back to the checkpoint at {progress.samples_seen:,} samples, going on at "
            f"{progress.rate_factor:g} of the learning rate"
        )
        progress.events.append(event)
        stepper.note(event + ".")
        team.wait()  # until all have read the file that the first one replaces
        if checkpointer is not None and team.is_first:
            checkpointer.save(pack(networks, average, stepper, progress), progress.samples_seen)
        team.wait()
        return progress
    if progress.best is not None:
        if state is not None:
            samples_seen = unpack(state, networks, average, stepper).samples_seen
            progress = replace(progress, samples_seen=samples_seen)
        progress.stopped = True
        event = f"{alarm}: training ends with the best weights so far, of {progress.best_samples_seen:,} samples"
        progress.events.append(event)
        stepper.note(event + ".")
        return progress
    last = f"{state['samples_seen']:,} samples" if state is not None else "none"
    msg = (
        f"{alarm}, and {progress.rollbacks} restarts at a lower rate did not help. Last good checkpoint: {last}. "
        f"{stepper.settings.remedy}, then run the same command again."
    )
    raise TrainingDivergedError(msg)


def _last_good(checkpointer: Checkpointer, progress: Progress, stepper: Stepper) -> State | None:
    """Return the newest state; where the last rollback already went there, the one before if it exists."""
    state = checkpointer.load_latest(stepper.device)
    if state is None or state["samples_seen"] != progress.returned_to:
        return state
    return checkpointer.load_before(state["samples_seen"], stepper.device) or state

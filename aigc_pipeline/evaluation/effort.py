"""How long the verdict will take: the trainings that it rests on, times how long one takes here."""

from dataclasses import dataclass

from aigc_pipeline.core.context import Context
from aigc_pipeline.data.loader import load_cells
from aigc_pipeline.evaluation.material import is_balanced
from aigc_pipeline.evaluation.question import SEEDS_TO_DESCRIBE, Settings, samples_per_training, scratch_network
from aigc_pipeline.metrics.downstream import Budget, bytes_of_training, fit_downstream
from aigc_pipeline.metrics.uplift import BASELINES, baselines_for
from aigc_pipeline.metrics.worth import MAX_CLASS_CURVES
from aigc_pipeline.records import DatasetSplits, SynthesisPlan
from aigc_pipeline.training.devices import device_of, map_on_threads, num_side_by_side
from aigc_pipeline.training.probe import seconds_a_step

_MIXES_WITH_CLASSIC = 3
"""Generated rows, varied real ones, both."""


@dataclass(frozen=True)
class Effort:
    """What an evaluation takes at most: fewer trainings where nothing is accepted, or accuracy does not rise."""

    num_trainings: int
    """Of the downstream network."""
    minutes: float
    """All of them, one's own command left out."""


def expected_effort(context: Context, settings: Settings, splits: DatasetSplits, planned: SynthesisPlan) -> Effort:
    """Count the trainings, and train on the training role for about two seconds to find out how long one takes."""
    num_trainings = count_trainings(settings, splits, planned)
    num_real = sum(splits.num_samples(role) for role in splits.class_counts if role != "test")
    seconds = samples_per_training(settings, num_real) / _samples_per_second(context, settings, splits)
    return Effort(num_trainings, num_trainings * seconds / 60)


def count_trainings(settings: Settings, splits: DatasetSplits, planned: SynthesisPlan) -> int:
    """Return how many downstream networks are trained at most."""
    counts = [sum(each) for each in zip(*(n for role, n in splits.class_counts.items() if role != "test"), strict=True)]
    num_baselines = len(baselines_for(is_balanced=is_balanced(counts)))
    num_mixes = _MIXES_WITH_CLASSIC if planned.with_classic else 1 if any(planned.want().values()) else 0
    chooses = splits.num_samples("selection") >= settings.min_selection
    choosing = settings.options.num_trainings(num_baselines, num_mixes) if chooses else 0
    described = (num_baselines - 1) * min(settings.num_seeds, SEEDS_TO_DESCRIBE)
    without = choosing + described + settings.num_seeds
    if not num_mixes:
        return without
    num_curves = 1 + min(MAX_CLASS_CURVES, len(splits.classes))
    treated_control_and_curves = 2 + num_curves * len(settings.learning_shares)
    return without + treated_control_and_curves * settings.num_seeds + 2 * settings.num_cas_seeds


def _samples_per_second(context: Context, settings: Settings, splits: DatasetSplits) -> float:
    train = load_cells(context.files_of(splits) / "train.arrow")
    device, num_classes = device_of(context.runtime), len(splits.classes)
    build = scratch_network(settings.network, splits.spec, num_classes, device)

    num_bytes = bytes_of_training(len(train), splits.spec)
    at_once = num_side_by_side(device, num_bytes)

    def fit_some(steps: int) -> None:
        budget = Budget(steps * settings.batch_size, settings.batch_size, context.seed, device)

        def fit(_: int) -> None:
            fit_downstream(
                BASELINES[-1], train, None, spec=splits.spec, num_classes=num_classes, budget=budget, build=build
            )

        list(map_on_threads(fit, range(at_once), device, num_bytes=num_bytes))

    return at_once * settings.batch_size / seconds_a_step(fit_some, device)

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from aigc_pipeline.evaluation.likeness import screen_for_copies
from aigc_pipeline.features.stored import LabelledFeatures
from aigc_pipeline.metrics.screening import Limits


def test_copies_among_unseen_reals_are_counted_from_the_distances_that_the_judge_has_measured():
    everything = np.ones(4, bool)
    material = SimpleNamespace(
        is_parentless=everything,
        good=everything,
        table=pa.table({"train_distance": [0.0, 0.5, 0.6, 0.7], "copy_threshold": [0.1] * 4}),
        unseen=lambda: LabelledFeatures(np.zeros((4, 2), np.float32), np.zeros(4, np.int64)),
        candidates=SimpleNamespace(labels=np.zeros(4, np.int64)),
        num_classes=1,
    )
    found = screen_for_copies(material, Limits(0.05, -3.0, 0.75), unseen=np.array([0.05, 0.2, 0.3, 0.4, 0.5]))

    assert found.estimates["near_copy_rate/real"].value == pytest.approx(0.2)
    assert found.estimates["near_copy_rate/before"].value == pytest.approx(0.25)

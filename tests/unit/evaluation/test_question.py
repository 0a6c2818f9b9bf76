from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from aigc_pipeline.evaluation.question import Question


def described(label_predicted: list[int | None]):
    """Describe class 0, which has three candidates with these opinions of the referee."""
    test = SimpleNamespace(labels=np.array([0, 1]))
    table = {
        "reject_reason": pa.array([None] * 3, pa.string()),
        "label_predicted": pa.array(label_predicted, pa.float64()),
    }
    material = SimpleNamespace(
        roles={"test": test},
        candidates=SimpleNamespace(labels=np.zeros(3, np.int64)),
        table=pa.table(table),
        splits=SimpleNamespace(classes=("cat", "dog"), class_counts={"train": (4, 4)}),
    )
    answer = SimpleNamespace(baseline="real", treated="none", predicted={"real": np.array([[0, 1]])})
    return Question(material, settings=None).describe_classes(answer)[0]


@pytest.mark.parametrize(("opinions", "agreement"), [([0, 0, 1], 2 / 3), ([1, 1, 1], 0.0), ([None] * 3, None)])
def test_label_agreement_is_unknown_without_a_referee_and_0_where_it_never_agrees(opinions, agreement):
    assert described(opinions)["label_agreement"] == agreement

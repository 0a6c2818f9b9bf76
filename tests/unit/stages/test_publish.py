import pyarrow as pa
import pytest

from aigc_pipeline.records import Choice, Estimate, Verdict
from aigc_pipeline.stages.publish import _counts, _taken, row_weight


@pytest.mark.parametrize(("dose", "loss_weight"), [(0.25, 0.5), (0.5, 1.0), (0.1, 0.25)])
def test_published_weights_give_synthetic_rows_the_share_of_the_loss_that_was_measured(dose, loss_weight):
    verdict = Verdict(
        outcome="helps", sentence="", baseline="real", uplift=Estimate(value=0.1, n=9), standard_error=0.01,
        smallest_detectable=0.03, alpha=0.025, test_opening=1, dose=dose, loss_weight=loss_weight,
    )  # fmt: skip
    num_real, num_synthetic = 679, 446

    total = num_synthetic * row_weight(verdict, num_real, num_synthetic)

    assert total / (num_real + total) == pytest.approx(dose * loss_weight / (1 - dose + dose * loss_weight))


def test_nothing_tested_leaves_the_weight_alone():
    assert row_weight(None, 679, 446) == 1


def candidates() -> pa.Table:
    """Return accepted and refused candidates of two classes, of each kind."""
    rows = [
        {"label": label, "origin": origin, "class_want": 9, "accepted": accepted}
        for label in (0, 1)
        for origin in ("generated", "classic")
        for accepted in (True, False)
    ]
    return pa.Table.from_pylist(rows)


def choice(**changed: object) -> Choice:
    fixed = {"baseline": "real", "mix": "generated", "dose": 0.25, "loss_weight": 0.5, "classes": ("a", "b")}
    return Choice.model_validate(fixed | {"on_selection": True} | changed)


@pytest.mark.parametrize(
    ("chosen", "rows"),
    [
        (None, [0, 2, 4, 6]),
        (choice(), [0, 4]),
        (choice(mix="classic"), [2, 6]),
        (choice(classes=("b",)), [4]),
        (choice(classes=()), []),
    ],
)
def test_only_what_the_verdict_was_measured_with_is_published(chosen, rows):
    assert _taken(candidates(), chosen, ("a", "b")).tolist() == rows


def test_real_synthetic_and_recommended_rows_are_counted_apart():
    origins, recommended = ["real", "real", "real", "classic", "generated"], [True, True, True, False, True]
    table = pa.table({"origin": origins, "recommended": recommended})

    assert _counts(table) == {"num_real": 3, "num_synthetic": 2, "num_recommended": 1}
    assert _counts(None) == {"num_real": 0, "num_synthetic": 0, "num_recommended": 0}

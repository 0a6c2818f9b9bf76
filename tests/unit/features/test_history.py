"""What a training remembers of its samples."""

import pytest

from aigc_pipeline.features.history import has_hardly_changed, write_samples

IDS = [f"id-{i}" for i in range(100)]
LABELS = ["cat"] * 50 + ["dog"] * 50


@pytest.mark.parametrize(
    ("ids", "labels"),
    [
        ([*IDS, "new"], [*LABELS, "cat"]),
        (IDS[1:], LABELS[1:]),
        (IDS, ["dog", *LABELS[1:]]),
    ],
    ids=["came", "went", "relabelled"],
)
def test_a_sample_that_came_went_or_changed_its_label_is_one_change(tmp_path, ids, labels):
    write_samples(tmp_path, IDS, LABELS)

    assert has_hardly_changed(tmp_path, ids, labels, 0.01)
    assert not has_hardly_changed(tmp_path, ids, labels, 0.009)


def test_order_is_no_change_and_without_memory_all_is_new(tmp_path):
    assert not has_hardly_changed(tmp_path, IDS, LABELS, 1.0)
    write_samples(tmp_path, IDS, LABELS)

    assert has_hardly_changed(tmp_path, IDS[::-1], LABELS[::-1], 0.0)

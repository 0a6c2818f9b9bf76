from aigc_pipeline.core.samples import synthetic_id


def test_an_id_tells_apart_whatever_changes_the_sample():
    ids = {
        synthetic_id("a", "cat", 1),
        synthetic_id("b", "cat", 1),
        synthetic_id("a", "dog", 1),
        synthetic_id("a", "cat", 2),
        synthetic_id("a", "cat", 1, ["parent"]),
        synthetic_id("a", "cat", 1, ["another"]),
    }

    assert len(ids) == 6
    assert synthetic_id("a", "cat", 1, ["parent"]) in ids

from aigc_pipeline.core.samples import refused_id, synthetic_id


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


def test_refused_files_of_one_content_have_ids_of_their_own():
    assert len({refused_id("cat/a.png", "00"), refused_id("cat/b.png", "00"), refused_id("cat/a.png", "11")}) == 3

from aigc_pipeline.core.strict import digest_of


def test_a_digest_depends_on_what_is_set_and_not_on_the_order():
    assert digest_of({"a": 1, "b": [1, 2]}) == digest_of({"b": [1, 2], "a": 1})
    assert len({digest_of(value) for value in ({"a": 1}, {"a": "1"}, {"a": [1]}, {"b": 1}, {"a": None})}) == 5

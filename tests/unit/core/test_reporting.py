import logging

from aigc_pipeline.core.reporting import LogReporter


def test_what_a_person_should_read_is_a_warning_and_curves_are_not_even_milestones(caplog):
    with caplog.at_level(logging.DEBUG, logger="aigc_pipeline"):
        LogReporter().note("class 'cat' is small")
        LogReporter().stage("train", "finished", 2.0)
        LogReporter().metric("loss", 0.5, 64)

    assert [(each.levelname, each.message) for each in caplog.records] == [
        ("WARNING", "class 'cat' is small"),
        ("INFO", "stage train finished in 2.0 s"),
        ("DEBUG", "loss = 0.5 at 64 samples"),
    ]

import pytest

from aigc_pipeline.training.team import Team


@pytest.mark.parametrize(
    ("batch_size", "num_processes", "micro_batch"), [(64, 1, 64), (64, 2, 7), (10, 3, 4), (5, 4, 1)]
)
def test_the_parts_of_all_processes_cover_the_batch_once(batch_size, num_processes, micro_batch):
    rows = [
        row
        for rank in range(num_processes)
        for part in Team(rank, num_processes).parts(batch_size, micro_batch)
        for row in range(part.start, part.stop)
    ]

    assert rows == list(range(batch_size))


def test_alone_a_process_agrees_with_itself_and_waits_for_nobody():
    team = Team()
    team.wait()

    assert team.agree("x") == "x"
    assert team.is_first

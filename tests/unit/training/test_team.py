import pytest

from aigc_pipeline.core.errors import ConfigError
from aigc_pipeline.training.team import Team


@pytest.mark.parametrize(
    ("batch_size", "num_processes", "micro_batch"), [(64, 1, 64), (64, 2, 7), (10, 3, 4), (9, 4, 1)]
)
def test_the_parts_of_all_processes_cover_the_batch_once(batch_size, num_processes, micro_batch):
    rows = [
        row
        for rank in range(num_processes)
        for part in Team(rank, num_processes).parts(batch_size, micro_batch)
        for row in range(part.start, part.stop)
    ]

    assert rows == list(range(batch_size))


@pytest.mark.parametrize(("batch_size", "num_processes", "micro_batch"), [(66, 4, 17), (10, 3, 3), (62, 5, 62)])
def test_no_part_separates_the_pair_of_an_even_row_and_the_next(batch_size, num_processes, micro_batch):
    for rank in range(num_processes):
        parts = list(Team(rank, num_processes).parts(batch_size, micro_batch))

        assert parts
        assert all(part.start % 2 == part.stop % 2 == 0 for part in parts)


def test_more_processes_than_pairs_are_refused_by_each_of_them():
    for rank in range(3):
        with pytest.raises(
            ConfigError, match=r"a batch of 4 gives work to at most 2.*Raise train\.generator\.batch_size to 6"
        ):
            Team(rank, 3).share(4)


def test_alone_a_batch_of_one_is_its_own_share():
    assert list(Team().parts(1, 1)) == [slice(0, 1)]


def test_alone_a_process_agrees_with_itself_and_waits_for_nobody():
    team = Team()
    team.wait()

    assert team.agree("x") == "x"
    assert team.is_first

import torch

from aigc_pipeline.training.samplers import SameClassPairs

LABELS = torch.tensor([0] * 50 + [2] * 8 + [1])


def drawn(batch_size: int, seed: int = 0) -> torch.Tensor:
    return SameClassPairs(LABELS, 0.5)(0, batch_size, torch.Generator().manual_seed(seed))


def test_neighbours_are_of_one_class_and_different_where_there_are_two():
    index = drawn(4_000)
    first, second = index[0::2], index[1::2]

    assert torch.equal(LABELS[first], LABELS[second])
    assert ((first != second) | (LABELS[first] == 1)).all()
    assert (LABELS[first] == 1).any()


def test_every_other_sample_of_the_class_is_a_partner_equally_often():
    index = drawn(200_000)
    pairs = index.reshape(-1, 2)
    partners = pairs[pairs[:, 0] == 50, 1]
    shares = torch.bincount(partners, minlength=len(LABELS))[51:58] / len(partners)

    assert torch.allclose(shares, torch.full((7,), 1 / 7), atol=0.02)


def test_classes_come_by_the_power_of_their_size():
    labels = LABELS[drawn(200_000)]
    expected = torch.tensor([50.0, 1.0, 8.0]).sqrt()

    assert torch.allclose(torch.bincount(labels) / len(labels), expected / expected.sum(), atol=0.01)


def test_the_same_generator_draws_the_same_pairs():
    assert torch.equal(drawn(64), drawn(64))
    assert not torch.equal(drawn(64), drawn(64, seed=1))

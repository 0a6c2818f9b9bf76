import pytest

from aigc_pipeline.generators import DCGAN, R3GAN
from aigc_pipeline.modalities import ImageSpec, VectorSpec
from aigc_pipeline.training.schedule import Cosine, constant


def square(side: int) -> ImageSpec:
    return ImageSpec(height=side, width=side, channels=1)


def gamma_of(spec, num_train: int, **settings: float) -> Cosine:
    critic, _ = R3GAN(**settings).phases(spec, num_train)
    return critic.loss.__self__.penalty.gamma


@pytest.mark.parametrize(
    ("spec", "start"),
    [
        (square(32), 0.05),
        (square(64), 0.43),  # times 2 ** 3.1
        (ImageSpec(height=16, width=64, channels=3), 0.05),
        (VectorSpec(num_values=2, scale=1.0), 0.05),
    ],
)
def test_the_penalty_weighs_more_on_larger_pictures_and_falls_to_a_tenth(spec, start):
    gamma = gamma_of(spec, 5_000)

    assert gamma.at(0.0) == pytest.approx(start, rel=0.01)
    assert gamma.at(0.4) == pytest.approx(gamma.at(0.0) / 10)


def test_on_small_data_the_penalty_rises_eightfold():
    gamma = gamma_of(square(32), 4_999, gamma=2.0)

    assert (gamma.at(0.0), gamma.at(0.4)) == pytest.approx((2.0, 16.0))


def test_both_players_have_the_settings_of_the_paper():
    found = {
        (phase.beta1, phase.beta2, phase.learning_rate) for phase in R3GAN(backbone="resnext").phases(square(32), 9)
    }

    assert found == {(0.0, Cosine(0.9, 0.99, 0.4), Cosine(2e-4, 4e-5, 0.4))}


def test_both_players_of_dcgan_have_the_settings_of_its_paper():
    found = {(phase.beta1, phase.beta2, phase.learning_rate) for phase in DCGAN().phases(square(32), 9)}

    assert found == {(0.5, constant(0.999), constant(2e-4))}

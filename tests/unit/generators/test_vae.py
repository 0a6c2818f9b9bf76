import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from aigc_pipeline.generators.base import latents
from aigc_pipeline.generators.vae import VAE, Evidence, kl_to_standard_normal
from aigc_pipeline.modalities import ImageSpec, VectorSpec

SPECS = [
    pytest.param(VectorSpec(num_values=3, scale=1.0), id="points"),
    pytest.param(ImageSpec(height=8, width=8, channels=1), id="8px"),
    pytest.param(ImageSpec(height=28, width=28, channels=3), id="28px"),
]


def make_samples(spec, n: int = 6):
    return torch.randn(n, *spec.shape, generator=torch.Generator().manual_seed(0)), torch.arange(n) % 3


def test_the_divergence_from_the_prior_equals_torchs():
    generator = torch.Generator().manual_seed(0)
    mean, log_variance = (torch.randn(7, 4, generator=generator) for _ in range(2))
    expected = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0)).sum(1)

    torch.testing.assert_close(kl_to_standard_normal(mean, log_variance), expected)
    assert torch.equal(kl_to_standard_normal(torch.zeros(2, 4), torch.zeros(2, 4)), torch.zeros(2))


@pytest.mark.parametrize("spec", SPECS)
def test_the_loss_is_the_negative_evidence_bound_per_value_without_its_constant(spec, make_batch):
    sigma, num_values = 0.3, math.prod(spec.shape)
    networks = VAE(size="tiny", latent_size=5).networks(spec, 3, seed=1)
    x, labels = make_samples(spec)
    loss, _ = Evidence(sigma, 5)(networks, make_batch(x, labels))

    posterior = Normal(*_moments(networks["encoder"](x, labels)))
    z = posterior.mean + posterior.stddev * make_batch(x, labels).draws.normal(5)
    log_likelihood = Normal(networks["decoder"](z, labels), sigma).log_prob(x).flatten(1).sum(1)
    bound = (log_likelihood - kl_divergence(posterior, Normal(0.0, 1.0)).sum(1)).mean()
    constant = math.log(sigma * math.sqrt(2 * math.pi))

    torch.testing.assert_close(loss, -bound / num_values - constant)


def test_the_noise_level_follows_the_modality_unless_it_is_set():
    points, picture = VectorSpec(num_values=3, scale=1.0), ImageSpec(height=8, width=8, channels=1)
    levels = [VAE(sigma=s).phases(spec, 40)[0].loss.sigma for s in (None, 0.7) for spec in (points, picture)]

    assert levels == [0.1, 0.4, 0.7, 0.7]


@pytest.mark.parametrize("spec", SPECS)
def test_a_sample_is_the_decoders_mean_at_the_latent_of_its_seed(spec):
    family = VAE(size="tiny")
    networks = family.networks(spec, 3, seed=1)
    labels = torch.tensor([2, 0])
    expected = networks["decoder"](latents([7, 9], family.latent_size, labels.device), labels)

    assert torch.equal(family.sample(networks, [7, 9], labels, spec=spec).x, expected)
    assert family.d_logit(networks, expected, labels) is None


@pytest.mark.parametrize("spec", SPECS)
def test_every_weight_learns(spec, make_batch):
    networks = VAE(size="tiny").networks(spec, 3, seed=1)
    loss, _ = Evidence(0.4, 8)(networks, make_batch(*make_samples(spec)))
    loss.backward()

    for module in networks.values():
        assert all(float(parameter.grad.abs().sum()) > 0 for parameter in module.parameters())


@pytest.mark.parametrize(("sigma", "spread"), [(0.6, 0.8), (1.5, 0.0)], ids=["narrow", "wider than the data"])
def test_means_carry_what_the_noise_level_leaves_of_the_datas_spread(sigma, spread, points_after_training):
    """The best model of N(0, 1) has means of variance 1 - sigma^2, or none where sigma explains it all."""
    x = torch.randn(4_000, 1, generator=torch.Generator().manual_seed(0))
    family = VAE(size="tiny", latent_size=1, sigma=sigma, learning_rate=3e-3)

    points = points_after_training(family, x, torch.zeros(4_000, dtype=torch.long), steps=1_200)

    assert float(points.mean()) == pytest.approx(0.0, abs=0.1)
    assert float(points.std()) == pytest.approx(spread, abs=0.1)


def _moments(encoded):
    mean, log_variance = encoded
    return mean, (log_variance / 2).exp()

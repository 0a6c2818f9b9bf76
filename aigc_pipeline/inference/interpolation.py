"""Pictures between samples: what a generator learned between two latents, and between two classes."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from aigc_pipeline.core.errors import ConfigError
from aigc_pipeline.core.seeding import seed_for
from aigc_pipeline.generators.base import latents
from aigc_pipeline.inference.opening import OpenGenerator, decode
from aigc_pipeline.modalities import modality_of

_SMALLEST_ANGLE = 1e-4


def interpolate(
    opened: OpenGenerator, class_name: str, to_class: str | None, *, steps: int, rows: int, seed: int
) -> bytes:
    """Return a PNG with `rows` paths of `steps` samples each, between the latents of two seeds.

    With `to_class` the class changes on the way, too: at each step the class embedding is mixed.

    Raises:
        ConfigError: on an unknown class, a family without one latent or class embedding, or samples that make no picture.
    """
    family, label = opened.latent_family("interpolated"), opened.told_of(class_name)
    target = opened.told_of(to_class) if to_class is not None else label
    shares = torch.linspace(0, 1, steps)
    made = []
    for row in range(rows):
        seeds = [seed_for(seed, "path", row, end) for end in ("start", "end")]
        start, end = latents(seeds, family.num_latents(opened.spec), opened.device)
        path = torch.stack([slerp(start, end, float(share)) for share in shares])
        made.append(_walk(opened, path, label, target, shares))
    modality = modality_of(opened.spec)
    picture = modality.grid(modality.from_tensor(torch.cat(made), opened.spec), opened.spec, steps)
    if picture is None:
        msg = f"samples of kind '{opened.spec.kind}' make no picture"
        raise ConfigError(msg)
    return picture


def slerp(start: Float[Tensor, " z"], end: Float[Tensor, " z"], share: float) -> Float[Tensor, " z"]:
    """Return the point on the arc between two latents (White 2016, "Sampling generative networks", section 3).

    Straight lines between Gaussian latents pass through points that are shorter than any the generator has seen.
    """
    cosine = torch.nn.functional.cosine_similarity(start, end, dim=0).clamp(-1, 1)
    angle = float(torch.arccos(cosine))
    if abs(math.sin(angle)) < _SMALLEST_ANGLE:
        return torch.lerp(start, end, share)
    return start * (math.sin((1 - share) * angle) / math.sin(angle)) + end * (math.sin(share * angle) / math.sin(angle))


def _walk(
    opened: OpenGenerator, path: Float[Tensor, "s z"], label: int, target: int, shares: Float[Tensor, " s"]
) -> Tensor:
    """Decode a path; where the class changes, the first class's rows take each mixture in turn, and are put back."""
    if label == target:
        return decode(opened, opened.networks, path, torch.full((len(path),), label, device=opened.device))
    parts = [part for network in opened.networks.values() for part in network.modules()]
    tables = [part for part in parts if isinstance(part, torch.nn.Embedding)]
    if not tables:
        msg = f"'{opened.family.kind}' has no class embedding to mix. Leave out the second class."
        raise ConfigError(msg)
    kept = [table.weight[label].clone() for table in tables]
    samples = []
    for z, share in zip(path, shares, strict=True):
        for table, own in zip(tables, kept, strict=True):
            table.weight.data[label] = torch.lerp(own, table.weight.data[target], float(share))
        samples.append(decode(opened, opened.networks, z[None], torch.tensor([label], device=opened.device)))
    for table, own in zip(tables, kept, strict=True):
        table.weight.data[label] = own
    return torch.cat(samples)

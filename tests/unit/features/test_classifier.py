import numpy as np
import pytest
import torch
from torch import nn

from aigc_pipeline.data.loader import LabelledCells
from aigc_pipeline.data.shards import cells_from_numpy
from aigc_pipeline.features import classifier
from aigc_pipeline.modalities import VectorSpec
from aigc_pipeline.training import devices
from aigc_pipeline.training.loop import Hooks

SPEC = VectorSpec(num_values=3, scale=1.0)


def make_points(n: int) -> LabelledCells:
    points = np.random.default_rng(0).standard_normal((n, 3)).astype(np.float32)
    return LabelledCells([str(i) for i in range(n)], (points[:, 0] > 0).astype(np.int64), cells_from_numpy(points))


@pytest.mark.parametrize(("free_bytes", "where"), [(1e9, "meta"), (0, "cpu")])
def test_a_split_too_large_for_the_device_waits_in_main_memory(free_bytes, where, monkeypatch):
    monkeypatch.setattr(devices, "free_bytes", lambda _: free_bytes)
    monkeypatch.setattr(classifier, "ClassPower", lambda *_: None)  # counts, which meta tensors cannot

    data = classifier.training_data(make_points(40), SPEC, torch.device("meta"))

    assert (data.x.device.type, data.device.type) == (where, "meta")


def test_the_selection_split_is_looked_at_in_parts(monkeypatch):
    class First(nn.Module):
        """Knows the answer: class 1 where the first value is positive."""

        def trunk(self, x: torch.Tensor) -> torch.Tensor:
            sizes.append(len(x))
            return torch.stack([-x[:, 0], x[:, 0]], 1)

        head = nn.Identity()

    sizes: list[int] = []
    monkeypatch.setattr(classifier, "_CHECKED_AT_ONCE", 16)
    validation = classifier._validation(make_points(40), SPEC, torch.device("cpu"), every=1, patience=1)

    assert validation.numbers({"encoder": First()}) == {"accuracy": 1.0}
    assert sizes == [16, 16, 8]


def test_the_contrastive_loss_is_that_of_its_paper():
    a, b = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))
    z = torch.cat([a, b])
    likeness = torch.exp(torch.cosine_similarity(z[:, None], z[None], dim=2) / 0.3)
    pairs = [(i, (i + 5) % 10) for i in range(10)]
    expected = [-torch.log(likeness[i, j] / (likeness[i].sum() - likeness[i, i])) for i, j in pairs]

    torch.testing.assert_close(classifier.nt_xent(a, b, temperature=0.3), torch.stack(expected).mean())


def test_features_are_standardized_over_the_training_split_and_the_head_reads_them_raw():
    points = make_points(300)
    encoder = classifier.Classifier(total_samples=640, num_features=6).fit(
        points, points, spec=SPEC, num_classes=2, seed=0, device=torch.device("cpu"), hooks=Hooks()
    )
    features, logits = encoder.encode_with_logits(points.cells)
    x = torch.from_numpy(np.array(points.cells.to_pylist(), np.float32))

    assert np.array_equal(features, encoder.encode(points.cells))
    np.testing.assert_allclose(features.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(features.std(0), 1, atol=1e-3)
    raw = encoder.network.trunk(x)
    np.testing.assert_allclose(logits, encoder.network.head(raw.relu()).numpy(), atol=1e-5)

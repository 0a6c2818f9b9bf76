import numpy as np
import pytest
import torch
from torch import nn

from aigc_pipeline.data.loader import LabelledCells
from aigc_pipeline.data.shards import cells_from_numpy
from aigc_pipeline.features import classifier
from aigc_pipeline.modalities import VectorSpec
from aigc_pipeline.training import devices

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

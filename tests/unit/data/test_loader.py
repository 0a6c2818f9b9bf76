import numpy as np
import pytest

from aigc_pipeline.data.loader import LabelledCells, concatenate
from aigc_pipeline.data.shards import cells_from_numpy


def make(first: int, num: int) -> LabelledCells:
    """Return samples whose id, label and cell say the same number."""
    numbers = np.arange(first, first + num)
    return LabelledCells([str(n) for n in numbers], numbers, cells_from_numpy(numbers[:, None].astype(np.float32)))


@pytest.mark.parametrize(
    ("samples", "numbers"),
    [
        (make(0, 5).take(np.array([3, 0, 3])), [3, 0, 3]),
        (concatenate(make(7, 2), make(1, 2)), [7, 8, 1, 2]),
        (make(0, 5).take(np.array([], np.int64)), []),
    ],
)
def test_id_label_and_cell_stay_together(samples, numbers):
    assert (
        [int(each) for each in samples.ids] == samples.labels.tolist() == samples.cells.flatten().to_pylist() == numbers
    )
    assert len(samples) == len(numbers)

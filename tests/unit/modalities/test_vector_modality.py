"""Points: what a user may ask for of them."""

import numpy as np
import pyarrow as pa
import pytest

from aigc_pipeline.core.errors import ConfigError
from aigc_pipeline.modalities.base import Reject
from aigc_pipeline.modalities.vector import VectorModality

FACTS = pa.table({"num_values": [2, 2, 3], "sum_squares": [2.0, 6.0, 300.0]})


def test_the_spec_has_the_commonest_length_and_its_root_mean_square() -> None:
    spec = VectorModality().fit(FACTS)

    assert spec.num_values == 2
    assert spec.scale == pytest.approx(np.sqrt(2.0))


def test_settings_of_pictures_are_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"split\.size \(16\) and split\.keep_alpha \(True\) cannot be honoured"):
        VectorModality().fit(FACTS, size=16, keep_alpha=True)


@pytest.mark.parametrize(
    ("content", "code"),
    [(b"", "unreadable"), (b"12345", "unreadable"), (np.array([1, np.nan], "<f4").tobytes(), "not_finite")],
)
def test_what_is_no_point_is_refused_with_its_code(content: bytes, code: str) -> None:
    found = VectorModality().inspect(content)

    assert isinstance(found, Reject)
    assert found.code == code

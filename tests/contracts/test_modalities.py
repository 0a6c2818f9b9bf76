"""What every modality must keep."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from aigc_pipeline.data.shards import cells_from_numpy
from aigc_pipeline.modalities import MODALITIES, ImageSpec, VectorSpec, modality_of

SPECS = [
    ImageSpec(height=16, width=16, channels=3, symmetries=("horizontal",)),
    ImageSpec(height=8, width=8, channels=1),
    VectorSpec(num_values=3, scale=2.0),
]


def make_cells(spec, n: int = 12) -> pa.Array:
    x = torch.rand(n, *spec.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return modality_of(spec).from_tensor(x, spec)


def test_every_modality_is_covered_here():
    assert {spec.kind for spec in SPECS} == set(MODALITIES)


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_cells_survive_the_round_trip_through_tensors_exactly(spec):
    modality, cells = modality_of(spec), make_cells(spec)

    assert modality.from_tensor(modality.to_tensor(cells, spec), spec) == cells


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_encoded_samples_decode_to_the_same_cells(spec):
    modality, cells = modality_of(spec), make_cells(spec)
    contents = modality.encode(cells, spec)
    if contents is None:
        assert modality.columns(cells, spec).num_columns > 0
        return

    assert modality.decode(contents, spec) == cells
    assert contents == modality.encode(cells, spec)


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_the_first_view_is_the_sample_and_every_view_has_its_shape(spec):
    modality, cells = modality_of(spec), make_cells(spec)
    views = list(modality.views(cells, spec))

    assert all(view.shape == views[0].shape and view.dtype == np.float32 for view in views)
    assert len(views[0]) == len(cells)


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_the_default_network_is_deterministic_and_independent_of_the_batch(spec):
    modality = modality_of(spec)
    x = modality.to_tensor(make_cells(spec), spec)
    torch.manual_seed(0)
    network = modality.network(spec, 5).eval()

    assert network(x).shape == (12, 5)
    assert torch.allclose(network(x)[3:4], network(x[3:4]), atol=1e-5)


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_the_same_draw_gives_the_same_variation_alone_and_in_a_batch(spec):
    modality = modality_of(spec)
    x = modality.to_tensor(make_cells(spec), spec)
    draw = modality.draw_variation(len(x), torch.Generator().manual_seed(3), spec)
    varied = modality.vary(x, draw, spec)

    assert varied.shape == x.shape
    assert torch.allclose(varied[5:6], modality.vary(x[5:6], {k: v[5:6] for k, v in draw.items()}, spec), atol=1e-5)


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_html_and_columns_have_one_entry_per_sample(spec):
    modality, cells = modality_of(spec), make_cells(spec)

    assert len(modality.html(cells, spec)) == len(cells)
    assert modality.columns(cells, spec).num_rows == len(cells)


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_no_samples_are_no_error(spec):
    modality = modality_of(spec)
    empty = cells_from_numpy(np.asarray(make_cells(spec).flatten()).reshape(12, -1)[:0])

    assert len(modality.to_tensor(empty, spec)) == 0
    assert modality.html(empty, spec) == []


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_a_spec_survives_json(spec):
    assert type(spec).model_validate_json(spec.model_dump_json()) == spec

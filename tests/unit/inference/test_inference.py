import io
import json
import os
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from aigc_pipeline.core.errors import CheckpointError, ConfigError, PublishError
from aigc_pipeline.core.reporting import LogReporter
from aigc_pipeline.core.store import Store
from aigc_pipeline.inference import exporting
from aigc_pipeline.inference.compression import VARIANTS, compress, load_variant, pack, unpack
from aigc_pipeline.inference.exporting import export
from aigc_pipeline.inference.interpolation import _walk, interpolate, slerp
from aigc_pipeline.inference.opening import decode, find_checkpoint
from aigc_pipeline.inference.synthesis import synthesize
from aigc_pipeline.records import Checkpoint
from tests.unit.inference.conftest import TOLD_NOTHING, TOLD_SITES, VECTOR, opened, write_checkpoint


def make(folder, counts, out, seed=0, **arguments):
    table = synthesize(
        opened(folder, **arguments), counts, out, seed=seed, precision=torch.float32, reporter=LogReporter()
    )
    return pq.read_table(table)


def test_a_checkpoint_is_found_in_a_workspace_in_a_version_and_by_its_folder(checkpoint, tmp_path):
    workspace = tmp_path / "workspace"
    version = workspace / "versions" / "v0001"
    version.mkdir(parents=True)
    (version / "lineage.json").write_text(
        json.dumps({"records": {"checkpoint": {"path": "stages/train/a"}}, "seed": 0, "environment": {}})
    )

    assert find_checkpoint(checkpoint) == find_checkpoint(workspace) == find_checkpoint(version) == checkpoint
    with pytest.raises(CheckpointError, match="no finished training at"):
        find_checkpoint(tmp_path / "nowhere")
    shutil.rmtree(checkpoint)
    with pytest.raises(CheckpointError, match="no longer has the files of stage 'train'"):
        find_checkpoint(version)


def test_a_workspace_whose_last_run_kept_an_earlier_checkpoint_means_that_one(checkpoint, tmp_path):
    later = checkpoint.with_name("b")
    later.mkdir()
    (later / "record.json").write_bytes((checkpoint / "record.json").read_bytes())
    (later.parent / "LATEST").write_text("b\na")

    assert find_checkpoint(tmp_path / "workspace") == checkpoint


def test_a_record_of_an_earlier_checkpoint_does_not_answer_once_that_is_removed(checkpoint, tmp_path):
    store = Store(tmp_path / "workspace")
    later = store.directory("train", "b")
    later.mkdir()
    (later / "record.json").write_bytes((checkpoint / "record.json").read_bytes())
    assert store.find("train", "b", Checkpoint) is not None

    shutil.rmtree(checkpoint)

    assert store.find("train", "b", Checkpoint) is None


def test_the_newest_training_is_the_last_committed_one_whatever_the_clock_said(checkpoint, tmp_path):
    later = write_checkpoint(checkpoint.with_name("b"))
    os.utime(later / "record.json", (0, 0))
    (later.parent / "LATEST").write_text("b\na")

    assert find_checkpoint(tmp_path / "workspace") == later


def test_a_damaged_lineage_is_one_sentence(tmp_path):
    (tmp_path / "lineage.json").write_text("{")

    with pytest.raises(PublishError, match=r"cannot read .*lineage\.json.*damaged"):
        find_checkpoint(tmp_path)


def unlink_weights(folder):
    (folder / "generator.safetensors").unlink()
    return folder


def uninstall_family(folder):
    (folder / "generator.json").write_text('{"kind": "gone", "package": "gone 1.0"}')
    return folder


def move_file(folder):
    (folder / "generator.json").write_text('{"kind": "weights_file", "path": "gone.pt2"}')
    return folder


def give_older_settings(folder):
    settings = json.loads((folder / "generator.json").read_text())
    (folder / "generator.json").write_text(json.dumps(settings | {"width": 3}))
    return folder


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (unlink_weights, r"cannot read the weights .*generator\.safetensors: No such file"),
        (uninstall_family, r"cannot be opened: there is no generator 'gone'\. .*\w\. It was trained with gone 1\.0\.$"),
        (
            move_file,
            r"cannot be opened: cannot read the generator gone\.pt2: No such file or directory\. Check the path\.$",
        ),
        (give_older_settings, r"cannot be opened: r3gan\.width: Extra inputs.*\. Install the version of aigc"),
    ],
)
def test_a_checkpoint_that_cannot_be_opened_says_why(tmp_path, damage, said):
    with pytest.raises(CheckpointError, match=said):
        opened(damage(write_checkpoint(tmp_path / "checkpoint")))


def test_samples_become_files_that_the_table_names(checkpoint, tmp_path):
    table = make(checkpoint, {"dog": 70, "cat": 3}, tmp_path / "out")

    assert sorted(table["class_name"].to_pylist()) == ["cat"] * 3 + ["dog"] * 70
    assert len(set(table["sample_id"].to_pylist())) == 73
    for name in table["file_name"].to_pylist():
        assert Image.open(tmp_path / "out" / name).size == (8, 8)


def test_sample_i_of_a_class_is_the_same_whatever_the_counts(checkpoint, tmp_path):
    few, many = (
        make(checkpoint, {"dog": 5}, tmp_path / "few"),
        make(checkpoint, {"dog": 80, "cat": 9}, tmp_path / "many"),
    )
    dogs = many.filter(np.array(many["class_name"].to_pylist()) == "dog")

    assert few["sample_id"].to_pylist() == dogs["sample_id"].to_pylist()[:5]
    for name in few["file_name"].to_pylist():
        assert (tmp_path / "few" / name).read_bytes() == (tmp_path / "many" / name).read_bytes()


def test_points_stay_in_the_table(tmp_path):
    folder = write_checkpoint(tmp_path / "c", "vae", VECTOR)

    table = make(folder, {"cat": 4}, tmp_path / "out")

    assert np.array(table["values"].to_pylist()).shape == (4, 2)
    assert table["file_name"].null_count == 4


@pytest.mark.parametrize(
    ("counts", "said"), [({"cow": 3}, "has no class 'cow'. It knows cat, dog"), ({"cat": 0}, "at least 1 sample")]
)
def test_wrong_wishes_are_named(checkpoint, counts, said, tmp_path):
    with pytest.raises(ConfigError, match=said):
        make(checkpoint, counts, tmp_path / "out")


def test_nothing_is_overwritten(checkpoint, tmp_path):
    make(checkpoint, {"cat": 1}, tmp_path / "out")

    with pytest.raises(ConfigError, match="exists already"):
        make(checkpoint, {"cat": 1}, tmp_path / "out")


def test_weights_that_are_not_those_of_the_record_are_refused(checkpoint):
    file = checkpoint / "generator.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")

    with pytest.raises(CheckpointError, match="as recorded"):
        opened(checkpoint)


def test_a_family_with_parents_says_that_it_needs_the_dataset(tmp_path):
    folder = write_checkpoint(tmp_path / "c", "warp")

    with pytest.raises(ConfigError, match="varies real samples, which a checkpoint does not hold"):
        make(folder, {"cat": 1}, tmp_path / "out")


def test_a_generator_that_was_told_nothing_cannot_be_asked_for_a_class(tmp_path):
    folder = write_checkpoint(tmp_path / "c", conditions=TOLD_NOTHING)

    with pytest.raises(ConfigError, match=r"not told classes \(train.condition_on is \[\]\)"):
        make(folder, {"cat": 1}, tmp_path / "out")
    with pytest.raises(ConfigError, match="not told classes"):
        interpolate(opened(folder), "cat", "dog", steps=3, rows=1, seed=0)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["flow_matching", "r3gan", "vae"])
def test_truncation_brings_samples_closer_together(kind, tmp_path):
    folder = write_checkpoint(tmp_path / "c", kind)
    spreads = []
    for psi in (1.0, 0.3):
        synthesizer = opened(folder, truncation=psi).synthesizer()
        cells, _ = synthesizer.make(synthesizer.orders({0: 64}, "x", root=0))
        spreads.append(np.array(cells.to_pylist(), float).std(0).mean())

    assert spreads[1] < spreads[0]


@pytest.mark.parametrize("psi", [0.0, 1.5, -1.0])
def test_truncation_outside_its_range_is_refused(checkpoint, psi):
    with pytest.raises(ConfigError, match="above 0 and at most 1"):
        opened(checkpoint, truncation=psi)


def test_a_family_that_is_no_function_of_one_latent_says_so(tmp_path):
    folder = write_checkpoint(tmp_path / "c", "warp")

    with pytest.raises(
        ConfigError, match=r"'warp' is no function of one latent and cannot be exported. Families that can: .*vae"
    ):
        export(opened(folder), "torch_export", tmp_path / "x.pt2")


def test_an_arc_keeps_the_length_and_ends_where_it_should():
    start, end = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 3.0])

    torch.testing.assert_close(slerp(start, end, 0.0), start)
    torch.testing.assert_close(slerp(start, end, 1.0), end)
    assert float(slerp(start, end, 0.5).norm()) == pytest.approx(3.0)


@pytest.mark.parametrize("to_class", [None, "dog"])
@pytest.mark.parametrize(("kind", "network"), [("flow_matching", "denoiser"), ("r3gan", "generator")])
def test_interpolation_draws_a_grid_and_leaves_the_generator_as_it_was(kind, network, to_class, tmp_path):
    generator = opened(write_checkpoint(tmp_path / "c", kind))
    before = {name: value.clone() for name, value in generator.networks[network].state_dict().items()}

    picture = interpolate(generator, "cat", to_class, steps=5, rows=2, seed=0)

    width, height = Image.open(io.BytesIO(picture)).size
    assert width / height == pytest.approx(5 / 2, rel=0.1)
    assert all(torch.equal(value, before[k]) for k, value in generator.networks[network].state_dict().items())


@pytest.mark.parametrize("kind", ["flow_matching", "r3gan", "dcgan", "vae"])
def test_exports_give_the_checkpoints_samples_at_any_batch_size(kind, tmp_path):
    generator = opened(write_checkpoint(tmp_path / "c", kind))
    file = tmp_path / "export.pt2"

    assert export(generator, "torch_export", file) <= 1e-4

    run = torch.export.load(file).module()
    latents = generator.latent_family("x").num_latents(generator.spec)
    assert run(torch.randn(3, latents), torch.tensor([0, 1, 0])).shape == (3, 1, 8, 8)


@pytest.mark.parametrize("kind", ["flow_matching", "r3gan"])
def test_onnx_exports_give_the_checkpoints_samples(kind, tmp_path):
    pytest.importorskip("onnxscript", reason="the extra `export` is not installed")
    pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")

    assert export(opened(write_checkpoint(tmp_path / "c", kind)), "onnx", tmp_path / "generator.onnx") <= 1e-4


def test_an_export_that_differs_is_not_written(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr("aigc_pipeline.inference.exporting.MAX_DIFFERENCE", -1.0)

    with pytest.raises(CheckpointError, match="differs from the checkpoint"):
        export(opened(checkpoint), "torch_export", tmp_path / "x.pt2")
    assert not (tmp_path / "x.pt2").exists()


def test_variants_are_smaller_and_their_cost_is_measured(checkpoint, tmp_path):
    rows = {row["variant"]: row for row in compress(opened(checkpoint), tmp_path / "variants")}

    assert rows["float32"]["max_difference"] == 0
    assert rows["float16"]["bytes"] < 0.55 * rows["float32"]["bytes"]
    assert rows["int8"]["bytes"] < 0.3 * rows["float32"]["bytes"]
    assert rows["pruned"]["bytes"] < 0.35 * rows["float32"]["bytes"]
    assert rows["float16"]["mean_difference"] < rows["int8"]["mean_difference"] < rows["pruned"]["mean_difference"]
    assert json.loads((tmp_path / "variants" / "variants.json").read_text())["variants"][0]["variant"] == "float32"


@pytest.mark.parametrize("conditions", [TOLD_NOTHING, TOLD_SITES])
def test_generators_told_more_or_less_than_the_class_are_compressed(conditions, tmp_path):
    folder = write_checkpoint(tmp_path / "c", conditions=conditions)

    rows = compress(opened(folder), tmp_path / "variants")

    assert [row["variant"] for row in rows] == list(VARIANTS)
    assert rows[0]["max_difference"] == 0


def test_a_generator_whose_weights_lie_elsewhere_is_not_compressed(checkpoint, tmp_path):
    export(opened(checkpoint), "torch_export", tmp_path / "x.pt2")
    folder = write_checkpoint(tmp_path / "c", kind="weights_file", path=str(tmp_path / "x.pt2"))

    with pytest.raises(ConfigError, match="weights of 'weights_file' are not in this checkpoint"):
        compress(opened(folder), tmp_path / "variants")
    assert not (tmp_path / "variants").exists()


@pytest.mark.parametrize("variant", VARIANTS)
def test_packing_keeps_weights_within_each_variants_rounding(variant):
    weight = torch.randn(6, 5, 3, 3, generator=torch.Generator().manual_seed(0))
    state = {"w": weight, "b": torch.randn(6), "n": torch.tensor(3)}

    back = unpack(pack(state, variant))

    assert set(back) == {"w", "b", "n"}
    assert int(back["n"]) == 3
    if variant == "pruned":
        assert int((back["w"] == 0).sum()) == weight.numel() // 2
        assert float(back["w"].abs()[back["w"] != 0].min()) >= float(weight.abs().median()) - 1e-3
    else:
        limit = {"float32": 0.0, "float16": 2e-3, "int8": float(weight.abs().max()) / 254 + 1e-6}[variant]
        assert float((back["w"] - weight).abs().max()) <= limit


def test_a_variant_of_other_networks_is_refused(checkpoint, tmp_path):
    save_file({"generator.other": torch.zeros(2)}, tmp_path / "x.safetensors")

    with pytest.raises(CheckpointError, match="does not hold a variant"):
        load_variant(opened(checkpoint), tmp_path / "x.safetensors")


@pytest.mark.parametrize("kind", ["flow_matching", "r3gan"])
def test_a_path_to_another_class_begins_in_one_and_ends_in_the_other(kind, tmp_path):
    generator = opened(write_checkpoint(tmp_path / "c", kind))
    z = torch.randn(1, generator.latent_family("x").num_latents(generator.spec)).expand(3, -1)

    path = _walk(generator, z, 0, 1, torch.linspace(0, 1, 3))
    ends = decode(generator, generator.networks, z[:2], torch.tensor([0, 1]))

    torch.testing.assert_close(path[[0, 2]], ends)
    assert not torch.allclose(path[1], path[0])
    assert not torch.allclose(path[1], path[2])


def test_a_class_is_made_with_the_attributes_that_are_asked_for(tmp_path):
    folder = write_checkpoint(tmp_path / "c", conditions=TOLD_SITES)
    asked, mixed = (
        synthesize(
            opened(folder), {"dog": 10}, tmp_path / name, seed=0, precision=torch.float32, reporter=LogReporter(),
            attributes=attributes,
        )
        for name, attributes in (("asked", {"site": "s"}), ("mixed", None))
    )  # fmt: skip

    assert pq.read_table(asked)["condition"].to_pylist() == ['{"site": "s"}'] * 10
    assert set(pq.read_table(mixed)["condition"].to_pylist()) == {'{"site": "n"}', '{"site": "s"}'}
    with pytest.raises(ConfigError, match=r"never told site=west of class 'dog'\. It was told site=n; site=s"):
        synthesize(
            opened(folder), {"dog": 1}, tmp_path / "west", seed=0, precision=torch.float32, reporter=LogReporter(),
            attributes={"site": "west"},
        )  # fmt: skip


def test_another_seed_makes_other_samples_and_other_paths(checkpoint, tmp_path):
    first, other = (make(checkpoint, {"cat": 9}, tmp_path / str(seed), seed=seed) for seed in (0, 1))
    generator = opened(checkpoint)
    pictures = [interpolate(generator, "cat", None, steps=2, rows=1, seed=seed) for seed in (0, 1, 0)]

    assert not set(first["seed"].to_pylist()) & set(other["seed"].to_pylist())
    assert pictures[0] == pictures[2] != pictures[1]


def test_samples_in_half_precision_are_nearly_those_in_full(tmp_path):
    generator = opened(write_checkpoint(tmp_path / "c", "vae", VECTOR))
    values = []
    for precision in (torch.float32, torch.bfloat16):
        out = tmp_path / str(precision)
        table = synthesize(generator, {"cat": 9}, out, seed=0, precision=precision, reporter=LogReporter())
        values.append(np.array(pq.read_table(table)["values"].to_pylist()))

    assert np.allclose(*values, atol=0.1)
    assert not np.array_equal(*values)


def test_an_export_is_checked_on_every_class_and_one_that_gives_no_numbers_is_not_written(
    checkpoint, tmp_path, monkeypatch
):
    shown: list[int] = []

    def write(_decoder, _z, labels):
        shown.extend(labels.tolist())
        return b""

    monkeypatch.setitem(exporting._WRITERS, "torch_export", write)
    monkeypatch.setitem(exporting._RUNNERS, "torch_export", lambda *_: np.full((64, 1, 8, 8), np.nan, np.float32))

    with pytest.raises(CheckpointError, match="differs from the checkpoint"):
        export(opened(checkpoint), "torch_export", tmp_path / "x.pt2")
    assert set(shown) == {0, 1}
    assert not (tmp_path / "x.pt2").exists()

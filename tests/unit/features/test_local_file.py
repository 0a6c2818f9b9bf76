"""Encoders from files: a TorchScript and a torch.export network made here."""

import copy
import io
import re
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import TypeAdapter, ValidationError
from torch import nn

from aigc_pipeline.core.errors import ConfigError, WorkspaceError
from aigc_pipeline.core.samples import content_sha256
from aigc_pipeline.data.loader import LabelledCells
from aigc_pipeline.data.shards import cells_from_numpy
from aigc_pipeline.features import AnyEncoder, LocalFile, archives, load_fitted
from aigc_pipeline.modalities import ImageSpec
from aigc_pipeline.training.loop import Hooks
from tests.conftest import needs_exports

CPU = torch.device("cpu")
SIZE = 12
KINDS = ["TorchScript", pytest.param("torch.export", marks=needs_exports)]


class Tiny(nn.Module):
    """Twelve features per picture; in training mode it would answer differently."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.conv = nn.Conv2d(3, 12, 3, stride=2)
        self.norm, self.dropout = nn.BatchNorm2d(12), nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.dropout(self.norm(self.conv(x)).relu()).mean((2, 3))


def scripted(file: Path, network: nn.Module | None = None) -> Path:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*torch.jit")
        torch.jit.save(torch.jit.script(Tiny().eval() if network is None else network), file)
    return file


def exported(file: Path) -> Path:
    dynamic = {0: torch.export.Dim("n", min=1, max=512)}
    program = torch.export.export(Tiny().eval(), (torch.zeros(3, 3, SIZE, SIZE),), dynamic_shapes=(dynamic,))
    torch.export.save(program, file)
    return file


def listing(file: Path, *names: str) -> Path:
    """A zip of empty files."""
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, "")
    return file


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("encoders")
    return {"TorchScript": scripted(folder / "tiny.pt"), "torch.export": exported(folder / "tiny.pt2")}


def settings(path: Path, **changes) -> LocalFile:
    values = {
        "path": path, "name": "tiny", "input_size": SIZE, "mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.4),
        "num_features": 12, "batch_size": 7,
    }  # fmt: skip
    return LocalFile(**{**values, **changes})


def pictures(channels: int, size: int = SIZE, n: int = 20) -> tuple[np.ndarray, LabelledCells, ImageSpec]:
    pixels = np.random.default_rng(channels).integers(0, 256, (n, size, size, channels), np.uint8)
    cells = LabelledCells([str(i) for i in range(n)], np.zeros(n, np.int64), cells_from_numpy(pixels))
    return pixels, cells, ImageSpec(height=size, width=size, channels=channels)


def fitted(encoder: LocalFile, cells: LabelledCells, spec: ImageSpec):
    return encoder.fit(cells, cells, spec=spec, num_classes=1, seed=0, device=CPU, hooks=Hooks())


@pytest.mark.parametrize("kind", KINDS)
def test_features_are_those_of_the_network_standardized_over_train(files, kind):
    pixels, cells, spec = pictures(3)
    encoder = fitted(settings(files[kind]), cells, spec)
    x = (pixels / 255 - [0.4, 0.5, 0.6]) / [0.2, 0.3, 0.4]
    with torch.no_grad():
        raw = Tiny().eval()(torch.from_numpy(x).float().movedim(-1, 1)).numpy()

    assert (encoder.kind, encoder.has_head) == ("tiny", False)
    assert encoder.encode(cells.cells) == pytest.approx((raw - raw.mean(0)) / raw.std(0), abs=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_encoder_opens_again_from_its_settings_and_its_file(files, kind, tmp_path):
    _, cells, spec = pictures(1)
    first = fitted(settings(files[kind]), cells, spec)
    first.save(tmp_path / "encoder.safetensors")
    again = TypeAdapter(AnyEncoder).validate_json(settings(files[kind]).model_dump_json())
    second = load_fitted(
        again, tmp_path / "encoder.safetensors", sha256=first.sha256, spec=spec, num_classes=1, num_train=20, device=CPU
    )  # fmt: skip

    assert (second.encode(cells.cells) == first.encode(cells.cells)).all()
    assert (second.kind, second.has_head, second.sha256) == ("tiny", False, first.sha256)


def test_weights_that_are_not_those_on_record_are_refused_with_the_folder_to_remove(files, tmp_path):
    _, cells, spec = pictures(1)
    file = tmp_path / "encoder.safetensors"
    encoder = fitted(settings(files["TorchScript"]), cells, spec)
    encoder.save(file)
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)

    with pytest.raises(WorkspaceError, match=rf"sha256 .* as recorded\. Remove its folder {tmp_path}"):
        load_fitted(
            settings(files["TorchScript"]), file, sha256=encoder.sha256, spec=spec, num_classes=1, num_train=20, device=CPU
        )  # fmt: skip


def test_two_networks_of_one_shape_differ_in_digest(files, tmp_path):
    _, cells, spec = pictures(3)
    other = settings(scripted(tmp_path / "other.pt", Tiny(seed=1).eval()))

    assert settings(files["TorchScript"]).digest() != other.digest()
    assert fitted(settings(files["TorchScript"]), cells, spec).sha256 != fitted(other, cells, spec).sha256


def test_a_changed_file_changes_the_settings_digest_and_is_not_opened_under_the_old_settings(tmp_path):
    _, cells, spec = pictures(3)
    before = settings(scripted(tmp_path / "tiny.pt"))
    scripted(tmp_path / "tiny.pt", Tiny(seed=1).eval())

    assert before.digest() != settings(tmp_path / "tiny.pt").digest()
    with pytest.raises(ConfigError, match=r"tiny\.pt has sha256 .* another file"):
        fitted(before, cells, spec)


def test_a_network_saved_in_training_mode_is_opened_in_evaluation_mode(tmp_path):
    _, cells, spec = pictures(3)
    encoder = fitted(settings(scripted(tmp_path / "tiny.pt", Tiny().train())), cells, spec)

    assert (encoder.encode(cells.cells) == encoder.encode(cells.cells)).all()


@needs_exports
def test_training_a_linear_probe_leaves_the_network_as_it_is(files):
    _, cells, spec = pictures(3)
    encoder = fitted(settings(files["torch.export"]), cells, spec)
    before = encoder.encode(cells.cells)
    probe = encoder.linear_probe(2).train()
    probe(torch.zeros(4, 3, SIZE, SIZE)).sum().backward()

    assert [name for name, each in probe.named_parameters() if each.grad is not None] == [
        "linear.weight",
        "linear.bias",
    ]
    assert (encoder.encode(cells.cells) == before).all()


def test_pictures_are_resized_as_pillow_does_and_grey_ones_repeated(tmp_path):
    class Flat(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1)

    file = scripted(tmp_path / "flat.pt", Flat())
    pixels, cells, spec = pictures(1, size=32)
    encoder = settings(file, input_size=8, num_features=3 * 64, mean=(0, 0, 0), std=(1 / 255, 1 / 255, 1 / 255))
    network = encoder.build(spec, 1, 20, 0)
    found = network.trunk(torch.from_numpy(pixels).float().movedim(-1, 1) / 127.5 - 1).view(20, 3, 8, 8)
    expected = np.stack(
        [np.asarray(Image.fromarray(each[..., 0]).resize((8, 8), Image.Resampling.BILINEAR)) for each in pixels]
    )

    assert (found == found[:, :1]).all()
    assert np.abs(found[:, 0].numpy() - expected).max() < 1.01  # Pillow rounds twice, once per axis
    assert len(cells) == 20


def test_a_missing_file_and_a_wrong_digest_are_refused_with_the_path(files, tmp_path):
    with pytest.raises(ValidationError, match=r"cannot read the encoder .*gone\.pt: No such file"):
        settings(tmp_path / "gone.pt")
    with pytest.raises(ValidationError, match=r"tiny\.pt has sha256 .*another file"):
        settings(files["TorchScript"], sha256="0" * 64)

    right = content_sha256(files["TorchScript"].read_bytes())
    assert settings(files["TorchScript"], sha256=right) == settings(files["TorchScript"])


def test_what_is_no_archive_is_refused_with_the_path(tmp_path):
    (tmp_path / "text.pt").write_text("hello")
    with zipfile.ZipFile(tmp_path / "empty.pt", "w") as archive:
        archive.writestr("empty/data", "")
    torch.save(Tiny(), tmp_path / "pickle.pt")

    for name in ("text.pt", "empty.pt", "pickle.pt"):
        with pytest.raises(ConfigError, match=name):
            settings(tmp_path / name).build(pictures(3)[2], 1, 20, 0)


@pytest.mark.parametrize(
    "names",
    [
        ("version", "serialized_exported_program.json", "serialized_state_dict.pt"),
        ("old/archive_format", "old/models/model.json", "old/data/weights/model.pt"),
    ],
    ids=["2.6", "2.8"],
)
def test_an_export_of_an_older_torch_says_how_to_save_it_anew(names, tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "READS_EXPORTS", True)

    with pytest.raises(ConfigError, match=r"old\.pt2 .*before torch 2\.9.* Save it with torch 2\.9 or newer"):
        settings(listing(tmp_path / "old.pt2", *names)).build(pictures(3)[2], 1, 20, 0)


@pytest.mark.parametrize("name", ["new/archive_format", "serialized_exported_program.json"])
def test_a_torch_too_old_for_exports_is_named(name, tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "READS_EXPORTS", False)

    with pytest.raises(ConfigError, match=rf"any\.pt2 .*torch {re.escape(torch.__version__)} .* Upgrade torch to 2\.9"):
        settings(listing(tmp_path / "any.pt2", name)).build(pictures(3)[2], 1, 20, 0)


@needs_exports
def test_an_export_without_weights_is_opened(tmp_path):
    network = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten())
    dynamic = {0: torch.export.Dim("n", min=1, max=512)}
    program = torch.export.export(network, (torch.zeros(3, 3, SIZE, SIZE),), dynamic_shapes=(dynamic,))
    torch.export.save(program, tmp_path / "pool.pt2")

    assert settings(tmp_path / "pool.pt2").build(pictures(3)[2], 1, 20, 0).trunk(torch.zeros(2, 3, 4, 4)).shape == (
        2,
        12,
    )


@needs_exports
@pytest.mark.parametrize("record", ["data/weights/weight_0.pt", "data/sample_inputs/model.pt", "data/aotinductor/a.so"])
def test_an_export_with_a_pickle_or_machine_code_inside_is_refused(files, tmp_path, record):
    content, poison = io.BytesIO(), io.BytesIO()
    torch.save(Tiny(), poison)  # a pickle that names a class
    with zipfile.ZipFile(files["torch.export"]) as source, zipfile.ZipFile(content, "w") as target:
        root = source.namelist()[0].partition("/")[0]
        for name in source.namelist():
            if name != f"{root}/{record}":
                target.writestr(name, source.read(name))
        target.writestr(f"{root}/{record}", poison.getvalue())
    (tmp_path / "poison.pt2").write_bytes(content.getvalue())

    with pytest.raises(ConfigError, match=rf"poison\.pt2 holds a pickle or code.*{record}"):
        settings(tmp_path / "poison.pt2").build(pictures(3)[2], 1, 20, 0)


@needs_exports
@pytest.mark.parametrize(
    ("found", "planted"),
    [
        ('"guards_code": []', "\"guards_code\": [\"open('{0}', 'w') is not None\"]"),
        ('"expr_str": "Symbol(', "\"expr_str\": \"open('{0}', 'w') or Symbol("),
    ],
)
def test_an_export_that_would_run_python_is_refused_before_it_runs(files, tmp_path, found, planted):
    replaced = 0
    with (
        zipfile.ZipFile(files["torch.export"]) as source,
        zipfile.ZipFile(tmp_path / "crafted.pt2", "w") as target,
    ):
        for name in source.namelist():
            content = source.read(name)
            if name.endswith("models/model.json"):
                replaced = content.count(found.encode())
                content = content.replace(found.encode(), planted.format(tmp_path / "ran").encode())
            target.writestr(name, content)

    assert replaced > 0
    with pytest.raises(ConfigError, match=r"crafted\.pt2 holds a pickle or code.*models/model\.json"):
        settings(tmp_path / "crafted.pt2").build(pictures(3)[2], 1, 20, 0)
    assert not (tmp_path / "ran").exists()


@needs_exports
def test_an_export_whose_weights_are_marked_as_pickled_is_refused(files, tmp_path):
    with (
        zipfile.ZipFile(files["torch.export"]) as source,
        zipfile.ZipFile(tmp_path / "marked.pt2", "w") as target,
    ):
        for name in source.namelist():
            target.writestr(name, source.read(name).replace(b'"use_pickle": false', b'"use_pickle": true'))

    with pytest.raises(ConfigError, match=r"model_weights_config\.json"):
        settings(tmp_path / "marked.pt2").build(pictures(3)[2], 1, 20, 0)


def test_a_wrong_number_of_features_or_a_wrong_input_is_refused_with_the_path(files, tmp_path):
    spec = pictures(3)[2]
    one_channel = scripted(tmp_path / "grey.pt", nn.Sequential(nn.Conv2d(1, 12, 3), nn.AdaptiveAvgPool2d(1)))

    with pytest.raises(ConfigError, match=r"tiny\.pt returns \[1, 12\] for \[1, 3, 12, 12\], not \[1, 9\]"):
        settings(files["TorchScript"], num_features=9).build(spec, 1, 20, 0)
    with pytest.raises(ConfigError, match=r"grey\.pt cannot take"):
        settings(one_channel).build(spec, 1, 20, 0)


@needs_exports
def test_an_export_for_one_batch_size_is_refused(tmp_path):
    torch.export.save(torch.export.export(Tiny().eval(), (torch.zeros(2, 3, SIZE, SIZE),)), tmp_path / "fixed.pt2")

    with pytest.raises(ConfigError, match=r"fixed\.pt2 cannot take"):
        settings(tmp_path / "fixed.pt2").build(pictures(3)[2], 1, 20, 0)


@needs_exports
def test_an_export_in_training_mode_is_refused(tmp_path):
    dynamic = {0: torch.export.Dim("n", min=1, max=512)}
    program = torch.export.export(Tiny().train(), (torch.zeros(3, 3, SIZE, SIZE),), dynamic_shapes=(dynamic,))
    torch.export.save(program, tmp_path / "training.pt2")

    with pytest.raises(ConfigError, match=r"training\.pt2 gives a picture other features in another batch"):
        settings(tmp_path / "training.pt2").build(pictures(3)[2], 1, 20, 0)


@needs_exports
def test_a_copy_encodes_alike(files):
    network = settings(files["torch.export"]).build(pictures(3)[2], 1, 20, 0)
    x = torch.rand(2, 3, SIZE, SIZE)

    assert torch.equal(copy.deepcopy(network).trunk(x), network.trunk(x))


def test_names_of_built_in_encoders_are_taken(files):
    with pytest.raises(ValidationError, match="built-in"):
        settings(files["TorchScript"], name="random_network")


def test_only_pictures_are_handled():
    assert LocalFile.can_handle("image")
    assert not LocalFile.can_handle("vector")

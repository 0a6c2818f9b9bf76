import pytest

from aigc_pipeline.cli import main
from aigc_pipeline.cli.generating import parse_counts
from aigc_pipeline.core.errors import ConfigError
from tests.unit.inference.conftest import write_checkpoint


def run_cli(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(list(arguments))
    return int(end.value.code or 0)


def test_counts_are_name_equals_number_and_add_up():
    assert parse_counts(["a=3", "b=c=2", "a=1"]) == {"a": 4, "b=c": 2}


@pytest.mark.parametrize("wanted", [[], ["cat"], ["cat=x"], ["cat=-1"], ["cat=²"]])
def test_counts_that_are_none_are_named(wanted):
    with pytest.raises(ConfigError, match="NAME=NUMBER"):
        parse_counts(wanted)


def test_the_four_commands_work_on_a_checkpoint_alone(tmp_path, capsys):
    folder = str(write_checkpoint(tmp_path / "c"))
    out = str(tmp_path)

    assert run_cli("synthesize", folder, "--class", "cat=2", "--out", f"{out}/s", "--precision", "bfloat16") == 0
    assert run_cli("interpolate", folder, "--class", "cat", "--to", "dog", "--out", f"{out}/i.png") == 0
    assert run_cli("export", folder, "--out", f"{out}/g.pt2") == 0
    assert run_cli("compress", folder, "--out", f"{out}/v") == 0

    said = capsys.readouterr().out
    assert "2 samples of r3gan" in said
    assert "(z [n, 64], labels [n]) to samples" in said
    assert f"{out}/v\n" in said
    assert (tmp_path / "v" / "int8.safetensors").exists()


@pytest.mark.parametrize(
    ("arguments", "out"),
    [
        (["synthesize", "--class", "cat=1"], "file"),
        (["compress"], "file"),
        (["interpolate", "--class", "cat"], "folder"),
        (["interpolate", "--class", "cat"], "file/x.png"),
        (["export"], "folder"),
    ],
)
def test_a_place_that_cannot_be_written_is_one_sentence(arguments, out, tmp_path, capsys):
    folder = str(write_checkpoint(tmp_path / "c", "mlp_gan"))
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()

    assert run_cli(arguments[0], folder, *arguments[1:], "--out", str(tmp_path / out)) == 1
    assert f"--out {tmp_path / out} cannot be written: " in capsys.readouterr().err
    assert {each.name for each in tmp_path.iterdir()} == {"c", "file", "folder"}


def test_missing_folders_are_made(tmp_path):
    folder = str(write_checkpoint(tmp_path / "c", "mlp_gan"))

    assert run_cli("interpolate", folder, "--class", "cat", "--out", str(tmp_path / "a" / "b" / "i.png")) == 0
    assert (tmp_path / "a" / "b" / "i.png").exists()


@pytest.mark.parametrize(("form", "name"), [("torch_export", "generator.pt2"), ("onnx", "generator.onnx")])
def test_an_export_is_named_after_its_format(form, name, tmp_path, monkeypatch):
    monkeypatch.setattr("aigc_pipeline.cli.generating.export", lambda _opened, _form, file: file.touch() or 0.0)
    folder = str(write_checkpoint(tmp_path / "c", "mlp_gan"))
    monkeypatch.chdir(tmp_path)

    assert run_cli("export", folder, "--to", form) == 0
    assert (tmp_path / name).exists()


@pytest.mark.parametrize(("is_readable", "said"), [(True, 0), (False, 1)])
def test_an_export_that_cannot_be_read_back_says_so(is_readable, said, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("aigc_pipeline.cli.generating.export", lambda _opened, _form, file: file.touch() or 0.0)
    monkeypatch.setattr("aigc_pipeline.cli.generating.READS_EXPORTS", is_readable)
    folder = str(write_checkpoint(tmp_path / "c", "mlp_gan"))

    assert run_cli("export", folder, "--out", str(tmp_path / "g.pt2")) == 0
    assert capsys.readouterr().out.count("upgrade torch to 2.9 or newer") == said

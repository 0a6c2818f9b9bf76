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


@pytest.mark.parametrize("wanted", [[], ["cat"], ["cat=x"], ["cat=-1"]])
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
    assert (tmp_path / "v" / "int8.safetensors").exists()

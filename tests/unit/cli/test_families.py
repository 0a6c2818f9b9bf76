import json
import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from aigc_pipeline.cli import main
from aigc_pipeline.cli.outcome import program
from aigc_pipeline.config import load_config
from aigc_pipeline.core.errors import ConfigError
from aigc_pipeline.generators import built_in
from aigc_pipeline.generators.families import BUILT_IN, BuiltIn

USE = """
import json
from aigc_pipeline.config import load_config, parse_config, to_yaml
import yaml
from aigc_pipeline.generators import dump_generator, parse_generator
config = load_config(source="mixture", overrides=["train.generator.kind=my_family", "train.generator.hidden=32"])
again = parse_config(yaml.safe_load(to_yaml(config)), where="yaml")
dumped = dump_generator(config.train.generator)
print(json.dumps({
    "dumped": dumped,
    "round_trip": again == config,
    "from_json": dump_generator(parse_generator(json.dumps(dumped).encode())) == dumped,
    "hidden": config.train.generator.hidden,
    "digest": config.train.digest(),
}))
"""


def run_cli(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(list(arguments))
    return int(end.value.code or 0)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a generated package."""
    folder = tmp_path_factory.mktemp("new")
    assert run_cli("new-generator", "my_family", "--into", str(folder)) == 0
    return folder / "aigc-my-family"


def in_its_world(package: Path, *command: str, version: str = "0.1.0") -> subprocess.CompletedProcess[str]:
    """Run a command where the package counts as installed: its source and its metadata are on the path."""
    info = package / "src" / "aigc_my_family.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: aigc-my-family\nVersion: {version}\n")
    (info / "entry_points.txt").write_text("[aigc_pipeline.generators]\nmy_family = aigc_my_family:MyFamilyGenerator\n")
    environment = os.environ | {"PYTHONPATH": f"{package / 'src'}:{Path.cwd()}", "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, check=False)


def test_generators_lists_every_built_in_family(capsys):
    assert run_cli("generators", "--json") == 0

    listed = json.loads(capsys.readouterr().out)
    assert [each["kind"] for each in listed["generators"]] == [f.model_fields["kind"].default for f in built_in()]
    assert listed["problems"] == []


def test_the_tags_of_the_union_are_the_kinds_that_strangers_may_not_take():
    assert {get_args(tagged)[1].tag for tagged in get_args(BuiltIn)} == BUILT_IN


def test_a_listed_family_says_where_its_samples_start_and_whether_it_has_a_discriminator(capsys):
    run_cli("generators", "--json")

    rows = {each["kind"]: each for each in json.loads(capsys.readouterr().out)["generators"]}
    said = {kind: (row["origin"], row["uses_parents"], row["has_discriminator"]) for kind, row in rows.items()}
    assert said["r3gan"] == ("generated", False, True)
    assert said["flow_matching"] == ("generated", False, False)
    assert said["classic"] == ("classic", True, False)


@pytest.mark.parametrize("kind", ["nope", "[a]", "null", "3"])
def test_an_unknown_kind_is_answered_with_the_known_ones(kind):
    with pytest.raises(ConfigError, match=r"there is no generator .*Built in: classic, dcgan, .*wgan_gp"):
        load_config(source="mixture", overrides=[f"train.generator.kind={kind}"])


def test_a_new_family_is_found_by_its_entry_point_and_listed(package):
    done = in_its_world(package, "-m", "aigc_pipeline", "generators", "--json")

    listed = json.loads(done.stdout)
    assert listed["problems"] == []
    assert ("my_family", "aigc-my-family 0.1.0") in {(each["kind"], each["package"]) for each in listed["generators"]}


def test_a_new_family_passes_the_contract_out_of_the_box(package):
    done = in_its_world(package, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(package / "tests"))

    assert done.returncode == 0, done.stdout + done.stderr


def test_a_strangers_settings_validate_dump_and_enter_the_fingerprint_with_its_version(package):
    one, two = (json.loads(in_its_world(package, "-c", USE, version=version).stdout) for version in ("0.1.0", "0.2.0"))

    assert one["hidden"] == 32
    assert one["round_trip"]
    assert one["from_json"]
    assert one["dumped"]["package"] == "aigc-my-family 0.1.0"
    assert one["digest"] != two["digest"]


def test_a_strangers_wrong_settings_are_named_with_their_value(package):
    code = "from aigc_pipeline.config import load_config\nload_config(source='mixture', overrides=['train.generator={kind: my_family, hidden: 2, colour: red}'])"
    done = in_its_world(package, "-c", code)

    assert "hidden: Input should be greater than or equal to 8 (got 2)" in done.stderr
    assert "colour: Extra inputs are not permitted (got 'red')" in done.stderr


KINDLESS = "from aigc_pipeline.generators import Family\nclass MyFamilyGenerator(Family):\n    pass\n"
BARE = KINDLESS.replace("pass", "kind: str = 'my_family'")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import no_such_module\n", "cannot be imported (ModuleNotFoundError: No module named 'no_such_module')"),
        ("def (\n", "cannot be imported (SyntaxError: "),
        ("raise RuntimeError('no licence')\n", "cannot be imported (RuntimeError: no licence)"),
        ("MyFamilyGenerator = 3\n", "is 3, not a subclass of"),
        (KINDLESS, "calls itself 'None'"),
        (BARE, "lacks paper, choose_when, batch_size, ema_half_life_samples, networks, phases, sample"),
    ],
)
def test_a_broken_stranger_is_named_and_spoils_nothing_else(text, said, package):
    source = package / "src" / "aigc_my_family" / "__init__.py"
    whole = source.read_text()
    try:
        source.write_text(text)
        listed = json.loads(in_its_world(package, "-m", "aigc_pipeline", "generators", "--json").stdout)
    finally:
        source.write_text(whole)

    assert "my_family" in listed["problems"][0]
    assert said in listed["problems"][0]
    assert len(listed["generators"]) == len(built_in())


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("My-Family", "cannot name a generator"),
        ("ends_", "cannot name a generator"),
        ("r3gan", "there is a generator"),
    ],
)
def test_names_that_cannot_be_are_refused(name, said, tmp_path, capsys):
    assert run_cli("new-generator", name, "--into", str(tmp_path)) == 1

    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["decoder", "phase", "synthesis", "literal"])
def test_a_family_may_be_called_like_something_that_the_template_uses(name, tmp_path):
    run_cli("new-generator", name, "--into", str(tmp_path))
    sources = tmp_path / f"aigc-{name}" / "src"
    code = f"import sys; sys.path.insert(0, {str(sources)!r})\nfrom pathlib import Path\nimport aigc_{name} as made\nfrom aigc_pipeline.generators.contract import check_family\ncheck_family(made.{name.capitalize()}Generator(), Path({str(tmp_path)!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


def test_what_to_type_next_is_typed_in_this_environment(tmp_path, capsys):
    assert run_cli("new-generator", "of_mine", "--into", str(tmp_path)) == 0

    said = capsys.readouterr().out
    assert f"{program('python')} -m pip install -e {tmp_path / 'aigc-of-mine'} pytest\n" in said
    assert f"{program('python')} -m pytest {tmp_path / 'aigc-of-mine'}\n" in said
    assert f"{program('aigc')} run DIR -o train.generator.kind=of_mine\n" in said


def test_nothing_is_overwritten(package, capsys):
    assert run_cli("new-generator", "my_family", "--into", str(package.parent)) == 1

    assert "exists already" in capsys.readouterr().err


def test_a_family_is_not_written_below_a_file(tmp_path, capsys):
    (tmp_path / "file").touch()

    assert run_cli("new-generator", "my_family", "--into", str(tmp_path / "file")) == 1
    assert "--into" in capsys.readouterr().err

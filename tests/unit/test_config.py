import pytest

from aigc_pipeline.config import load_config, parse_config, to_yaml
from aigc_pipeline.core.errors import ConfigError


def test_later_layers_win_and_deep_groups_merge(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("seed: 3\ntrain: {max_minutes: 9, generator: {kind: r3gan, size: medium}}\n")
    config = load_config(file=file, source="digits", preset="thorough", overrides=["train.generator.gamma=0.1"])

    assert config.seed == 3
    assert config.train.max_minutes == 9
    assert config.evaluate.num_seeds == 10
    assert config.train.generator.model_dump() | {"size": "medium", "gamma": 0.1} == config.train.generator.model_dump()


def test_settings_of_a_unions_default_member_need_no_kind():
    assert load_config(source="digits", overrides=["train.generator.size=large"]).train.generator.size == "large"  # type: ignore[union-attr]


def test_the_resolved_yaml_loads_to_an_equal_config(tmp_path):
    config = load_config(source="mixture", overrides=["plan.strategy={kind: multiply, factor: 2}"])
    (tmp_path / "c.yaml").write_text(to_yaml(config))

    assert load_config(file=tmp_path / "c.yaml") == config


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["train.foo=1"], r"train\.foo: there is no such setting.*max_minutes"),
        (["train.max_minutes=-1"], r"train\.max_minutes.*greater than 0.*-1"),
        (
            ["train.generator.kind=foo"],
            "train.generator: there is no generator 'foo'. Built in: classic, dcgan, .*warp",
        ),
        (
            ["train.generator.kind=dcgan"],
            "source yields vector samples. These fit: flow_matching, r3gan, mlp_gan, .*classic",
        ),
        (["plan.strategy.kind=explicit"], r"plan\.strategy\.counts: required\. Set it with -o plan\.strategy\.counts="),
        (["train.generator={kind: r3gan, foo: 1}"], r"train\.generator\.foo: there is no such setting.*backbone"),
        (["filter.gates=[{kind: min_p_real, threshold: 7}]"], r"filter\.gates\.0\.threshold: .*got 7"),
        (
            ["plan.strategy.kind=explicit", "plan.strategy.counts={0: 5}"],
            r"plan\.strategy\.counts\.0: Input should be text: put quotes around .* \(got 0\)",
        ),
        (["split.symmetries=horizontal"], r"split\.symmetries: Input should be a list, written \[a, b\] \(got 'hor"),
        (["plan.strategy=equalize"], r"plan\.strategy: .* written \{kind: name\} \(got 'equalize'\)"),
        (
            [
                "embed.judge={kind: local_file, path: x, name: x, input_size: 8, num_features: 2, mean: [0.5], std: [1, 1, 1]}"
            ],
            r"embed\.judge\.mean\.2: missing: the list is too short \(got \[0\.5\]\)\.",
        ),
        (["filter.gates=[distinct]"], r"filter\.gates\.0: .* written \{kind: name\} \(got 'distinct'\)"),
        (["train=3"], r"train: Input should be a group of settings.*got 3"),
        (["filter.gates=[{knd: distinct}]"], r"filter\.gates\.0: Input lacks 'kind'.*got {'knd': 'distinct'}"),
        (["train.generator=r3gan"], r"  train\.generator: a generator is a mapping"),
        (["train.max_minutes=.inf"], r"train\.max_minutes: Input should be a finite number \(got inf\)"),
        (["plan.strategy.at_least=.inf"], r"plan\.strategy\.at_least: .*finite"),
        (["evaluate.doses=[0.1, .nan]"], r"evaluate\.doses\.1: .*nan"),
        (["evaluate.doses=[1.5]"], r"evaluate\.doses\.0: .*less than 1"),
        (["evaluate.doses=[]"], r"evaluate\.doses: .*at least 1 item"),
        (["evaluate.loss_weights=[-1]"], r"evaluate\.loss_weights\.0: .*greater than 0"),
        (["ingest.source.counts=[-5, 30]"], r"ingest\.source\.counts\.0: .*greater than or equal to 1"),
        (["ingest.source.counts=[]"], r"ingest\.source\.counts: .*at least 1 item"),
        (
            ["split.calibration_share=0.4", "split.selection_share=0.4", "split.test_share=0.3"],
            r"split: calibration_share 0\.4 \+ selection_share 0\.4 \+ test_share 0\.3 is 1\.1.*under 1",
        ),
        (["calibrate.min_auc=0.9", "calibrate.max_auc=0.6"], r"calibrate: min_auc is 0\.9 and max_auc 0\.6"),
        (
            ["filter.gates=[{kind: rejection_sampling}, {kind: rejection_sampling, keep_share: 0.2}]"],
            "filter: filter.gates draws by the same ratio 2 times: rejection_sampling, rejection_sampling",
        ),
        (
            ["evaluate.network=linear_probe", "embed.judge.kind=classifier"],
            "a probe on it could not gain. Use embed.judge.kind=random_network",
        ),
        (["nonsense"], "has no '='"),
        (["seed=2", "seed.deep=1"], "not a group of settings"),
    ],
)
def test_wrong_settings_are_named_with_what_is_allowed(overrides, said):
    with pytest.raises(ConfigError, match=said):
        load_config(source="mixture", overrides=overrides)


def test_a_wrong_value_is_blamed_on_the_command_line_too_where_both_were_given(tmp_path):
    (tmp_path / "c.yaml").write_text("ingest: {source: {kind: digits}}\n")

    with pytest.raises(ConfigError, match=r"c\.yaml and the arguments are not valid"):
        load_config(file=tmp_path / "c.yaml", overrides=["train.max_minutes=-1"])


def test_a_file_of_comments_sets_nothing(tmp_path):
    (tmp_path / "c.yaml").write_text("# seed: 1\n")

    assert load_config(file=tmp_path / "c.yaml", source="digits") == load_config(source="digits")


def test_a_file_that_is_not_utf_8_is_named(tmp_path):
    (tmp_path / "c.yaml").write_bytes("seed: 1  # für\n".encode("latin-1"))

    with pytest.raises(ConfigError, match=r"c\.yaml is not UTF-8 text"):
        load_config(file=tmp_path / "c.yaml", source="digits")


def test_a_missing_source_says_how_to_give_one():
    with pytest.raises(ConfigError, match="aigc run DIR"):
        parse_config({}, where="nowhere")


def test_circumstance_enters_no_fingerprint():
    fast, slow = (load_config(source="mixture", overrides=[f"runtime.threads={n}"]) for n in (1, 2))

    assert fast.train.digest() == slow.train.digest()
    assert fast.ingest.digest() == slow.ingest.digest()


def test_a_source_that_is_named_wins_over_that_of_the_file_and_a_folder_over_the_word(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.yaml").write_text("ingest: {source: {kind: mixture, counts: [9, 9]}}\n")
    named = load_config(file=tmp_path / "c.yaml", source="digits")
    (tmp_path / "digits").mkdir()

    assert named.ingest.source.kind == "digits"
    assert load_config(source="digits").ingest.source.kind == "class_folder"


def test_a_file_wins_over_the_preset(tmp_path):
    (tmp_path / "c.yaml").write_text("evaluate: {num_seeds: 4}\n")
    settings = load_config(file=tmp_path / "c.yaml", source="mixture", preset="thorough", overrides=[" seed = 3"])

    assert (settings.evaluate.num_seeds, settings.evaluate.total_samples, settings.seed) == (4, 200_000, 3)


@pytest.mark.parametrize(
    ("override", "path"),
    [
        ("clean.gates=[{kind: constant}]", r"clean\.gates\.0 is 'constant', which handles image samples"),
        ("train.generator.kind=dcgan", r"train\.generator is 'dcgan', which handles image samples"),
    ],
)
def test_a_member_that_cannot_look_inside_the_samples_is_refused_with_those_that_fit(override, path):
    with pytest.raises(ConfigError, match=rf"{path}, but the source yields vector samples\. These fit: "):
        load_config(source="mixture", overrides=[override])

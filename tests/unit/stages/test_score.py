"""Numbers belong to their candidate however the work is cut, and what is no number is refused."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from aigc_pipeline import loading
from aigc_pipeline.core.errors import DataError
from aigc_pipeline.data.shards import read_table
from aigc_pipeline.features.stored import read_features
from aigc_pipeline.loading import discriminate, open_bench, open_synthesizer
from aigc_pipeline.stages.score import ScoreConfig, _ranges, score


@pytest.fixture
def synthesizer(tiny_run):
    return open_synthesizer(tiny_run.context, tiny_run.done.planned, tiny_run.done.splits, tiny_run.done.checkpoint)


@pytest.fixture
def scored(tiny_run):
    return read_table(tiny_run.context.files_of(tiny_run.done.scored) / "scored.arrow").to_pandas()


def test_the_numbers_of_a_candidate_do_not_depend_on_how_the_work_is_cut(tiny_run, scored, tmp_path):
    done = tiny_run.done
    context = tiny_run.context.for_stage("score", 1, "f", tmp_path)
    records = (done.planned, done.splits, done.embeddings, done.checkpoint, done.judge, done.candidates)
    score(context, ScoreConfig(shard_rows=4_096), *records)
    whole = read_table(tmp_path / "scored.arrow").to_pandas()

    assert len(scored) > tiny_run.config.score.shard_rows
    assert len(list(tmp_path.glob("scores-*.arrow"))) == 1
    numbers = scored.select_dtypes("number").columns
    assert scored.drop(columns=numbers).astype(str).equals(whole.drop(columns=numbers).astype(str))
    assert np.allclose(scored[numbers], whole[numbers], atol=1e-5, equal_nan=True)


def test_the_critic_is_asked_about_generated_candidates_alone(scored):
    is_generated = scored["origin"] == "generated"

    assert (scored["p_real"].notna() == is_generated).all()
    assert is_generated.any()
    assert not is_generated.all()


def test_published_distances_are_read_in_the_judge_encoder(tiny_run, synthesizer):
    done, folder = tiny_run.done, tiny_run.context.files_of(tiny_run.done.embeddings)
    bench = open_bench(tiny_run.context, done.splits, done.embeddings, synthesizer)
    own, judges = (read_features(folder, "train", space=name).features for name in ("feature", "judge_feature"))

    assert np.array_equal(bench.reference.features, own)
    assert np.array_equal(bench.reference.judge_features, judges)
    assert not np.allclose(own, judges)


def test_each_sample_is_shown_to_the_discriminator_with_its_own_class(synthesizer, monkeypatch):
    train = synthesizer.train
    at_once = discriminate(synthesizer, train.cells, train.labels)
    monkeypatch.setattr(loading, "_SCORING_BATCH", 7)

    assert np.allclose(discriminate(synthesizer, train.cells, train.labels), at_once, atol=1e-5)
    assert not np.allclose(discriminate(synthesizer, train.cells, np.roll(train.labels, 30)), at_once, atol=1e-3)


def test_a_discriminator_that_was_told_more_than_the_class_says_nothing(synthesizer):
    told_more = replace(synthesizer, conditions=object())

    assert discriminate(told_more, synthesizer.train.cells, synthesizer.train.labels) is None


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("accept_coin", [0.5, None], "'accept_coin' has 1 nulls of 2 rows"),
        ("train_distance", [0.5, float("nan")], "'train_distance' holds infinities"),
        ("log_density_ratio", [float("-inf"), None], "'log_density_ratio' holds infinities"),
        ("p_real", [0.5, 1.01], "which are no probabilities"),
        ("p_real", [-0.01, 0.5], "which are no probabilities"),
    ],
)
def test_what_is_no_number_of_its_column_is_refused(name, values, message):
    with pytest.raises(DataError, match=message):
        _ranges(pa.table({name: pa.array(values, pa.float64())}))


def test_the_smallest_and_largest_value_of_each_column_are_on_record():
    table = pa.table({"p_real": [0.25, None, 0.5], "train_distance": [1.0, 3.0, 2.0], "class_name": ["a", "b", "c"]})

    assert _ranges(table) == {"p_real": (0.25, 0.5), "train_distance": (1.0, 3.0)}

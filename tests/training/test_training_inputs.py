"""What training reads: formats, several sets, weights, what is held out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from rader_training import prepare_retriever
from rader_training.data.batches import Collator
from rader_training.data.development import development_set
from rader_training.data.formats import find_format
from rader_training.data.groups import Group, Groups
from rader_training.data.pairs import PairCollator
from rader_training.data.rows import load_samples
from rader_training.loss.group_scorer import GroupScorer

from rader_plugins.errors import InputError
from rader_plugins.files import write_jsonl
from rader_plugins.reranking import load_reranker
from rader_plugins.reranking.models import Classifier
from rader_plugins.sample_files import SampleWriter
from rader_plugins.samples import Passage, Sample
from tests.support.tiny_rerankers import tiny_cross_encoder
from tests.training.conftest import ANIMALS, toy_samples
from tests.training.support import retriever_config
from tests.training.test_training_retriever import encoder_of

ROWS: dict[str, dict[str, Any]] = {
    "FlagEmbedding": {"query": "q", "pos": ["right", "also right"], "neg": ["wrong", "false"]},
    "FlagEmbedding without negatives": {"query": "q", "pos": ["right"], "neg": []},
    "FlagEmbedding with scores": {"query": "q", "pos": ["right"], "neg": ["wrong"], "pos_scores": [1.0], "prompt": "p"},
    "triplets": {"anchor": "q", "positive": "right", "negative": "wrong"},
    "many negatives": {"anchor": "q", "positive": "right", "negative_1": "wrong", "negative_2": "false"},
    "lists of negatives": {"query": "q", "positive": "right", "negatives": ["wrong"]},
    "pairs": {"question": "q", "answer": "right"},
    "Tevatron": {
        "query_id": "7",
        "query": "q",
        "positive_passages": [{"docid": "d", "title": "", "text": "right"}],
        "negative_passages": [{"docid": "e", "title": "", "text": "wrong"}],
    },
    "the hub's, without ids": {
        "query": "q",
        "positive_passages": [{"title": "t", "text": "right"}],
        "negative_passages": [{"title": "", "text": "wrong"}],
    },
    "texts as passages": {"query": "q", "positive_passages": ["right"], "negative_passages": ["wrong"]},
}


@pytest.mark.parametrize("name", ROWS)
def test_formats(name: str, tmp_path: Path) -> None:
    row = ROWS[name]
    write_jsonl(tmp_path / "s.jsonl", [row, {**row, "extra": 5}])
    first, second = load_samples(tmp_path / "s.jsonl", tmp_path / "cache")
    assert first.query == "q"
    assert first.positives[0].full_text.endswith("right")
    assert [passage.text for passage in first.negatives] == (["wrong", "false"][: len(first.negatives)])
    assert bool(first.negatives) == ("without" not in name or "ids" in name) and name != "pairs" or not first.negatives
    # The same text is the same document; samples without a name get one each.
    assert first.positives[0].id == second.positives[0].id
    assert (first.query_id == second.query_id) == (name == "Tevatron")


@pytest.mark.parametrize("row", [{"text": "a", "label": 1}, {"sentence1": "a", "sentence2": "b", "score": 0.5}])
def test_other_columns_are_listed_with_those_that_are_wanted(row: dict[str, Any], tmp_path: Path) -> None:
    write_jsonl(tmp_path / "s.jsonl", [row])
    with pytest.raises(InputError) as error:
        load_samples(tmp_path / "s.jsonl", tmp_path / "cache")
    for column in (*row, "positive_passages", "pos", "anchor"):
        assert column in str(error.value)


@pytest.mark.parametrize("label", ["label", "score"])
def test_labelled_pairs_are_not_all_positives(label: str, tmp_path: Path) -> None:
    row = {"query": "q", "passage": "right", label: 0}
    with pytest.raises(InputError, match=f"column '{label}'"):
        find_format(list(row), "the set")
    assert find_format([*row, "negative"], "the set").unread == (label,), "the margin of a triplet"


@pytest.mark.parametrize("name", ["neg", "negatives", "negative_2", "negative2", "neg_2", "hard_negatives"])
def test_names_of_negatives(name: str) -> None:
    assert find_format(["query", "pos", name, "prompt"], "the set").unread == ("prompt",)


@pytest.mark.parametrize("content", ["caf\xe9".encode("latin-1"), "x".encode("utf-16")])
def test_samples_in_another_encoding(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "s.jsonl").write_bytes(b'{"query": "' + content + b'", "pos": ["p"], "neg": ["n"]}\n')
    with pytest.raises(InputError, match="UTF-8"):
        load_samples(tmp_path / "s.jsonl", tmp_path / "cache")


@pytest.mark.parametrize("value", [5, [1, 2], {"text": "right"}])
def test_columns_that_are_no_texts(value: Any, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "s.jsonl", [{"anchor": "q", "positive": value}])
    with pytest.raises(InputError, match="'positive' must be a text or a list of texts"):
        list(load_samples(tmp_path / "s.jsonl", tmp_path / "cache"))


def test_several_sets_in_their_own_formats_and_how_often_each_is_seen(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", [{"anchor": f"a{number}", "positive": "p"} for number in range(10)])
    write_jsonl(tmp_path / "b.jsonl", [{"query": f"b{number}", "pos": ["p"], "neg": ["n"]} for number in range(10)])
    rows = load_samples([tmp_path / "a.jsonl", tmp_path / "b.jsonl"], tmp_path / "cache")
    assert len(rows) == 20
    assert rows[12].query == "b2"
    assert [rows.set_of(number) for number in (0, 9, 10, 19)] == [0, 0, 1, 1]

    def seen(*weights: float) -> tuple[int, int]:
        groups = Groups(rows, size=2, weights={}, seed=0, set_weights=weights)
        queries = [groups[number].query for number in range(len(groups))]
        return sum(query[0] == "a" for query in queries), sum(query[0] == "b" for query in queries)

    assert (seen(), seen(1, 1), seen(0.5, 2), seen(0, 1)) == ((10, 10), (10, 10), (5, 20), (0, 10))


def test_weights_of_sets_are_checked(tiny: Path, samples: Path, tmp_path: Path) -> None:
    faults = ([1.0, 2.0], "1 sample sets and 2 weights"), ([-1.0], "from 0 to 1,000"), ([1000.5], "from 0 to 1,000")
    for weights, message in faults:
        with pytest.raises(InputError, match=message):
            prepare_retriever(samples, str(tiny), tmp_path / "run", retriever_config(), set_weights=weights)


def weighted(folder: Path, *weights: float) -> Groups:
    passages = (Passage("p", "right"),), (Passage("n", "wrong"),)
    samples = [Sample(f"q{n}", f"query {n}", "question", *passages, f"p{n}", weight=w) for n, w in enumerate(weights)]
    write_jsonl(folder / "s.jsonl", [sample.row() for sample in samples])
    return Groups(load_samples(folder / "s.jsonl", folder / "cache"), size=2, weights={}, seed=0)


def test_weights_of_samples_reach_both_losses(tiny: Path, tmp_path: Path) -> None:
    groups = weighted(tmp_path, 3.0, 1.0)
    assert [groups[0].weight, groups[1].weight] == [1.5, 0.5], "1 on average over all samples"
    assert groups.report.weighted
    batch = [groups[0], groups[1]]
    encoder = encoder_of(tiny)
    columns = Collator(encoder.tokenizer, encoder.recipe, weighted=True)(batch)
    assert columns["query_weight"].tolist() == [1.5, 0.5]
    # A batch of one keeps its weight, too.
    assert Collator(encoder.tokenizer, encoder.recipe, weighted=True)(batch[:1])["query_weight"].tolist() == [1.5]
    reranker = load_reranker(tiny_cross_encoder(tmp_path / "cross"), device="cpu")
    scorer = GroupScorer(reranker.model)

    def loss(groups: list[Group], is_weighted: bool) -> float:
        collator = PairCollator(Classifier(reranker.model, reranker.tokenizer), reranker.recipe, is_weighted)
        return float(scorer(**collator(groups))["loss"])

    with torch.no_grad():
        single = [loss([group], False) for group in batch]
        assert loss(batch, True) == pytest.approx((1.5 * single[0] + 0.5 * single[1]) / 2, rel=1e-4)


def test_samples_of_equal_weight_have_the_digest_of_samples_without(tmp_path: Path) -> None:
    assert weighted(tmp_path, 1.0, 1.0).report.digest != weighted(tmp_path, 2.0, 1.0).report.digest
    assert not weighted(tmp_path, 1.0, 1.0).report.weighted


# What is held out


def test_a_tenth_of_the_problems_is_held_out_with_all_their_queries(tmp_path: Path) -> None:
    samples = [
        Sample(
            f"q{number}-{kind}", f"{kind} {number}", kind, (Passage(f"d{number}", f"text {number}"),), (), f"p{number}"
        )
        for number in range(30)
        for kind in ("question", "cot")
    ]
    write_jsonl(tmp_path / "s.jsonl", [sample.row() for sample in samples])
    rows = load_samples(tmp_path / "s.jsonl", tmp_path / "cache")
    options: dict[str, Any] = {"seed": 1, "most_documents": 10}
    development = development_set([tmp_path / "s.jsonl"], rows, tmp_path / "cache", **options)
    assert development is not None
    assert len(development.held_out) == 3
    assert set(development.problems.values()) == development.held_out
    assert len(development.dataset.judged) == 6
    assert len(development.dataset.corpus) == 10
    second_draw = development_set([tmp_path / "s.jsonl"], rows, tmp_path / "cache", **options)
    assert second_draw is not None
    assert second_draw.dataset.digest == development.dataset.digest
    groups = Groups(rows, size=2, weights={}, seed=0, held_out=development.held_out)
    trained = {groups[number].query for number in range(len(groups))}
    assert not trained & set(development.dataset.queries.values())
    assert (groups.report.samples, groups.report.held_out) == (54, 6)
    write_jsonl(tmp_path / "few.jsonl", [sample.row() for sample in samples[:18]])
    few = load_samples(tmp_path / "few.jsonl", tmp_path / "cache")
    assert development_set([tmp_path / "few.jsonl"], few, tmp_path / "cache", **options) is None


def test_the_validation_split_is_taken_and_what_is_trained_on_left_out_of_it(tmp_path: Path) -> None:
    with SampleWriter(tmp_path / "samples") as writer:
        for sample in toy_samples():
            writer.add("train", sample)
        passage = Passage(ANIMALS[0], f"the {ANIMALS[0]} lives here")
        writer.add("validation", Sample("v1", "an unseen query", "question", (passage,), (), "v1"))
        writer.add("validation", Sample("v2", toy_samples()[0].query.upper(), "question", (passage,), (), "v2"))
    rows = load_samples(tmp_path / "samples", tmp_path / "cache")
    development = development_set([tmp_path / "samples"], rows, tmp_path / "cache", seed=0, most_documents=100)
    assert development is not None
    assert not development.held_out
    assert list(development.dataset.queries) == ["v1"]
    assert set(development.dataset.corpus) == set(ANIMALS)


def test_ids_of_documents_that_each_row_counts_anew(tmp_path: Path) -> None:
    samples = [
        Sample(
            f"q{number}",
            f"question {number}",
            "question",
            (Passage("0", f"right {number}"),),
            (Passage("1", f"wrong {number}"),),
        )
        for number in range(30)
    ]
    write_jsonl(tmp_path / "s.jsonl", [sample.row() for sample in samples])
    rows = load_samples(tmp_path / "s.jsonl", tmp_path / "cache")
    development = development_set([tmp_path / "s.jsonl"], rows, tmp_path / "cache", seed=0, most_documents=100)
    assert development is not None
    for query in development.dataset.judged:
        (relevant,) = development.dataset.qrels[query]
        assert development.dataset.corpus[relevant].text == f"right {query[1:]}"

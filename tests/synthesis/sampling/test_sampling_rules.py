"""The rules behind samples, each by hand-computed examples or against a slow and simple computation."""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pyarrow")

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rader_synthesis.sampling import EvaluationSet, SamplingConfig, bm25_index, load_evaluation_set, make_samples
from rader_synthesis.sampling.mining import Miner, MiningRequest
from rader_synthesis.sampling.near import NearIndex, jaccard, shingles
from rader_synthesis.sampling.spool import Relevant

from rader_plugins import Document, Hit, RaderIndex
from rader_plugins.errors import InputError
from rader_plugins.files import write_jsonl
from rader_plugins.reranking.base import Reranker, reordered
from rader_plugins.sample_files import read_samples
from rader_plugins.samples import Passage
from tests.support.encoders import HashEncoder
from tests.support.examples import examples
from tests.synthesis.sampling_support import all_samples, doc, retrieval, thought, told, trajectory, write

# Near-duplicates


def test_jaccard_of_word_3_grams() -> None:
    first, second = shingles("a b c d e"), shingles("A, b, c: d f!")
    assert jaccard(first, second) == 2 / 4  # abc bcd cde; abc bcd cdf
    assert jaccard(shingles("Why?"), shingles("why")) == 1
    assert jaccard(shingles("\U0001f600"), shingles("\U0001f601")) == 0
    assert len(shingles("")) == 1


def test_the_index_finds_the_pairs_that_comparing_all_finds() -> None:
    rng = random.Random(0)
    vocabulary = [f"w{n}" for n in range(300)]
    texts = []
    for _ in range(60):
        base = rng.choices(vocabulary, k=60)
        texts.append(" ".join(base))
        for changes in (1, 2, 3, 12):
            changed = list(base)
            for position in rng.sample(range(60), changes):
                changed[position] = "new"
            texts.append(" ".join(changed))
    gram_sets = [shingles(text) for text in texts]
    expected = {(a, b) for a, b in combinations(range(len(texts)), 2) if jaccard(gram_sets[a], gram_sets[b]) >= 0.8}
    index = NearIndex(sqlite3.connect(":memory:"), "near", 0.8)
    pairs = set()
    for number, text in enumerate(gram_sets):
        pairs |= {(near, number) for near in index.near(text)}
        index.add(number, text)
    assert pairs <= expected
    assert len(expected) > 100
    assert len(pairs) >= 0.99 * len(expected)


# Decontamination

QUERY = "A pirate buries one chest on every island whose number divides the number of palm trees there, how many chests"


def test_exact_and_ngram_overlap() -> None:
    test = EvaluationSet("test", {"long": QUERY, "short": "Why is it so?"}, ngram=13)
    words = QUERY.split()
    assert test.overlap(QUERY.upper() + "?") is not None
    assert test.overlap("why, is it so").how == "exact"  # type: ignore[union-attr]
    assert test.overlap("Tell me: why is it so?") is None
    assert test.overlap(" ".join(["And", *words[2:15]])).how == "ngram"  # type: ignore[union-attr]
    assert test.overlap(" ".join(["And", *words[2:14]])) is None


def test_problems_and_queries_of_an_evaluation_set_are_left_out_and_reported(tmp_path: Path) -> None:
    steps = (thought("A step."), retrieval(doc("a", True, text="Text of A"), kept="a"))
    write_jsonl(tmp_path / "test.jsonl", [{"_id": "t1", "text": QUERY}, {"id": 2, "question": "A B C D step"}])
    trajectories = [
        trajectory("same", *steps, question=QUERY.lower()),
        trajectory("part", *steps, question="Here " + " ".join(QUERY.split()[3:])),
        trajectory("free", *steps, question="Quite another question"),
        # Its question is not in the set, what a step says is.
        trajectory("query", thought("b c d step"), retrieval(doc("b", True)), question="A"),
    ]
    sets = [load_evaluation_set(tmp_path / "test.jsonl", ngram=13)]
    make_samples(
        [write(tmp_path, trajectories)], tmp_path / "out", evaluation_sets=sets, config=SamplingConfig(dev_share=0)
    )
    assert {sample.query_id for sample in all_samples(tmp_path / "out")} == {
        "question:free",
        "cot:free:1",
        "question:query",
    }
    card = told(tmp_path / "out")["decontamination"]
    assert card["listed"] == [
        {"dataset": "test", "query": "t1", "how": "exact", "problem_id": "same"},
        {"dataset": "test", "query": "t1", "how": "ngram", "problem_id": "part"},
        {"dataset": "test", "query": "2", "how": "exact", "query_id": "cot:query:1"},
    ]
    assert card["overlaps"] == {"test: exact": 2, "test: ngram": 1}


def beir(folder: Path) -> Path:
    (folder / "qrels").mkdir(parents=True)
    write_jsonl(folder / "corpus.jsonl", [{"_id": "x", "title": "Text", "text": "of A"}, {"_id": "y", "text": "other"}])
    write_jsonl(
        folder / "queries.jsonl", [{"_id": split, "text": f"question of {split}"} for split in ("train", "dev", "test")]
    )
    for split in ("train", "dev", "test"):
        (folder / "qrels" / f"{split}.tsv").write_text(f"query-id\tcorpus-id\tscore\n{split}\tx\t1\n")
    return folder


def test_a_beir_folder_gives_its_evaluation_queries_and_its_corpus(tmp_path: Path) -> None:
    folder = beir(tmp_path / "beir")
    assert load_evaluation_set(folder).queries == 2
    assert load_evaluation_set(f"{folder}:dev").queries == 1
    assert load_evaluation_set(f"{folder}:train").overlap("Question of TRAIN").query == "train"  # type: ignore[union-attr]
    assert load_evaluation_set("bundled").queries > 100
    for source, message in ((f"{folder}:no", "has no split 'no'"), (tmp_path / "nowhere", "no evaluation set")):
        with pytest.raises(InputError, match=message):
            load_evaluation_set(source)
    steps = retrieval(doc("a", True, text="text of a"), kept="a"), retrieval(doc("z", True), kept="z")
    make_samples(
        [write(tmp_path, [trajectory("p", *steps)])], tmp_path / "out", evaluation_sets=[load_evaluation_set(folder)]
    )
    assert told(tmp_path / "out")["documents"] == {"positives": 2, "in_evaluation_corpora": {"beir": 1}}
    assert "Its corpus holds 1 of the 2 positives" in (tmp_path / "out/README.md").read_text()


# Mining


def mining_request(
    query: str, positives: list[Passage], relevant: set[str], contents: set[bytes] = frozenset(), **more: Any
) -> MiningRequest:
    values: dict[str, Any] = {"question": query, "rejected": set(), "limit": None}
    return MiningRequest("q", query, positives=positives, relevant=Relevant(relevant, contents), **{**values, **more})


def vectors_index(angles: dict[str, float]) -> RaderIndex:
    """Documents in a plane, at angles from the query's vector (1, 0)."""

    class Plane(HashEncoder):
        def encode_queries(self, texts: Any, *, instruction: str | None = None) -> Any:
            return np.array([[1.0, 0.0]] * len(texts), dtype=np.float32)

    index = RaderIndex.create(None, Plane(2))
    vectors = [[np.cos(angle), np.sin(angle)] for angle in angles.values()]
    index.add([Document(id, f"text {id}") for id in angles], vectors=vectors)
    return index


def test_dense_negatives_are_the_best_by_cosine_without_positives() -> None:
    index = vectors_index({f"d{n}": n / 10 for n in range(15)})
    negatives = Miner(index, SamplingConfig(), dense=True).mine(
        [mining_request("q", [Passage("d1", "")], {"d1"})], dropped := Counter()
    )
    assert [negative.id for negative in negatives[0]] == ["d0", *(f"d{n}" for n in range(2, 10))]
    assert {negative.origin for negative in negatives[0]} == {"dense"}
    assert dropped == {"mined: positive of the same problem": 1}


def test_margins_compare_cosines() -> None:
    # Cosines 1, 0.8, 0.7, 0.5; the positive has 0.8.
    index = vectors_index({"high": 0.0, "positive": np.arccos(0.8), "near": np.arccos(0.7), "far": np.arccos(0.5)})
    requests = [mining_request("q", [Passage("positive", "")], {"positive"})]
    for options, expected in (
        ({}, ["high", "near", "far"]),
        ({"relative_margin": 0.95}, ["near", "far"]),  # below 0.76
        ({"relative_margin": 0.8}, ["far"]),  # below 0.64
        ({"absolute_margin": 0.15}, ["far"]),  # below 0.65
        ({"absolute_margin": 0.05}, ["near", "far"]),
    ):
        negatives = Miner(index, SamplingConfig(**options), dense=True).mine(requests, Counter())
        assert [negative.id for negative in negatives[0]] == expected, options
    with pytest.raises(InputError, match="margin compares cosines"):
        Miner(index, SamplingConfig(relative_margin=0.9), dense=False)


def test_a_cross_encoder_keeps_away_what_it_scores_no_lower_than_a_positive() -> None:
    class ByNumber(Reranker):
        asked: list[str] = []

        def rerank_batch(self, queries: Any, hits: Any) -> list[list[Hit]]:
            self.asked += queries
            scores = [[float(hit.document.text.split()[-1]) for hit in passages] for passages in hits]
            return [
                reordered(passages, values, [{}] * len(passages)) for passages, values in zip(hits, scores, strict=True)
            ]

    index = bm25_index(None, [Document(f"d{n}", f"needle {n}") for n in range(60)])
    config = SamplingConfig(bm25_ranks=(1, 60), bm25_negatives=60)
    miner = Miner(index, config, dense=False, reranker=(judge := ByNumber()))
    asked = [
        mining_request(
            "needle", [Passage("d20", "needle 20"), Passage("d9", "needle 9")], {"d20", "d9"}, question="The question"
        )
    ]
    (passages,) = miner.mine(asked, dropped := Counter())
    assert {negative.id for negative in passages} == {f"d{n}" for n in range(9)}
    assert judge.asked == ["The question"]
    assert dropped["mined: no worse than a positive for the cross-encoder"] == 60 - 2 - 9


names = st.sampled_from([f"d{n}" for n in range(8)])
labels = st.tuples(names, st.sampled_from([True, False, None]))
searches = st.lists(labels, min_size=1, max_size=4, unique_by=lambda pair: pair[0])
runs = st.lists(
    st.tuples(
        st.sampled_from(["p", "q"]), st.sampled_from([0.0, 1.0]), st.lists(searches, min_size=1, max_size=3), names
    ),
    min_size=1,
    max_size=5,
)


@pytest.fixture(scope="module")
def small_index() -> RaderIndex:
    # d6 and d7 have the texts of d0 and d1 in other letters.
    texts = {f"d{n}": f"needle number{n}" for n in range(6)} | {"d6": "Needle, NUMBER0", "d7": "needle number1!"}
    return bm25_index(None, [Document(id, text) for id, text in texts.items()])


@given(runs=runs, mine=st.sampled_from(["always", "auto", "never"]), positives=st.sampled_from(["kept", "relevant"]))
@settings(
    max_examples=examples(30),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_no_positive_is_among_the_negatives(
    tmp_path_factory: pytest.TempPathFactory, small_index: RaderIndex, runs: Any, mine: Any, positives: Any
) -> None:
    folder = tmp_path_factory.mktemp("samples")
    trajectories, relevant = [], {"p": set(), "q": set()}
    for number, (problem, reward, retrievals, kept_id) in enumerate(runs):
        steps = []
        for position, search in enumerate(retrievals):
            steps.append(thought(f"step {number} {position}"))
            steps.append(retrieval(*(doc(id, label) for id, label in search), kept=kept_id if position == 0 else None))
            relevant[problem] |= {id for id, label in search if label}
            if position == 0 and (kept_id, False) not in search:
                relevant[problem].add(kept_id)
        trajectories.append(trajectory(f"{problem}#{number}", *steps, reward=reward, problem=problem))
    config = SamplingConfig(mine=mine, positives=positives, bm25_ranks=(1, 8), dev_share=0)
    try:
        make_samples([write(folder, trajectories)], folder / "out", index=small_index, dense=False, config=config)
    except InputError as error:
        if "No sample came out" not in str(error):
            raise
        return
    same = {"d0": "d6", "d6": "d0", "d1": "d7", "d7": "d1"}
    for sample in read_samples(folder / "out"):
        negatives = {passage.id for passage in sample.negatives}
        assert sample.positives
        forbidden = relevant[sample.problem_id]
        assert {passage.id for passage in sample.positives} <= forbidden
        assert not negatives & forbidden
        assert not negatives & {same[id] for id in forbidden if id in same}
        assert len(negatives) == len(sample.negatives)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kinds": ()}, "kinds holds some of"),
        ({"kinds": ("question", "other")}, "kinds holds some of"),
        ({"mine": "maybe"}, "mine is one of"),
        ({"enough": -1}, "enough must be a whole number"),
        ({"bm25_ranks": (5, 3)}, "bm25_ranks"),
        ({"dev_share": 1}, "dev_share below 1"),
        ({"near_duplicates": 0}, "near_duplicates must be above 0"),
        ({"relative_margin": 0.9, "absolute_margin": 0.1}, "not both"),
        ({"max_overlap": 2}, "between 0 and 1"),
    ],
)
def test_unusable_parameters_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SamplingConfig(**options)

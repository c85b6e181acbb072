from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mteb")

import mteb  # noqa: E402
from datasets import Dataset  # noqa: E402
from mteb._create_dataloaders import _retrieval_texts  # noqa: E402
from mteb.mocks.mock_tasks.reranking import MockRerankingTask  # noqa: E402
from mteb.mocks.mock_tasks.retrieval import (  # noqa: E402
    MockInstructionRetrieval,
    MockMultilingualRetrievalTask,
    MockRetrievalDialogTask,
    MockRetrievalTask,
)
from mteb.models import EncoderProtocol, SearchProtocol  # noqa: E402
from mteb.types import PromptType  # noqa: E402

from rader_plugins import Document, Encoder, RaderIndex, RaderRetriever  # noqa: E402
from rader_plugins.errors import InputError  # noqa: E402
from rader_plugins.evaluation import RetrievalDataset, evaluate, index_corpus  # noqa: E402
from rader_plugins.evaluation.mteb import RaderMtebEncoder, RaderSearch, task_instruction  # noqa: E402
from rader_plugins.evaluation.mteb.tasks import documents_of, queries_of  # noqa: E402
from rader_plugins.recipes import BRIGHT_INSTRUCTIONS, bright_instruction, get_recipe  # noqa: E402
from tests.support.encoders import HashEncoder, random_text  # noqa: E402
from tests.support.hub_folders import write_bright  # noqa: E402
from tests.support.tiny_rerankers import LengthReranker  # noqa: E402

K = 10


def scores(model: Any, task: Any, split: str = "test") -> dict[str, float]:
    result = mteb.evaluate(model, task, cache=None, show_progress_bar=False, co2_tracker=False)
    return result.task_results[0].scores[split][0]


def figures(found: dict[str, float]) -> dict[str, float]:
    names = ("ndcg_at_10", "recall_at_10", "recall_at_3", "map_at_10", "mrr_at_10")
    return {name: found[name] for name in names}


def make_task(base: type = MockRetrievalTask, *, seed: int = 0, top_ranked: Any = None) -> Any:
    """mteb's mock task with forty documents and eight queries of random words."""
    import numpy as np

    rng = np.random.default_rng(seed)
    corpus = [
        {"id": f"d{n}", "title": random_text(rng, 2) if n % 2 else "", "text": random_text(rng)} for n in range(40)
    ]
    queries = [{"id": f"q{n}", "text": random_text(rng, 4)} for n in range(8)]
    relevant = {f"q{n}": {f"d{d}": int(rng.integers(1, 3)) for d in rng.integers(0, 40, 4)} for n in range(8)}
    task = base()
    task.dataset = {
        "default": {
            split: {
                "corpus": Dataset.from_list(corpus),
                "queries": Dataset.from_list(queries),
                "relevant_docs": relevant,
                "top_ranked": top_ranked,
            }
            for split in task.metadata.eval_splits
        }
    }
    task.data_loaded = True
    return task


def as_dataset(task: Any, excluded: Any = None) -> RetrievalDataset:
    part = task.dataset["default"]["test"]
    corpus = {row["id"]: Document(row["id"], f"{row['title']} {row['text']}".strip()) for row in part["corpus"]}
    queries = {row["id"]: row["text"] for row in part["queries"]}
    return RetrievalDataset(corpus, queries, part["relevant_docs"], excluded or {})


def ours(dataset: RetrievalDataset, encoder: Encoder, **options: Any) -> dict[str, float]:
    index = RaderIndex.create(None, encoder)
    index_corpus(dataset, index)
    names = {"ndcg_at_10": "nDCG@10", "recall_at_10": "R@10", "recall_at_3": "R@3", "map_at_10": "AP@10"}
    means = evaluate(RaderRetriever(index, **options), dataset, measures=[*names.values(), "RR"], k_values=[K]).mean
    return {**{theirs: means[name] for theirs, name in names.items()}, "mrr_at_10": means["RR@10"]}


def test_they_are_what_mteb_wants() -> None:
    encoder = HashEncoder()
    search, dense = RaderSearch(encoder), RaderMtebEncoder(encoder)
    assert isinstance(search, SearchProtocol)
    assert isinstance(dense, EncoderProtocol)
    # An object that is both would be taken for the other.
    assert not isinstance(search, EncoderProtocol)
    assert not isinstance(dense, SearchProtocol)


@pytest.mark.parametrize(
    "options",
    [{"mode": "hybrid", "alpha": 0.6}, {"mode": "dense"}, {"mode": "bm25"}, {"mode": "hybrid", "rerank": True}],
    ids=["hybrid", "dense", "bm25", "reranked"],
)
def test_figures_are_those_of_our_own_evaluation(options: dict[str, Any]) -> None:
    if options.pop("rerank", False):
        options = {**options, "reranker": LengthReranker(), "rerank_top": 12}
    encoder, task = HashEncoder(), make_task()
    expected = ours(as_dataset(task), encoder, **options)
    assert figures(scores(RaderSearch(encoder, **options), task)) == pytest.approx(expected, abs=1e-5)
    assert 0 < expected["ndcg_at_10"] < 1


@pytest.mark.filterwarnings("ignore:.*judged relevant and excluded")
def test_only_documents_that_the_task_names_are_ranked(caplog: pytest.LogCaptureFixture) -> None:
    candidates = {f"q{n}": [f"d{d}" for d in range(n, 40, 3)] for n in range(7)}
    task = make_task(MockRerankingTask, top_ranked=candidates)
    part = task.dataset["default"]["test"]
    search = RaderSearch(HashEncoder(), mode="dense")
    about: dict[str, Any] = {"task_metadata": task.metadata, "hf_split": "test", "hf_subset": "default"}
    search.index(part["corpus"], **about)
    run = search.search(part["queries"], top_k=1000, top_ranked=candidates, **about)
    assert {query: set(run[query]) for query in candidates} == {query: set(ids) for query, ids in candidates.items()}
    assert run["q7"] == {}
    assert "no documents to rank for 1 of its queries" in caplog.text
    assert [len(ranked) for ranked in search.search(part["queries"], top_k=3, **about).values()] == [3] * 8
    excluded = {query: frozenset(f"d{d}" for d in range(40)) - set(ids) for query, ids in candidates.items()}
    excluded["q7"] = frozenset(f"d{d}" for d in range(40))
    expected = ours(as_dataset(task, excluded), HashEncoder(), mode="dense")
    assert figures(scores(search, task)) == pytest.approx(expected, abs=1e-5)


def test_a_reranker_sees_no_more_than_it_shall() -> None:
    reranker = LengthReranker()
    scores(RaderSearch(HashEncoder(), reranker=reranker, rerank_top=5), make_task())
    assert [sizes for _, sizes in reranker.calls] == [[5] * 8] * len(MockRetrievalTask.metadata.eval_splits)


def test_plain_sentence_transformers_agrees(mini: Encoder) -> None:
    from sentence_transformers import SentenceTransformer

    assert mini.location is not None
    plain = SentenceTransformer(mini.location, device="cpu")
    plain.max_seq_length = mini.recipe.max_document_length
    for task in (MockRetrievalTask, MockRerankingTask, make_task):
        expected = figures(scores(plain, task()))
        assert figures(scores(RaderMtebEncoder(mini), task())) == pytest.approx(expected, abs=1e-5)
        assert figures(scores(RaderSearch(mini, mode="dense"), task())) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("task", [MockRetrievalDialogTask, MockInstructionRetrieval, MockRetrievalTask])
def test_texts_are_read_as_mteb_reads_them(task: Any) -> None:
    mock_task = task()
    mock_task.load_data()
    part = mock_task.dataset["default"]["test"]
    assert list(queries_of(part["queries"]).values()) == list(_retrieval_texts(part["queries"], PromptType.query))
    texts = [document.text for document in documents_of(part["corpus"]).values()]
    assert texts == list(_retrieval_texts(part["corpus"], PromptType.document))


def test_several_subsets_in_a_folder_and_again(tmp_path: Path) -> None:
    encoder = HashEncoder()
    first = scores(RaderSearch(encoder, folder=tmp_path), MockMultilingualRetrievalTask())
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"MockMultilingualRetrievalTask-{subset}-{split}" for subset in ("eng", "fra") for split in ("test", "val")
    ]
    encoded = sum(encoder.calls)
    assert scores(RaderSearch(encoder, folder=tmp_path), MockMultilingualRetrievalTask()) == first
    assert sum(encoder.calls) == encoded + 8  # the queries alone


def test_bright(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """mteb's own task of BRIGHT v1.1 on a copy of the data set, and our loader on the same copy."""
    import datasets

    home = write_bright(tmp_path / "BRIGHT")
    dataset = RetrievalDataset.bright("theoremqa_theorems", data_dir=home)
    load = datasets.load_dataset

    def load_dataset(path: str, name: str, *, split: str, **_: Any) -> Any:
        assert path == "mteb/BRIGHT"
        files = str(home / name / f"{split}-*.parquet")
        return load("parquet", data_files={split: files}, split=split, cache_dir=str(tmp_path / "cache"))

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    (task,) = mteb.get_tasks(tasks=["BrightTheoremQATheoremsRetrieval"])
    search = RaderSearch(HashEncoder(), mode="hybrid")
    runs: list[dict[str, dict[str, float]]] = []
    find = search.search

    def remember(*args: Any, **kwargs: Any) -> dict[str, dict[str, float]]:
        runs.append(find(*args, **kwargs))
        return runs[-1]

    monkeypatch.setattr(search, "search", remember)
    task_scores = scores(search, task, "standard")
    assert figures(task_scores) == pytest.approx(ours(dataset, HashEncoder(), mode="hybrid"), abs=1e-5)
    # The first query excludes two of the four documents.
    assert {query: len(ranked) for query, ranked in runs[0].items()} == {"0": 2, "1": 4}
    assert set(runs[0]["0"]) == {"ramsey", "euclid"}


def test_rar_b() -> None:
    (task,) = mteb.get_tasks(tasks=["RARbMath"])
    mock = make_task()
    task.dataset, task.data_loaded = mock.dataset, True
    expected = ours(as_dataset(mock), HashEncoder(), mode="hybrid")
    assert figures(scores(RaderSearch(HashEncoder(), mode="hybrid"), task)) == pytest.approx(expected, abs=1e-5)


def test_every_task_of_bright_has_its_instruction() -> None:
    from mteb.tasks.retrieval.eng import bright_pro_retrieval as bright_pro
    from mteb.tasks.retrieval.eng import bright_v1_1_retrieval as module

    rader, plain = get_recipe("rader-3b"), get_recipe("mini")
    tasks = [task_class for name, task_class in vars(module).items() if name.startswith("Bright")]
    assert len(tasks) == 12 + 8
    instructions = {task.metadata.name: task_instruction(task.metadata, "default", rader) for task in tasks}
    assert set(instructions.values()) == set(BRIGHT_INSTRUCTIONS.values())
    assert instructions["BrightTheoremQATheoremsRetrieval"] == bright_instruction("theoremqa_theorems")
    assert all(task_instruction(task.metadata, "default", plain) is None for task in tasks)
    (old,) = mteb.get_tasks(tasks=["BrightRetrieval"], exclude_superseded=False)
    assert task_instruction(old.metadata, "earth_science", rader) == bright_instruction("earth_science")
    for pro in (name for name in vars(bright_pro) if name.startswith("BrightPro")):
        assert task_instruction(getattr(bright_pro, pro).metadata, "default", rader) in instructions.values(), pro
    (other,) = mteb.get_tasks(tasks=["RARbMath"])
    assert task_instruction(other.metadata, "default", rader) is None
    assert task_instruction(other.metadata, "default", rader, "Mine: ") == "Mine: "
    assert task_instruction(other.metadata, "default", rader, {"RARbMath": "Math: "}) == "Math: "


def test_roles_and_instructions_reach_the_encoder() -> None:
    calls: list[tuple[str, str | None]] = []

    class Listening(HashEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.recipe = dataclasses.replace(self.recipe, query_template="query: {instruction}{text}")

        def encode_queries(self, texts: Any, *, instruction: str | None = None) -> Any:
            calls.append(("query", instruction))
            return self._encode(texts)

        def encode_documents(self, texts: Any) -> Any:
            calls.append(("document", None))
            return self._encode(texts)

    (task,) = mteb.get_tasks(tasks=["BrightAopsRetrieval"])
    encoder = RaderMtebEncoder(Listening())
    about: dict[str, Any] = {"task_metadata": task.metadata, "hf_split": "standard", "hf_subset": "default"}
    batches = [{"text": ["prime graph", "tree"]}, {"text": ["hash"]}]
    assert encoder.encode(batches, prompt_type=PromptType.query, **about).shape == (3, 16)
    encoder.encode(batches, prompt_type=PromptType.document, **about)
    vectors = encoder.encode(batches, **about)
    assert calls == [("query", bright_instruction("aops")), ("document", None), ("document", None)]
    assert encoder.similarity(vectors, vectors)[0, 1].item() == pytest.approx(float(vectors[0] @ vectors[1]), abs=1e-6)
    assert encoder.similarity_pairwise(vectors, vectors).tolist() == pytest.approx([1, 1, 1], abs=1e-6)
    with pytest.raises(InputError, match="no text"):
        encoder.encode([{"image": [None]}], **about)


def test_other_settings_are_another_model_to_mteb() -> None:
    encoder = HashEncoder()
    models = [
        RaderSearch(encoder),
        RaderSearch(encoder, alpha=0.5),
        RaderSearch(encoder, mode="dense"),
        RaderSearch(encoder, instruction="Mine: "),
        RaderSearch(encoder, reranker=LengthReranker()),
        RaderMtebEncoder(encoder),
        RaderSearch(HashEncoder(dimension=8)),
    ]
    metas = [model.mteb_model_meta for model in models]
    assert all(meta != other for meta, other in itertools.combinations(metas, 2))
    assert metas[0] == RaderSearch(encoder).mteb_model_meta
    assert metas[0].name == "rader-plugins/hash"
    assert (metas[0].embed_dim, metas[0].model_type, metas[2].model_type) == (16, ["hybrid"], ["dense"])
    assert RaderSearch(encoder, name="me/mine").mteb_model_meta.name == "me/mine"


def test_bad_use() -> None:
    encoder, task = HashEncoder(), MockRetrievalTask()
    about: dict[str, Any] = {"task_metadata": task.metadata, "hf_split": "test", "hf_subset": "default"}
    with pytest.raises(InputError, match="index\\(\\) with the corpus"):
        RaderSearch(encoder).search([], top_k=3, **about)
    with pytest.raises(InputError, match="alpha"):
        RaderSearch(encoder, alpha=2)
    with pytest.raises(InputError, match="organisation/name"):
        RaderSearch(encoder, name="mine")
    with pytest.raises(InputError, match="'d' is no text"):
        RaderSearch(encoder).index([{"id": "d", "image": b""}], **about)
    with pytest.raises(InputError, match="pins the revision"):
        RaderMtebEncoder(encoder, "main")

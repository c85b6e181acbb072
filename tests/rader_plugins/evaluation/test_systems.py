"""What may be evaluated besides our own retriever: asynchronous functions, and objects that an adapter knows."""

from __future__ import annotations

import asyncio
import json
import warnings
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest

from rader_plugins import RaderIndex, RaderRetriever
from rader_plugins.errors import InputError
from rader_plugins.evaluation import RetrievalDataset, UnusableResultsError, adapters, evaluate, index_corpus
from rader_plugins.evaluation.adapter_support import check_about, in_order, known_settings, source_id
from rader_plugins.llm import OpenAIChat
from rader_plugins.reranking.llm_grader import LLMReranker
from rader_plugins.retrieval.reasoning import ReasoningQuery
from tests.support.encoders import HashEncoder
from tests.support.llm_server import LLMServer

from .conftest import make_dataset

FOUND = {"question 0": ["d0"], "question 1": ["d5", "d1"], "question 2": ["d9"]}


async def search(queries: list[str], k: int = 10) -> list[list[tuple[str, float]]]:
    await asyncio.sleep(0)
    return [[(id, 1.0 - position / 10) for position, id in enumerate(FOUND[query])][:k] for query in queries]


def test_an_asynchronous_function(toy: RetrievalDataset, tmp_path: Path) -> None:
    loops = set()

    async def watched(queries: list[str]) -> list[list[tuple[str, float]]]:
        loops.add(asyncio.get_running_loop())
        return await search(queries)

    evaluation = evaluate(watched, toy, measures=["RR"], out=tmp_path)
    assert {query: row["RR@10"] for query, row in evaluation.per_query.items()} == {"q0": 1.0, "q1": 0.5, "q2": 1.0}
    [loop] = loops  # one for all calls: what a client keeps open belongs to it
    assert loop.is_closed()


async def test_an_asynchronous_function_from_within_a_loop(toy: RetrievalDataset) -> None:
    assert evaluate(search, toy, measures=["RR"]).mean["RR@10"] == pytest.approx(2.5 / 3)


def test_one_question_of_an_asynchronous_function_may_raise(toy: RetrievalDataset) -> None:
    async def raising(queries: list[str]) -> list[list[tuple[str, float]]]:
        if "question 1" in queries:
            raise RuntimeError("no luck")
        return await search(queries)

    evaluation = evaluate(raising, toy, max_failures=0.5)
    assert evaluation.left_out["queries_failed"] == {"q1": "RuntimeError: no luck"}
    assert evaluation.per_query["q1"]["RR@10"] == 0.0


def test_results_that_cannot_be_scored_are_no_failed_question(toy: RetrievalDataset) -> None:
    def unusable(queries: list[str]) -> Any:
        raise UnusableResultsError("say where the ids are")

    with pytest.raises(UnusableResultsError, match="say where"):
        evaluate(unusable, toy, max_failures=1.0)


def test_ids_that_the_corpus_does_not_know_are_an_error(toy: RetrievalDataset) -> None:
    with pytest.raises(UnusableResultsError, match=r"None of the 3 results.*'a1f0'.*id_key"):
        evaluate(lambda queries: [[("a1f0", 1.0)] for _ in queries], toy)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evaluate(lambda queries: [[("a1f0", 1.0), ("d0", 0.5)] for _ in queries], toy)
        evaluate(lambda queries: [[] for _ in queries], toy)


def test_a_document_that_comes_twice_counts_once_by_its_best_score() -> None:
    dataset = make_dataset(excluded={"q1": frozenset({"d5"})})

    def twice(queries: list[str]) -> list[list[tuple[str, float]]]:
        return [[("d2", 0.2), ("d5", 0.9), ("d5", 0.8), ("d1", 0.5), ("d2", 0.7)] for _ in queries]

    evaluation = evaluate(twice, dataset)
    assert list(evaluation.run["q1"]) == ["d2", "d1"]
    assert evaluation.run["q1"]["d2"] == pytest.approx(0.7)
    assert evaluation.left_out["chunks_merged"] == 2 + 1 + 2  # not the excluded one


# Adapters


class Engine:
    """Belongs to no framework that is installed."""


class Derived(Engine):
    pass


CALLS: list[str] = []


def adapt(system: object) -> Any:
    CALLS.append(type(system).__name__)
    if isinstance(system, Engine):
        return search
    return None


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> str:
    """An adapter for the package that this module's classes belong to."""
    root = Engine.__module__.partition(".")[0]
    CALLS.clear()
    entries = EntryPoints(
        [
            EntryPoint("elsewhere", "no.such.module:adapt", adapters.ADAPTER_GROUP),
            EntryPoint(root, f"{__name__}:adapt", adapters.ADAPTER_GROUP),
        ]
    )
    monkeypatch.setattr(adapters, "entry_points", lambda group: entries.select(group=group))
    return root


def test_an_adapter_is_asked_about_classes_of_its_module_and_their_subclasses(
    registered: str, toy: RetrievalDataset
) -> None:
    assert evaluate(Engine(), toy, measures=["RR"]).mean["RR@10"] == pytest.approx(2.5 / 3)
    foreign = type("Foreign", (Derived,), {"__module__": "somewhere.else"})
    assert evaluate(foreign(), toy, measures=["RR"]).mean["RR@10"] == pytest.approx(2.5 / 3)
    assert CALLS == ["Engine", "Foreign"]


def test_what_no_adapter_knows(registered: str, toy: RetrievalDataset) -> None:
    class Callable:
        async def __call__(self, queries: list[str]) -> list[list[tuple[str, float]]]:
            return await search(queries)

    assert evaluate(Callable(), toy, measures=["RR"]).mean["RR@10"] == pytest.approx(2.5 / 3)
    assert CALLS == ["Callable"]
    evaluate(search, toy)
    assert CALLS == ["Callable"]  # a function is nobody's
    with pytest.raises(InputError, match=r"object cannot be evaluated as it is.*LangChain.*LlamaIndex"):
        evaluate(object(), toy)


# What adapters share


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0.9, 0.9, 0.1], [0.9, 0.9, 0.1]),
        ([3, 2, 1], [3.0, 2.0, 1.0]),
        ([0.1, 0.5, 0.9], [3.0, 2.0, 1.0]),  # distances
        ([0.9, None, 0.1], [3.0, 2.0, 1.0]),
        ([0.9, "A+", 0.1], [3.0, 2.0, 1.0]),
        ([0.9, float("nan"), 0.1], [3.0, 2.0, 1.0]),
        ([float("inf"), 0.5, 0.1], [3.0, 2.0, 1.0]),
        ([True, False, False], [3.0, 2.0, 1.0]),
    ],
)
def test_the_order_is_the_ranking(scores: list[object], expected: list[float]) -> None:
    assert in_order(["a", "b", "c"], scores) == list(zip("abc", expected, strict=True))
    assert in_order([], []) == []


@pytest.mark.parametrize("value", [None, "", True, 1.5, ["a"]])
def test_what_is_no_id(value: object) -> None:
    assert source_id(7, "x", "") == "7"
    with pytest.raises(UnusableResultsError, match="The third has no id.*Do this"):
        source_id(value, "The third", "Do this.")


def test_settings_that_may_be_written_down() -> None:
    class System:
        k = 4
        search_kwargs = {"k": 4, "filter": object()}
        weights = [0.5, 0.5]
        api_key = "secret"
        top_k = staticmethod(len)

    assert known_settings(System()) == {"k": 4, "weights": [0.5, 0.5]}
    assert check_about(None) == {}
    assert check_about({"prompt": "v2"}) == {"prompt": "v2"}
    for bad in ({"a": object()}, "v2"):
        with pytest.raises(InputError, match="about"):
            check_about(bad)  # type: ignore[arg-type]


def test_the_reasoning_is_part_of_the_manifest(tmp_path: Path) -> None:
    dataset = make_dataset()
    index = RaderIndex.create(None, encoder=HashEncoder())
    index_corpus(dataset, index)
    prints = set()
    for text in ("steps", "other steps"):
        file = tmp_path / "steps.jsonl"
        file.write_text(json.dumps({"query": "question 0", "text": text}))
        about = evaluate(RaderRetriever(index, reasoning=ReasoningQuery.from_file(file)), dataset).manifest["retriever"]
        assert about["reasoning"]["kind"] == "ReasoningQuery"
        prints.add(about["reasoning"]["fingerprint"])
    assert len(prints) == 2
    with pytest.raises(InputError, match=r"reasoning must be a ReasoningQuery, not str.*LangChainChat"):
        RaderRetriever(index, reasoning="steps")  # type: ignore[arg-type]


def test_the_model_that_grades_is_part_of_the_manifest() -> None:
    dataset = make_dataset()
    index = RaderIndex.create(None, encoder=HashEncoder())
    index_corpus(dataset, index)
    with LLMServer("Grade: 3") as server:
        prints = set()
        for name in ("one", "other"):
            reranker = LLMReranker(OpenAIChat(server.url, name), show_progress=False)
            evaluation = evaluate(RaderRetriever(index, reranker=reranker, rerank_top=2), dataset, k_values=[2])
            prints.add(evaluation.manifest["retriever"]["reranker"]["llm"])
    assert len(prints) == 2

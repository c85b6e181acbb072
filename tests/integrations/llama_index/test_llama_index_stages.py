"""`RaderRetriever(reranker=..., reasoning=...)` in LlamaIndex, and what `persist` keeps of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.llms import CompletionResponse, MockLLM
from llama_index.core.schema import QueryBundle, TextNode
from llama_index.postprocessor.rader import RaderRerank
from llama_index.retrievers.rader import LlamaIndexChat, RaderRetriever

from rader_plugins.errors import InputError
from rader_plugins.reranking.llm_grader import LLMReranker
from rader_plugins.retrieval.reasoning import ReasoningQuery
from tests.support.encoders import HashEncoder
from tests.support.tiny_rerankers import LengthReranker, tiny_cross_encoder

TEXTS = [f"graph prime {'colour ' * (at % 7)}{at}" for at in range(30)]


@pytest.fixture
def nodes() -> list[TextNode]:
    return [TextNode(id_=f"n{number:02}", text=text) for number, text in enumerate(TEXTS)]


def scores(found: list[Any]) -> list[tuple[str, float]]:
    return [(result.node_id, result.score) for result in found]


class Steps:
    """Writes reasoning without a model, and remembers what it was asked."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.asked: list[str] = []

    def expand(self, queries: Any) -> list[str]:
        self.asked += queries
        return [self.text for _ in queries]

    async def aexpand(self, queries: Any) -> list[str]:
        return self.expand(queries)


async def test_the_best_of_the_first_stage_are_reranked(nodes: list[TextNode]) -> None:
    reranker = LengthReranker()
    retriever = RaderRetriever.from_defaults(
        nodes=nodes, model=HashEncoder(), similarity_top_k=3, reranker=reranker, rerank_top=8
    )
    first = RaderRetriever(retriever.index, 8).retrieve("prime graph")
    results = retriever.retrieve("prime graph")
    assert [each.node_id for each in results] == [
        each.node_id for each in sorted(first, key=lambda each: len(each.text))[:3]
    ]
    assert results[0].score == -len(results[0].text)
    assert results[0].metadata["scores"].keys() == {"dense", "bm25", "fused", "rerank"}
    assert scores(await retriever.aretrieve("prime graph")) == scores(results)
    assert reranker.calls == [(["prime graph"], [8])] * 2


async def test_the_question_is_reranked_and_the_reasoning_searched_for(nodes: list[TextNode]) -> None:
    reranker, steps = LengthReranker(), Steps("colour 17")
    index = RaderRetriever.from_defaults(nodes=nodes, model=HashEncoder()).index
    retriever = RaderRetriever(index, 4, reasoning=steps)
    expected = scores(RaderRetriever(index, 4).retrieve("colour 17"))
    assert scores(retriever.retrieve("the question")) == expected
    assert scores(await retriever.aretrieve("the question")) == expected
    both = RaderRetriever(index, 4, reasoning=steps, reranker=reranker)
    both.retrieve("the question")
    assert reranker.calls[0][0] == ["the question"]
    assert steps.asked == ["the question"] * 3


def test_an_embedding_of_the_bundle_is_searched_by_as_it_is(nodes: list[TextNode]) -> None:
    index = RaderRetriever.from_defaults(nodes=nodes, model=HashEncoder()).index
    vector = index.encoder.encode_queries(["colour 5"])[0].tolist()
    bundle = QueryBundle("the question", embedding=vector)
    steps = Steps("prime 9")
    dense = RaderRetriever(index, 4, mode="dense", reasoning=steps)
    assert scores(dense.retrieve(bundle)) == scores(RaderRetriever(index, 4, mode="dense").retrieve(bundle))
    assert steps.asked == []  # nothing would read it
    hybrid = RaderRetriever(index, 4, reasoning=steps).retrieve(bundle)
    assert scores(hybrid) == scores(RaderRetriever(index, 4).retrieve(QueryBundle("prime 9", embedding=vector)))


def test_a_model_grades_and_reasons(nodes: list[TextNode]) -> None:
    class Model(MockLLM):
        def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
            if "reasoning that leads" in prompt:
                return CompletionResponse(text="graph 11")
            return CompletionResponse(text="Grade: 5" if "prime 7" in prompt else "Grade: 1")

    llm = LlamaIndexChat(Model())
    retriever = RaderRetriever.from_defaults(
        nodes=nodes,
        model=HashEncoder(),
        mode="dense",
        similarity_top_k=2,
        reasoning=ReasoningQuery(llm),
        reranker=LLMReranker(llm),
        rerank_top=30,
    )
    results = retriever.retrieve("what is prime?")
    assert (results[0].node_id, results[0].metadata["scores"]["grade"]) == ("n07", 5)


def test_persisting_a_reranker_by_name(nodes: list[TextNode], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sentence_transformers")
    tiny_cross_encoder(tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    retriever = RaderRetriever.from_defaults(
        nodes=nodes, model=HashEncoder(), path=tmp_path / "index", reranker="model", rerank_top=9
    )
    retriever.persist()
    monkeypatch.chdir(tmp_path.parent)
    loaded = RaderRetriever.from_persist_dir(tmp_path / "index", model=HashEncoder())
    assert loaded.core.rerank_top == 9
    assert scores(loaded.retrieve("prime")) == scores(retriever.retrieve("prime"))
    assert "rerank" in loaded.retrieve("prime")[0].metadata["scores"]
    plain = RaderRetriever.from_persist_dir(tmp_path / "index", model=HashEncoder(), reranker=None)
    assert plain.core.reranker is None


def test_objects_are_never_lost_in_silence(nodes: list[TextNode], tmp_path: Path) -> None:
    retriever = RaderRetriever.from_defaults(
        nodes=nodes, model=HashEncoder(), reranker=LengthReranker(), reasoning=Steps("prime 9")
    )
    retriever.persist(tmp_path)
    with pytest.raises(InputError, match=r"LengthReranker as its reranker.*reranker=\.\.\."):
        RaderRetriever.from_persist_dir(tmp_path, model=HashEncoder(), reasoning=None)
    with pytest.raises(InputError, match=r"Steps as its reasoning.*reasoning=None"):
        RaderRetriever.from_persist_dir(tmp_path, model=HashEncoder(), reranker=None)
    loaded = RaderRetriever.from_persist_dir(
        tmp_path, model=HashEncoder(), reranker=LengthReranker(), reasoning=Steps("prime 9")
    )
    assert scores(loaded.retrieve("x")) == scores(retriever.retrieve("x"))
    # What was written before there were such stages still opens.
    file = tmp_path / "llama_index_retriever.json"
    config = json.loads(file.read_text())
    for name in ("reranker", "rerank_top", "reasoning"):
        del config[name]
    file.write_text(json.dumps(config))
    assert RaderRetriever.from_persist_dir(tmp_path, model=HashEncoder()).core.reranker is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"reranker": 5}, "reranker must be a name"),
        ({"reranker": MockLLM()}, r"not MockLLM.*LlamaIndexChat"),
        ({"reranker": RaderRerank(LengthReranker(), top_n=3)}, "without top_n"),
        ({"reranker": "no/such-reranker"}, "no/such-reranker"),
        ({"reasoning": MockLLM()}, r"ReasoningQuery\(LlamaIndexChat"),
        ({"rerank_top": 0}, "rerank_top"),
    ],
)
def test_bad_arguments(nodes: list[TextNode], arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        RaderRetriever.from_defaults(nodes=nodes, model=HashEncoder(), **arguments)


def test_a_postprocessor_as_the_reranker(nodes: list[TextNode]) -> None:
    reranker = LengthReranker()
    retriever = RaderRetriever.from_defaults(nodes=nodes, model=HashEncoder(), reranker=RaderRerank(reranker))
    assert retriever.core.reranker is reranker

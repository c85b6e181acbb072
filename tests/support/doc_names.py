"""What the blocks of a page take for granted: names that stand for the reader's own application."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.doc_pages import QUESTION, TEXTS


def langchain_model() -> Any:
    pytest.importorskip("langchain_core")
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import AIMessage
    from langchain_core.outputs import ChatGeneration, ChatResult

    class Scripted(BaseChatModel):
        """Searches once where it has a tool for it, then answers; grades where it is asked for a grade."""

        with_tools: bool = False

        @property
        def _llm_type(self) -> str:
            return "scripted"

        def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
            return self.model_copy(update={"with_tools": bool(tools)})

        def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
            call = {"name": "search_docs", "args": {"query": "guests"}, "id": "1", "type": "tool_call"}
            if self.with_tools and messages[-1].type != "tool":
                reply = AIMessage("", tool_calls=[call])
            else:
                reply = AIMessage("Grade: 4" if "rade" in str(messages[-1].content) else "It is 6.")
            return ChatResult(generations=[ChatGeneration(message=reply)])

    return Scripted()


def llama_index_model() -> Any:
    pytest.importorskip("llama_index.core")
    from llama_index.core.base.llms.types import ChatMessage, ToolCallBlock
    from llama_index.core.llms.mock import MockFunctionCallingLLM

    def reply(messages: Any, tools: Any = None, **kwargs: Any) -> ChatMessage:
        if tools and messages[-1].role != "tool":
            call = ToolCallBlock(tool_name="search_docs", tool_kwargs={"input": "guests"}, tool_call_id="1")
            return ChatMessage(role="assistant", blocks=[call])
        return ChatMessage(role="assistant", content="Grade: 4" if "rade" in str(messages[-1].content) else "It is 6.")

    return MockFunctionCallingLLM(response_generator=reply, is_chat_model=True)


def _langchain_chain() -> Any:
    from langchain_core.runnables import RunnableLambda
    from langchain_rader import RaderRetriever

    return RaderRetriever(index="my-index", k=2) | RunnableLambda(lambda found: f"{len(found)} texts")


def _llama_index() -> Any:
    from llama_index.core import MockEmbedding, VectorStoreIndex
    from llama_index.core.schema import TextNode

    nodes = [TextNode(id_=id, text=text) for id, text in TEXTS.items()]
    return VectorStoreIndex(nodes, embed_model=MockEmbedding(embed_dim=4))


def _readme() -> dict[str, Any]:
    from llama_index.core.schema import TextNode

    return {"nodes": [TextNode(text=text) for text in TEXTS.values()], "chain": _langchain_chain()}


def _evaluation() -> dict[str, Any]:
    from langchain_core.documents import Document
    from langchain_core.embeddings import DeterministicFakeEmbedding
    from langchain_core.prompts import ChatPromptTemplate
    from langchain_core.runnables import RunnablePassthrough
    from langchain_core.vectorstores import InMemoryVectorStore

    from rader_plugins import RaderIndex, RaderRetriever

    core = RaderRetriever(RaderIndex.open("index"))
    vector_store = InMemoryVectorStore(DeterministicFakeEmbedding(size=4))
    vector_store.add_documents([Document(text, id=id, metadata={"source_id": id}) for id, text in TEXTS.items()])
    return {
        "search": lambda queries, k=10: [[(hit.document.id, hit.score) for hit in core.search(q, k)] for q in queries],
        "my_search": lambda query, k: [(hit.document, hit.score) for hit in core.search(query, k)],
        "vector_store": vector_store,
        "retriever": vector_store.as_retriever(),
        "prompt": ChatPromptTemplate.from_template("{context}\n{question}"),
        "llm": langchain_model(),
        "llama_index": _llama_index(),
        "RunnablePassthrough": RunnablePassthrough,
    }


def _generators() -> dict[str, Any]:
    from rader_plugins.llm import OpenAIChat

    return {"OpenAIChat": OpenAIChat}


def _models() -> dict[str, Any]:
    from tests.support.encoders import HashEncoder

    return {"encoder": HashEncoder()}


def _reasoning() -> dict[str, Any]:
    import langchain_rader
    import llama_index.retrievers.rader
    from langchain_rader import LangChainChat
    from llama_index.retrievers.rader.chat import LlamaIndexChat

    from rader_plugins import RaderIndex, RaderRetriever

    index = RaderIndex.open("my-index")
    return {
        "index": index, "RaderRetriever": RaderRetriever, "retriever": RaderRetriever(index),
        "langchain_rader": langchain_rader, "llama_index": llama_index,
        "LangChainChat": lambda llm: LangChainChat(langchain_model()),
        "LlamaIndexChat": lambda llm: LlamaIndexChat(llama_index_model()),
    }  # fmt: skip


def _recording() -> dict[str, Any]:
    from llama_index.core.query_engine import RetrieverQueryEngine
    from llama_index.retrievers.rader import RaderRetriever

    retriever = RaderRetriever("my-index", similarity_top_k=2)
    llm = llama_index_model()
    return {
        "question": QUESTION, "chain": _langchain_chain(), "retriever": retriever, "llm": llm,
        "query_engine": RetrieverQueryEngine.from_args(retriever, llm=llm), "EMAIL": re.compile(r"\S+@\S+"),
    }  # fmt: skip


def _reranking() -> dict[str, Any]:
    from langchain_core.documents import Document

    documents = [Document(text, id=id) for id, text in TEXTS.items()]
    return {"documents": documents, "index": _llama_index(), "llm": langchain_model()}


NAMES: dict[str, Callable[[], dict[str, Any]]] = {
    "README.md": _readme,
    "docs/evaluation.md": _evaluation,
    "docs/generators.md": _generators,
    "docs/langchain.md": lambda: {"llm": langchain_model()},
    "docs/llama-index.md": lambda: {"llm": llama_index_model()},
    "docs/models.md": _models,
    "docs/reasoning.md": _reasoning,
    "docs/recording.md": _recording,
    "docs/reranking.md": _reranking,
    "docs/retrieval.md": lambda: {"datetime": datetime},
}
"""Page -> what its blocks find defined."""

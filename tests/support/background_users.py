"""What of the library works in the background, each as a program's part: for the test of fork and of Ctrl-C over all.

Each function makes something, given the address of a server of both kinds, and returns a call that needs its threads,
connections or locks. Whoever adds a user of :mod:`rader_plugins.background` adds a function here.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

from rader_plugins import Document, Hit

Use = Callable[[], Any]
HELLO: Any = [{"role": "user", "content": "hello"}]


def chat_client(url: str) -> Use:
    from rader_plugins.llm import OpenAIChat

    llm = OpenAIChat(url, "m", timeout=300, max_retries=0)
    return lambda: llm.chat(HELLO)


def chat_client_in_a_loop(url: str) -> Use:
    from rader_plugins.llm import OpenAIChat

    llm = OpenAIChat(url, "m", timeout=300, max_retries=0)
    return lambda: asyncio.run(llm.achat(HELLO))


def several_answers(url: str) -> Use:
    from rader_plugins.llm import OpenAIChat

    llm = OpenAIChat(url, "m", timeout=300, max_retries=0, max_n=1)
    return lambda: llm.chat(HELLO, n=4)


def cached_chat(url: str) -> Use:
    import tempfile

    from rader_plugins.llm import Budget, BudgetedLLM, CachedChat, OpenAIChat

    folder = tempfile.mkdtemp()
    llm = CachedChat(BudgetedLLM(OpenAIChat(url, "m", timeout=300, max_retries=0), Budget(calls=10**9)), f"{folder}/c")
    seeds = itertools.count()
    return lambda: asyncio.run(llm.achat(HELLO, seed=next(seeds)))


def grader(url: str) -> Use:
    from rader_plugins.llm import OpenAIChat
    from rader_plugins.reranking import LLMReranker

    reranker = LLMReranker(OpenAIChat(url, "m", timeout=300, max_retries=0))
    return lambda: reranker.rerank("q", [Hit(Document("a", "text"), 1.0, 1), Hit(Document("b", "other"), 0.5, 2)])


def reasoning(url: str) -> Use:
    from rader_plugins.llm import OpenAIChat
    from rader_plugins.retrieval import ReasoningQuery

    query = ReasoningQuery(OpenAIChat(url, "m", timeout=300, max_retries=0))
    return lambda: query.expand(["one", "two"])


def served_encoder(url: str) -> Use:
    from rader_plugins import load_encoder

    encoder = load_encoder(url, recipe="plain", model="m", timeout=300, max_retries=0, batch_size=1)
    return lambda: encoder.encode_documents(["a", "b", "c"])


def served_encoder_in_a_loop(url: str) -> Use:
    from rader_plugins import load_encoder

    encoder = load_encoder(url, recipe="plain", model="m", timeout=300, max_retries=0)
    return lambda: asyncio.run(encoder.aencode_queries(["a", "b", "c"]))


def index_and_search(url: str) -> Use:
    import tempfile

    from rader_plugins import RaderIndex, RaderRetriever, load_encoder

    encoder = load_encoder(url, recipe="plain", model="m", timeout=300, max_retries=0)
    index = RaderIndex.create(f"{tempfile.mkdtemp()}/index", encoder=encoder)
    retriever = RaderRetriever(index)

    def use() -> Any:
        index.add([Document(f"{number}", f"text {number}") for number in range(5)])
        return retriever.search("text 3", 2)

    return use


WAITING: dict[str, Callable[[str], Use]] = {
    make.__name__: make
    for make in (
        chat_client,
        chat_client_in_a_loop,
        several_answers,
        cached_chat,
        grader,
        reasoning,
        served_encoder,
        served_encoder_in_a_loop,
        index_and_search,
    )
}
"""Name -> what makes a user that waits for a server."""


def local_encoder(url: str) -> Use:
    from rader_plugins import load_encoder

    encoder = load_encoder("mini", show_progress=False)
    return lambda: (encoder.encode_queries(["a question"]), encoder.encode_documents(["a text " * 50, "b"]))


def local_encoder_in_a_loop(url: str) -> Use:
    from rader_plugins import load_encoder

    encoder = load_encoder("mini", show_progress=False)
    return lambda: asyncio.run(encoder.aencode_documents(["a text " * 50, "b"]))


COMPUTING: dict[str, Callable[[str], Use]] = {make.__name__: make for make in (local_encoder, local_encoder_in_a_loop)}
"""Name -> what makes a user that computes."""

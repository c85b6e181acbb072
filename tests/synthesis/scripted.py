"""A language model that says what a script says, over HTTP, and a retriever that finds what a script finds."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

from rader_synthesis.packs import load_pack
from rader_synthesis.search import derived_seed

from rader_plugins import Document, Hit
from rader_plugins.llm import OpenAIChat
from tests.support.llm_server import LLMServer

DEFAULTS = {
    "step": "A thought.",
    "complete": "So the answer is \\boxed{7}.",
    "query": "a theorem",
    "reflect": "It helps.\nRelevant: True",
    "summarise": "In plain language.",
}
SYSTEMS = {prompt.system: action for action, prompt in load_pack("math").prompts.items()}


def action_of(body: Mapping[str, Any]) -> str:
    """Which action a chat request is for."""
    return SYSTEMS[body["messages"][0]["content"]]


def asked(body: Mapping[str, Any]) -> str:
    """The question of a chat request, without the examples."""
    return body["messages"][-1]["content"]


class Script:
    """Says the texts of a table.

    The seed of a request tells which node it is for: the client asks for each of several completions with a seed of
    its own, one after the other from the first.

    Args:
        table: Action -> place of the node (``"0.1"``; with reflections ``"0.1/2"``: of the third document) -> texts.
        problem: Id.
        seed: Of the search.
        **defaults: Per action, what is said elsewhere, in place of :data:`DEFAULTS`.
    """

    def __init__(
        self,
        table: Mapping[str, Mapping[str, Sequence[str] | str]],
        problem: str = "p",
        seed: int = 0,
        **defaults: str,
    ) -> None:
        self.said: dict[tuple[str, int], str] = {}
        self.defaults = {**DEFAULTS, **defaults}
        for action, texts_by_node in table.items():
            for key, texts in texts_by_node.items():
                node, _, number = key.partition("/")
                where = [problem, node, int(number)] if number else [problem, node]
                first = derived_seed(seed, action, *where)
                for index, text in enumerate([texts] if isinstance(texts, str) else texts):
                    self.said[action, first + index] = text

    def __call__(self, body: Mapping[str, Any]) -> str:
        action = action_of(body)
        return self.said.get((action, body["seed"]), self.defaults[action])


def server(answer: Any, **options: Any) -> LLMServer:
    """A scripted server that gives one completion per request, as llama.cpp does."""
    return LLMServer(answer, most_choices=1, **options)


def client(llm: LLMServer, **options: Any) -> OpenAIChat:
    return OpenAIChat(llm.url, "served", **{"backoff": 0.01, "concurrency": 8, **options})


class Library:
    """A retriever: query -> ids, best first; what it does not know gets ``otherwise``. Notes every batch."""

    fingerprint = "library"

    def __init__(self, table: Mapping[str, Sequence[str]] | None = None, otherwise: Sequence[str] = ()) -> None:
        self.table = dict(table or {})
        self.otherwise = otherwise
        self.batches: list[list[str]] = []

    async def asearch_batch(self, queries: Sequence[str], k: int = 10) -> list[list[Hit]]:
        self.batches.append(list(queries))
        return [self._hits(query)[:k] for query in queries]

    def _hits(self, query: str) -> list[Hit]:
        ids = self.table.get(query, self.otherwise)
        return [Hit(Document(id, f"Text of {id}."), 1 - index / 10, index + 1) for index, id in enumerate(ids)]


def documents_in(text: str) -> list[str]:
    """The ids of the documents of :class:`Library` that a text holds."""
    return re.findall(r"Text of (\w+)\.", text)


def chance(body: Mapping[str, Any]) -> str:
    """A model that says this or that, by the seed of the request and by nothing else."""
    dice = random.Random(body["seed"])
    number = dice.randrange(1000)
    return {
        "step": f"Thought {number}." if number % 10 else f"The answer is \\boxed{{{number % 2 + 7}}}.",
        "complete": f"So {number}. The answer is \\boxed{{{8 if number % 3 else 7}}}." if number % 7 else "Hm.",
        "query": f"query {number}",
        "reflect": f"Reason {number}.\nRelevant: {number % 2 == 0}" if number % 11 else "Who knows?",
        "summarise": f"Summary {number}.",
    }[action_of(body)]


class Shelf(Library):
    """A retriever that finds something different for every query."""

    def _hits(self, query: str) -> list[Hit]:
        ids = [f"d{number}" for number in random.Random(query).sample(range(50), 5)]
        return [Hit(Document(id, f"Text of {id}."), 1 - index / 10, index + 1) for index, id in enumerate(ids)]

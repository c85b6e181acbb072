"""The calls of one problem: prompts are rendered, seeds derived, answers cleaned and counted."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, TypeVar, cast

from rader_plugins.llm import Completion, Generator
from rader_plugins.llm.base import without_thoughts
from rader_plugins.llm.chat_answers import is_empty
from rader_synthesis.config import SearchConfig
from rader_synthesis.packs import Action, ActionPrompt, PromptPack
from rader_synthesis.search import derived_seed
from rader_synthesis.tree import Tree

__all__ = ["Calls", "Summaries", "said", "together"]

T = TypeVar("T")


async def together(*work: Coroutine[Any, Any, T]) -> list[T]:
    """Run coroutines at once, wait for all of them and return their results in order.

    Raises:
        Exception: What the first of them that failed raised, in their order and not in that of time.
    """
    results = await asyncio.gather(*work, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return cast("list[T]", results)


class Calls:
    """Asks a language model for the actions of a search.

    Args:
        llm: The language model that is asked.
        pack: The prompts of every action.
        config: Sampling, style and seed.
        tree: Gets the counts: ``<action>_calls``, ``answers``, and of these ``cut_answers`` (at the most tokens),
            ``empty_answers`` and ``refusals``. None counts nothing.
    """

    def __init__(self, llm: Generator, pack: PromptPack, config: SearchConfig, tree: Tree | None) -> None:
        self.pack = pack
        self._llm = llm
        self._config = config
        self._tree = tree

    async def ask(self, action: Action, values: Mapping[str, str], where: Sequence[object], *, n: int = 1) -> list[str]:
        """Return ``n`` answers, cleaned; one that says nothing is empty.

        Args:
            action: The action whose prompt is sent.
            values: What stands in its places.
            where: What tells this call from the others of the same action: the seed follows from it.
            n: How many answers to ask for.
        """
        prompt = self.pack.prompts[action]
        if self._tree is not None:
            self._tree.count(f"{action}_calls")
        completions = await self._complete(prompt, values, n, derived_seed(self._config.seed, action, *where))
        if self._tree is not None:
            self._tree.count("answers", len(completions))
            self._tree.count("cut_answers", sum(completion.finish_reason == "length" for completion in completions))
            self._tree.count("refusals", sum(completion.refusal for completion in completions))
            self._tree.count("empty_answers", sum(is_empty(completion) for completion in completions))
        return [prompt.clean(said(completion), values) for completion in completions]

    async def _complete(self, prompt: ActionPrompt, values: Mapping[str, str], n: int, seed: int) -> list[Completion]:
        config, stop = self._config, list(prompt.stop)
        temperature = config.temperature if prompt.temperature is None else prompt.temperature
        options: dict[str, Any] = {
            "n": n,
            "temperature": temperature,
            "top_p": config.top_p,
            "top_k": config.top_k or None,
            "max_tokens": prompt.max_tokens,
            "seed": seed,
        }
        if config.style == "chat":
            return await self._llm.achat(prompt.messages(values), stop=stop or None, **options)
        if prompt.next_example is not None:
            stop.append(prompt.next_example)
        return await self._llm.acomplete(prompt.text(values), stop=stop or None, **options)


class Summaries:
    """Documents in plain language. Each is written once per run, however many problems keep it.

    Args:
        calls: Asks the model; without a tree, since it is chance which problem is the first to keep a document.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._known: dict[str, str] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def of(self, id: str, shown: str) -> str:
        """Return the summary of a document; where the model writes none, the document itself.

        Args:
            id: Id of the document.
            shown: Text of the document, as prompts show it.
        """
        if id not in self._known:
            async with self._locks.setdefault(id, asyncio.Lock()):
                if id not in self._known:
                    (summary,) = await self._calls.ask("summarise", {"document": shown}, [id])
                    self._known[id] = summary or shown
            self._locks.pop(id, None)
        return self._known[id]


def said(completion: Completion) -> str:
    """Return what a model said, without what it thought; nothing if it refused, or never came to an end of thinking."""
    text = "" if completion.refusal else without_thoughts(completion.text) or ""
    # Half a character that a server sent can be neither written to a file nor sent back to it.
    return text.encode("utf-8", "replace").decode("utf-8")

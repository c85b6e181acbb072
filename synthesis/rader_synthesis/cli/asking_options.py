"""How the commands of a long run ask their language model: how fast, how often, how much."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

from rader_plugins.cli.llm_choice import LLMChoice

if TYPE_CHECKING:
    from rader_plugins.llm import BudgetedLLM, OpenAIChat

__all__ = ["DEFAULT_ASKING", "AskingOptions", "Style"]


class Style(str, Enum):
    """How prompts are sent."""

    chat = "chat"
    completion = "completion"


@dataclass(frozen=True)
class AskingOptions:
    """Requests at once, attempts and budget."""

    concurrency: Annotated[
        int,
        typer.Option("--concurrency", min=1, help="Requests to the language model at once: its slots.", metavar="N"),
    ] = 8
    retries: Annotated[int, typer.Option("--retries", min=0, help="Attempts after the first.", metavar="N")] = 3
    budget_calls: Annotated[
        int | None,
        typer.Option(
            "--budget-calls", min=1, help="Stop after so many calls; those from the cache are free.", metavar="N"
        ),
    ] = None
    budget_tokens: Annotated[
        int | None,
        typer.Option("--budget-tokens", min=1, help="Stop after so many tokens, read and written.", metavar="N"),
    ] = None
    budget_minutes: Annotated[
        float | None, typer.Option("--budget-minutes", min=0.0, help="Stop after so many minutes.", metavar="X")
    ] = None

    @contextlib.contextmanager
    def connected(self, llm: LLMChoice) -> Iterator[tuple[OpenAIChat, BudgetedLLM]]:
        """Give the server, which counts, and what asks it within the budget."""
        from rader_plugins.llm import Budget, BudgetedLLM

        with llm.connect(concurrency=self.concurrency, max_retries=self.retries) as server:
            budget = Budget(calls=self.budget_calls, tokens=self.budget_tokens, minutes=self.budget_minutes)
            yield server, BudgetedLLM(server, budget)


DEFAULT_ASKING = AskingOptions()

"""`BudgetedLLM`: a language model that is asked no more than a budget allows."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from rader_plugins.arguments import check_number
from rader_plugins.background import Lock
from rader_plugins.errors import InputError, RaderError
from rader_plugins.llm.base import ChatModel, Completion, Usage
from rader_plugins.llm.generator import Request, WrappedLLM, usage_of

__all__ = ["Budget", "BudgetExceededError", "BudgetedLLM", "Spent"]


@dataclass(frozen=True)
class Budget:
    """Limits of a run; None is no limit.

    Args:
        calls: Calls of ``chat`` and ``complete``, however many answers each asks for.
        tokens: Tokens read and written, as the server counts them.
        minutes: Limit of time in minutes, from the first call on.

    Raises:
        InputError: A limit is negative.
    """

    calls: int | None = None
    tokens: int | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        for name in ("calls", "tokens", "minutes"):
            value = getattr(self, name)
            if value is not None:
                check_number(value, f"The budget's {name}", 0)


@dataclass(frozen=True)
class Spent:
    """What was used of a budget.

    Args:
        calls: Begun, those that failed included.
        prompt_tokens, completion_tokens: Tokens that the answers took, as the server counts them.
        minutes: Since the first call.
    """

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    minutes: float = 0.0

    @property
    def tokens(self) -> int:
        """Tokens read and written."""
        return self.prompt_tokens + self.completion_tokens


class BudgetExceededError(RaderError):
    """The budget is used up; nothing was sent. No :class:`~rader_plugins.errors.LLMError`: the model did not fail.

    Args:
        message: What was used up and what to do.
        spent: What was used of the budget.
    """

    def __init__(self, message: str, spent: Spent) -> None:
        super().__init__(message)
        self.spent = spent


class BudgetedLLM(WrappedLLM):
    """A model that refuses to begin another call once a budget is used up. Safe to use from several threads.

    The number of calls is kept exactly. Tokens are known when an answer is there: calls that were under way when the
    limit was passed, at most as many as there are callers, are finished and counted.

    Put a cache outside, so that what it answers costs nothing: ``CachedChat(BudgetedLLM(llm, budget), path)``.

    Args:
        llm: The model that is called.
        budget: The limits of all calls together.
        spent: What earlier runs used of the same budget.
        clock: Function that returns seconds, for tests.

    Raises:
        InputError: The budget limits tokens and the model does not count them.

    Example:
        >>> from rader_plugins.llm import OpenAIChat
        >>> llm = BudgetedLLM(OpenAIChat("http://localhost:8000", "m"), Budget(calls=0))
        >>> llm.complete("1 + 1 =")
        Traceback (most recent call last):
        ...
        rader_plugins.llm.budget.BudgetExceededError: The budget of 0 calls is used up. Raise it to go on.
    """

    def __init__(
        self,
        llm: ChatModel,
        budget: Budget,
        *,
        spent: Spent | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(llm)
        usage = usage_of(llm)
        if budget.tokens is not None and usage is None:
            raise InputError(
                f"{type(llm).__name__} does not count tokens: limit calls or minutes instead, or use OpenAIChat."
            )
        self.budget = budget
        self._earlier = spent or Spent()
        self._before = usage or Usage()
        self._clock = clock
        self._lock = Lock()
        self._calls = 0
        self._began: float | None = None

    @property
    def spent(self) -> Spent:
        """What was used so far, earlier runs included; pass it to the next run to go on with the same budget."""
        with self._lock:
            return self._spent()

    def _spent(self) -> Spent:
        usage, earlier = self.usage, self._earlier
        minutes = 0.0 if self._began is None else (self._clock() - self._began) / 60
        return Spent(
            earlier.calls + self._calls,
            earlier.prompt_tokens + usage.prompt_tokens - self._before.prompt_tokens,
            earlier.completion_tokens + usage.completion_tokens - self._before.completion_tokens,
            earlier.minutes + minutes,
        )

    def _generate(self, request: Request) -> list[Completion]:
        self._begin()
        return super()._generate(request)

    async def _agenerate(self, request: Request) -> list[Completion]:
        self._begin()
        return await super()._agenerate(request)

    def _begin(self) -> None:
        """Count one call, or raise if it would be beyond the budget; both at once, so that no two get the last one."""
        with self._lock:
            spent = self._spent()
            for name in ("calls", "tokens", "minutes"):
                limit = getattr(self.budget, name)
                if limit is not None and getattr(spent, name) >= limit:
                    raise BudgetExceededError(
                        f"The budget of {_shown(limit)} {name} is used up. Raise it to go on.", spent
                    )
            self._calls += 1
            if self._began is None:
                self._began = self._clock()


def _shown(limit: float) -> str:
    return f"{limit:,}" if isinstance(limit, int) else f"{limit:,g}"

"""How a language model samples: the keyword arguments of every call, stated and checked in one place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, TypedDict, cast

from typing_extensions import Self, Unpack

from rader_plugins.arguments import check_number, iterate, shown
from rader_plugins.errors import InputError

__all__ = ["Sampling", "SamplingOptions"]

# More answers than this are no call but a mistake, which would take all memory before a server could refuse it; the
# others are what a field of 64 (seed) or 32 bits holds.
_RANGES = {"n": (1, 4096), "max_tokens": (1, 2**31 - 1), "top_k": (1, 2**31 - 1), "seed": (-(2**63), 2**63 - 1)}


class SamplingOptions(TypedDict, total=False):
    """Keyword arguments of ``chat`` and ``complete``; what is left out has the default of :class:`Sampling`.

    Attributes:
        n: How many answers, at most 4,096; 1.
        temperature: Sampling temperature; 0 (the default) takes the most probable token.
        top_p: Mass of the most probable tokens to sample from; None leaves it to the model.
        top_k: How many of the most probable tokens to sample from; None leaves it to the model.
        max_tokens: Most tokens in an answer; None leaves it to the model (where raw text is continued, some servers
            then write 16, others until the context is full).
        stop: Strings that end an answer; they are not part of it.
        seed: Seed of sampling, where the model takes one.
    """

    n: int
    temperature: float
    top_p: float | None
    top_k: int | None
    max_tokens: int | None
    stop: Sequence[str] | None
    seed: int | None


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """:class:`SamplingOptions`, complete and checked.

    Raises:
        InputError: A value is outside its range.

    Example:
        >>> Sampling.of(n=2, stop=["\\n"]).stop
        ('\\n',)
    """

    n: int = 1
    temperature: float = 0.0
    top_p: float | None = None
    top_k: int | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None

    def __post_init__(self) -> None:
        for name, (least, most) in _RANGES.items():
            value = getattr(self, name)
            if value is None and name != "n":
                continue
            if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
                raise InputError(f"{name} must be a whole number from {least:,} to {most:,}, not {shown(value)}.")
        check_number(self.temperature, "temperature", 0)
        if self.top_p is not None and not (isinstance(self.top_p, (int, float)) and 0 < self.top_p <= 1):
            raise InputError(f"top_p must be above 0 and at most 1, not {shown(self.top_p)}.")
        if isinstance(self.stop, (str, bytes)) or not all(isinstance(string, str) for string in self.stop):
            raise InputError("stop must be a list of strings: ['\\n'].")

    @classmethod
    def of(cls, **options: Unpack[SamplingOptions]) -> Self:
        """Return checked options.

        Raises:
            InputError: A value is outside its range, or there is no such option.
        """
        names = {field.name for field in fields(Sampling)}
        if unknown := sorted(set(options) - names):
            raise InputError(f"Unknown sampling options {unknown}; there are {', '.join(sorted(names))}.")
        values: dict[str, Any] = dict(options)
        stop = values.pop("stop", None)
        if isinstance(temperature := values.get("temperature"), int):
            values["temperature"] = float(check_number(temperature, "temperature", 0))  # a cache keys by it
        if stop is not None and not isinstance(stop, (str, bytes)):
            stop = tuple(iterate(stop, "stop"))
        return cls(**values, stop=stop or ())

    def options(self) -> SamplingOptions:
        """Return the keyword arguments of a call; those that are left to the model are left out."""
        names = ("n", "temperature", "top_p", "top_k", "max_tokens", "seed")
        every = {**{name: getattr(self, name) for name in names}, "stop": list(self.stop) or None}
        return cast(SamplingOptions, {name: value for name, value in every.items() if value is not None})

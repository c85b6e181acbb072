"""`SamplingConfig`: how trajectories become training samples."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from rader_plugins.errors import InputError
from rader_plugins.query_kinds import query_kinds

__all__ = ["Mine", "Positives", "SamplingConfig"]

Positives = Literal["kept", "relevant"]
Mine = Literal["auto", "always", "never"]


@dataclass(frozen=True)
class SamplingConfig:
    """Every parameter of the making of samples. Where RaDeR says something, its value is the default.

    Args:
        kinds: Which queries are made; ``llm`` and ``lexical`` need a language model, ``lexical`` a corpus too.
        min_reward: Least reward of a trajectory whose documents become positives.
        without_reward: Also use trajectories whose answer nobody has judged, with documents that a proof, a citation
            or a human labelled.
        positives: ``kept``: the document that the trajectory went on with, or all relevant ones where it names none.
            ``relevant``: all relevant ones.
        mine: Whether negatives are searched for ``question``, ``cot`` and ``llm`` queries: ``auto`` does so where there
            are fewer than ``enough``, up to that number; ``always`` adds all that are found. For ``lexical`` queries,
            which no reflection has judged documents for, ``auto`` and ``always`` are the same.
        enough: Negatives that a sample should have; RaDeR trains with 11.
        bm25_ranks: First and last rank of BM25's ranking that negatives are drawn from.
        bm25_negatives: How many are drawn.
        dense_negatives: How many of the best by cosine are taken.
        relative_margin: Found negatives must score below this share of their sample's lowest positive (NV-Retriever's
            TopK-PercPos: 0.95); None does not look. Scores are cosines.
        absolute_margin: Found negatives must score at least this much below it; None does not look.
        near_duplicates: Jaccard similarity of their word 3-grams from which two queries count as the same; None removes
            exact repetitions only.
        ngram: Words in a row that a query may not share with a query of an evaluation set.
        dev_share: Share of the problems that becomes the validation split.
        max_overlap: Largest share of an ``llm`` query's words that its document may hold.
        round_trip: A ``lexical`` query is kept if BM25 finds its document among so many.
        attempts: How often the language model is asked for a query that passes.
        seed: Seed of everything random.

    Raises:
        InputError: A value is outside its range.

    Example:
        >>> SamplingConfig(kinds=("question", "cot")).enough
        11
    """

    kinds: tuple[str, ...] = ("question", "cot")
    min_reward: float = 1.0
    without_reward: bool = False
    positives: Positives = "kept"
    mine: Mine = "auto"
    enough: int = 11
    bm25_ranks: tuple[int, int] = (31, 50)
    bm25_negatives: int = 10
    dense_negatives: int = 10
    relative_margin: float | None = None
    absolute_margin: float | None = None
    near_duplicates: float | None = 0.8
    ngram: int = 13
    dev_share: float = 0.05
    max_overlap: float = 0.5
    round_trip: int = 20
    attempts: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        kinds = tuple(kind for kind in query_kinds() if kind in self.kinds)
        if not kinds or set(self.kinds) - set(kinds):
            raise InputError(
                f"kinds holds some of {', '.join(query_kinds())}, not {', '.join(map(str, self.kinds)) or 'none'}."
            )
        object.__setattr__(self, "kinds", kinds)  # in one order, so that equal configurations are equal
        object.__setattr__(self, "bm25_ranks", tuple(self.bm25_ranks))
        for name, choices in (("positives", get_args(Positives)), ("mine", get_args(Mine))):
            if getattr(self, name) not in choices:
                raise InputError(f"{name} is one of {', '.join(choices)}, not {getattr(self, name)!r}.")
        lower_bounds = {
            "enough": 0,
            "bm25_negatives": 0,
            "dense_negatives": 0,
            "ngram": 2,
            "round_trip": 1,
            "attempts": 1,
        }
        for name, bound in {**lower_bounds, "seed": 0}.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < bound:
                raise InputError(f"{name} must be a whole number of at least {bound}, not {value!r}.")
        for name in ("near_duplicates", "relative_margin", "max_overlap", "dev_share"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise InputError(f"{name} must lie between 0 and 1, not {value!r}.")
        if self.near_duplicates == 0 or self.dev_share == 1:
            raise InputError("near_duplicates must be above 0, and dev_share below 1.")
        first, last = self.bm25_ranks if len(self.bm25_ranks) == 2 else (0, 0)
        if not 1 <= first <= last:
            raise InputError(f"bm25_ranks are a first and a last rank, counted from 1, not {self.bm25_ranks!r}.")
        if self.relative_margin is not None and self.absolute_margin is not None:
            raise InputError("Give relative_margin or absolute_margin, not both.")

    @property
    def margin(self) -> bool:
        """Whether found negatives are compared with the positives."""
        return self.relative_margin is not None or self.absolute_margin is not None

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name, as JSON has them."""
        return {field.name: _plain(asdict(self)[field.name]) for field in fields(self)}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value

"""What users, judges and test sets said of an answer, as a reward between 0 and 1."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rader_plugins.errors import InputError

__all__ = ["GOLD_KEYS", "Scale", "ScaleError", "count_ignored", "rating_in", "read_reward", "read_scores", "score_name"]

GOLD_KEYS = (
    "gold_answer",
    "gold",
    "expected_answer",
    "ground_truth",
    "reference",
    "reference_answer",
    "expected_output",
)
_REWARD_KEYS = (
    "reward",
    "correct",
    "is_correct",
    "feedback",
    "user_feedback",
    "thumbs",
    "thumbs_up",
    "thumb",
    "rating",
    "liked",
    "is_helpful",
)
_SCORE_KEYS = ("scores", "score", "feedback_stats", "annotations", "assessments", "evaluations")
_INNER_KEYS = (
    "thumbs",
    "thumb",
    "thumbs_up",
    "rating",
    "score",
    "value",
    "label",
    "sentiment",
    "type",
    "avg",
    "result",
)
_LOOKS_LIKE = re.compile(
    r"feedback|rating|\brat(?:e|ed)\b|scor(?:e|es)\b|thumb|reward|vote|stars?\b|\b(?:dis)?like[sd]?\b|helpful|useful|"
    r"reaction|resolved|accepted|approved|correct|grade|sentiment|annotat|assess|\beval|satisf|csat|nps",
    re.IGNORECASE,
)
_OTHER_QUALITIES = frozenset(
    (
        # the more of it the worse
        "hallucination", "hallucinations", "hallucinated", "toxic", "toxicity", "bias", "harm", "harmful",
        "harmfulness", "profanity", "pii", "leak", "leakage", "refusal", "error", "errors", "risk", "violation",
        "injection", "jailbreak",
        # of the search
        "retrieval", "retriever", "context", "contextual", "recall", "precision", "ndcg", "mrr", "documents", "chunk",
        # measured
        "latency", "cost", "costs", "token", "tokens", "duration", "time", "length", "count", "confidence",
    )
)  # fmt: skip
"""Words in the names of scores that do not say that an answer is right."""
_NAME_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_GOOD = frozenset(
    (
        "up", "thumbs_up", "thumbsup", "thumbs-up", "thumb_up", "positive", "good", "like", "liked", "yes", "correct",
        "right", "true", "pass", "passed", "helpful", "upvote", "accepted", "👍",
    )
)  # fmt: skip
_BAD = frozenset(
    (
        "down", "thumbs_down", "thumbsdown", "thumbs-down", "thumb_down", "negative", "bad", "dislike", "disliked",
        "no", "incorrect", "wrong", "false", "fail", "failed", "unhelpful", "downvote", "rejected", "👎",
    )
)  # fmt: skip
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_SCALE = re.compile(r"^\s*(-?\d+(?:\.\d+)?)\s*(?:-|\.\.|to|:|,)\s*(-?\d+(?:\.\d+)?)\s*$")


class ScaleError(InputError):
    """A rating lies outside the scale: not the fault of a row but of what the import was told of all of them."""


@dataclass(frozen=True)
class Scale:
    """From which number (the worst) to which (the best) ratings go, and which of several named scores count.

    Example:
        >>> Scale.parse("1-5").reward(4, "here")
        0.75
    """

    worst: float = 0.0
    best: float = 1.0
    names: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, text: str) -> Scale:
        """Read ``1-5``; ``5-1`` has the worst at 5.

        Raises:
            InputError: It is not two different numbers.
        """
        match = _SCALE.match(text)
        if match is None or float(match[1]) == float(match[2]):
            raise InputError(f"A scale is two different numbers, the worst and the best, such as 1-5, not {text!r}.")
        return cls(float(match[1]), float(match[2]))

    def reward(self, value: float, where: str) -> float:
        """Return a rating as a reward between 0 and 1.

        Raises:
            ScaleError: It is outside the scale.
        """
        reward = (value - self.worst) / (self.best - self.worst)
        if not 0.0 <= reward <= 1.0:
            worst, best = f"{self.worst:g}", f"{self.best:g}"
            raise ScaleError(
                f"{where} is rated {value:g}, which is not between {worst} and {best}. Rewards go from 0 to 1; say "
                "what scale the ratings have, the worst first: --scale 1-5 (or --scale=-1-1)."
            )
        return reward


def read_reward(
    record: Mapping[str, Any],
    where: str,
    scale: Scale,
    used: set[str] | None = None,
    ignored: Counter[str] | None = None,
) -> float | None:
    """Return the reward that a record holds in the first of its fields that say one.

    These are numbers (on the scale), booleans, words such as ``up`` and ``negative``, and objects of them (``feedback:
    {"thumbs": "up"}``): ``reward``, ``correct``, ``feedback``, ``thumbs``, ``rating`` and others; then lists of named
    scores as Langfuse, LangSmith, Phoenix and MLflow export them (``scores``, ``feedback_stats``, ``annotations``,
    ``assessments``), of which the mean counts.

    Args:
        record: A row, or a part of it.
        where: How to call it in messages.
        scale: Scale of numeric ratings.
        used: Gets the name of the field that was read.
        ignored: Counts named scores that were not read.

    Raises:
        InputError: ``reward`` is no number, or ``correct`` not true or false.
        ScaleError: A number is outside the scale.
    """
    for key in (*_REWARD_KEYS, *_SCORE_KEYS):
        value = record.get(key)
        if value is None:
            continue
        reward = read_scores(value, where, scale, ignored) if key in _SCORE_KEYS else _reward(value, where, scale)
        if reward is None and key == "reward":
            raise InputError(f"{where}: 'reward' must be a number, not {value!r}.")
        if reward is None and key in ("correct", "is_correct"):
            raise InputError(f"{where}: 'correct' must be true or false, not {value!r}.")
        if reward is not None:
            if used is not None:
                used.add(key)
            return reward
    return None


def read_scores(value: Any, where: str, scale: Scale, ignored: Counter[str] | None = None) -> float | None:
    """Return the mean of the scores in a list of objects, in an object of them by name, or of one; None without any.

    Where the scale names scores, only these count; else all but those that are called after something else than the
    answer: what is the worse the more there is of it (``hallucination``), what was found (``context_precision``), what
    was measured (``latency``).
    """
    if isinstance(value, Mapping) and not _INNER_MARKS & value.keys():
        value = [
            {"name": name, **(inner if isinstance(inner, Mapping) else {"value": inner})}
            for name, inner in value.items()
        ]
    entries = value if isinstance(value, list) else [value]
    rewards = []
    for entry in entries:
        name = score_name(entry)
        counts = name in scale.names if scale.names else not _is_other_quality(name)
        reward = _reward(entry, where, scale) if counts else None
        if reward is not None:
            rewards.append(reward)
        elif name and ignored is not None:
            ignored[f"score {name}"] += 1
    return sum(rewards) / len(rewards) if rewards else None


def _is_other_quality(name: str) -> bool:
    return any(word.lower() in _OTHER_QUALITIES for word in _NAME_WORDS.findall(name))


def score_name(entry: Any) -> str:
    """Return what a score is called; empty if it has no name."""
    if not isinstance(entry, Mapping):
        return ""
    inner = entry["annotation"] if isinstance(entry.get("annotation"), Mapping) else entry
    return str(next((inner[key] for key in ("name", "key", "assessment_name") if inner.get(key)), ""))


_INNER_MARKS = frozenset((*_INNER_KEYS, "stringValue", "string_value", "feedback", "annotation"))


def _reward(value: Any, where: str, scale: Scale) -> float | None:
    if isinstance(value, bool):
        return float(value)
    if isinstance(value, int | float):
        return scale.reward(float(value), where) if value == value else None
    if isinstance(value, str):
        word = value.strip().casefold()
        if _NUMBER.fullmatch(word):
            return scale.reward(float(word), where)
        return 1.0 if word in _GOOD else 0.0 if word in _BAD else None
    if isinstance(value, Mapping):
        for inner in ("annotation", "feedback", "result"):
            if isinstance(value.get(inner), Mapping):
                return _reward(value[inner], where, scale)
        data_type = str(value.get("dataType") or value.get("data_type") or "").upper()
        if data_type == "BOOLEAN" and isinstance(value.get("value"), int | float):
            return float(bool(value["value"]))
        if data_type == "CATEGORICAL":
            return _reward(value.get("stringValue") or value.get("string_value"), where, scale)
        if isinstance(value.get("thumbs_down"), bool) and value["thumbs_down"]:
            return 0.0
        if isinstance(value.get("values"), Mapping) and value.get("avg") is None:  # how often each word was given
            rewards = {word: _reward(word, where, scale) for word in value["values"]}
            times = {word: number for word, number in value["values"].items() if rewards[word] is not None}
            total = sum(times.values())
            return sum((rewards[word] or 0.0) * number for word, number in times.items()) / total if total else None
        for key in _INNER_KEYS:
            if (reward := _reward(value.get(key), where, scale)) is not None:
                return reward
        return _reward(value.get("stringValue"), where, scale) if "stringValue" in value else None
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return read_scores(list(value), where, scale)
    return None


def rating_in(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a message, or of its metadata, that rate it; none for most."""
    metadata = message.get("metadata")
    levels = [message, metadata if isinstance(metadata, Mapping) else {}]
    names = (*_REWARD_KEYS, "scores")
    return next(
        (fields for level in levels if (fields := {k: level[k] for k in names if level.get(k) is not None})), {}
    )


def count_ignored(record: Mapping[str, Any], used: Iterable[str], counts: Any) -> None:
    """Count the fields of a record, and of its metadata, that look like feedback and were not used."""
    spent = {*used, *GOLD_KEYS}
    for prefix, fields in (("", record), ("metadata.", record.get("metadata"))):
        if isinstance(fields, Mapping):
            for key, value in fields.items():
                if (
                    key not in spent
                    and value not in (None, "", [], {})
                    and _LOOKS_LIKE.search(str(key).replace("_", " "))
                ):
                    counts[f"{prefix}{key}"] += 1

"""Problems: questions with their right answers, for the evaluation of chains and for synthesis."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from rader_plugins.arguments import check_path
from rader_plugins.documents import check_text, metadata_json
from rader_plugins.errors import InputError
from rader_plugins.files import read_jsonl

__all__ = ["Problem", "read_problems"]

_IDS = ("id", "_id", "problem_id")
_QUESTIONS = ("question", "problem", "text")


@dataclass(frozen=True)
class Problem:
    """A question and its right answer.

    Args:
        id: Unique name in its file.
        question: Text of the question.
        answer: The right answer; None where it is not known.
        choices: Choices of a multiple-choice question: letter -> text; empty otherwise.
        metadata: Any further fields, as a JSON object.
    """

    id: str
    question: str
    answer: str | None = None
    choices: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The question with its choices, one a line."""
        return "\n".join([self.question, *(f"({letter}) {text}" for letter, text in self.choices.items())])


def read_problems(path: str | os.PathLike[str], *, need_answers: bool = True) -> list[Problem]:
    """Read a JSONL file of problems.

    Args:
        path: Rows with ``id``, ``question`` and ``answer`` (a text or a number), perhaps ``choices`` (texts, or letter
            -> text) and ``metadata``. ``_id`` and ``problem_id``, ``problem`` and ``text`` are understood as names of
            the first two. Further fields become metadata.
        need_answers: Whether a row without an answer is an error.

    Raises:
        InputError: There are no rows, a row lacks something, or two have the same id; the message names the row.

    Example:
        >>> problems = read_problems("gsm8k.jsonl")  # doctest: +SKIP
    """
    problems: dict[str, Problem] = {}
    for where, row in _rows(check_path(path, "path")):
        problem = _problem(row, where)
        if problem.id in problems:
            raise InputError(f"{where}: the id {problem.id!r} stands twice. Ids must be unique.")
        if need_answers and problem.answer is None:
            raise InputError(f"{where}: problem {problem.id!r} has no 'answer'. Add it, or leave the problem out.")
        problems[problem.id] = problem
    if not problems:
        raise InputError(f"{os.fspath(path)} holds no problems.")
    return list(problems.values())


def _rows(path: str | os.PathLike[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        for number, row in enumerate(read_jsonl(path), start=1):
            yield f"{os.fspath(path)}, row {number}", row
    except (FileNotFoundError, IsADirectoryError):
        raise InputError(f"There is no file {os.fspath(path)}.") from None


def _problem(row: Mapping[str, Any], where: str) -> Problem:
    id = _first(row, _IDS, where, "id")
    question = check_text(_first(row, _QUESTIONS, where, "question"), f"the question in {where}")
    if not question.strip():
        raise InputError(f"{where}: the question is empty.")
    answer = row.get("answer")
    if answer is not None:
        if isinstance(answer, bool) or not isinstance(answer, str | int | float):
            raise InputError(f"{where}: 'answer' must be a text or a number, not {type(answer).__name__}.")
        answer = check_text(str(answer), f"the answer in {where}").strip() or None
    extra_fields = {
        key: value for key, value in row.items() if key not in (*_IDS, *_QUESTIONS, "answer", "choices", "metadata")
    }
    nested = row.get("metadata")
    if nested is not None and not isinstance(nested, Mapping):
        raise InputError(f"{where}: 'metadata' must be a JSON object, not {type(nested).__name__}.")
    metadata = {**extra_fields, **(nested or {})}
    metadata_json(metadata, where)
    return Problem(str(id), question, answer, _choices(row.get("choices"), where), metadata)


def _first(row: Mapping[str, Any], names: tuple[str, ...], where: str, wanted: str) -> Any:
    for name in names:
        if (value := row.get(name)) is not None and value != "":
            return value
    raise InputError(f"{where} has no {wanted!r}; it has {sorted(row)}.")


def _choices(given: object, where: str) -> dict[str, str]:
    if given is None:
        return {}
    if isinstance(given, list) and len(given) <= 26:
        given = {chr(ord("A") + position): text for position, text in enumerate(given)}
    if not isinstance(given, Mapping):
        raise InputError(f"{where}: 'choices' must be a list of texts, or an object from letters to texts.")
    return {str(letter): check_text(text, f"choice {letter} in {where}") for letter, text in given.items()}

"""What mteb's tasks hold: texts as its own models read them, and the instruction of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from rader_plugins.documents import Document
from rader_plugins.errors import InputError
from rader_plugins.recipes import BRIGHT_INSTRUCTIONS, Recipe

if TYPE_CHECKING:
    from mteb.abstasks.task_metadata import TaskMetadata

__all__ = ["Instruction", "documents_of", "queries_of", "task_instruction"]

Instruction = str | Mapping[str, str] | None
"""One instruction for the queries of every task, or task name -> instruction, or None for the default."""


def task_instruction(task: TaskMetadata, subset: str, recipe: Recipe, chosen: Instruction = None) -> str | None:
    """Return the instruction for the queries of a task; None means the recipe's own.

    Args:
        task: Metadata of the mteb task.
        subset: Name of the task's subset.
        recipe: Recipe of the model that reads the queries.
        chosen: What the user wants. By default tasks of BRIGHT get the instruction that RaDeR was evaluated with, if
            the recipe takes one.
    """
    if isinstance(chosen, str):
        return chosen
    if chosen is not None and task.name in chosen:
        return chosen[task.name]
    split = _bright_split(task.name, subset)
    return BRIGHT_INSTRUCTIONS[split] if split is not None and recipe.takes_instruction else None


def documents_of(rows: Iterable[Mapping[str, Any]]) -> dict[str, Document]:
    """Return the documents of a corpus: title and text, as mteb joins them.

    Raises:
        InputError: A document has no text (an image, say).
    """
    documents = {}
    for row in rows:
        title, text = row.get("title") or "", row.get("text")
        if not isinstance(text, str):
            raise InputError(f"Document {row['id']!r} is no text: RaDeR retrieves text alone.")
        joined = f"{title} {text}".strip()
        documents[row["id"]] = Document(row["id"], joined, {"title": title} if title else {})
    return documents


def queries_of(rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return the queries as mteb's models read them: with their instruction, conversations in one string.

    Raises:
        InputError: A query has no text.
    """
    return {row["id"]: _query(row) for row in rows}


def _query(row: Mapping[str, Any]) -> str:
    text, instruction = row.get("text"), row.get("instruction")
    if isinstance(text, list):
        turns = [turn if isinstance(turn, str) else f"{turn['role']}: {turn['content']}" for turn in text]
        return " ".join([*([instruction] if instruction is not None else []), "; ".join(turns)])
    if not isinstance(text, str):
        raise InputError(f"Query {row['id']!r} is no text: RaDeR retrieves text alone.")
    return text if instruction is None else f"{text} {instruction}"


def _bright_split(task: str, subset: str) -> str | None:
    if not task.startswith("Bright"):
        return None
    if subset in BRIGHT_INSTRUCTIONS:
        return subset
    domain = task.removeprefix("Bright").removeprefix("Pro").removesuffix("Retrieval").removesuffix("Long").lower()
    return next((split for split in BRIGHT_INSTRUCTIONS if split.replace("_", "") == domain), None)

"""What a user may ask of an importer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rader_plugins.recording import Redact
from rader_synthesis.importing.corpus import Corpus
from rader_synthesis.importing.feedback import Scale
from rader_synthesis.importing.prompts import PromptDocuments
from rader_synthesis.importing.turn import FollowUps

__all__ = ["ImportOptions"]


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """What a user may ask of an importer; each says in ``takes`` which of these it has a use for.

    Args:
        corpus: Gives retrieved documents their ids and texts.
        keep_all: Also keep trajectories without a retrieval; no training sample can come from these.
        skip_faulty: Count rows that cannot be used, instead of ending at the first.
        redact: Applied to every text of a trajectory; ids stay.
        scale: Scale of the ratings.
        tools: Names of the search tools.
        follow_ups: What becomes of questions after the first of a conversation.
        prompts: Finds documents in prompts.
        searcher: Searches for the steps of solutions.
        k: How many matches of a step.
        group_by: Rows with the same value of this field belong together.
        function: Takes a row and returns a trajectory, several or None.
    """

    corpus: Corpus | None = None
    keep_all: bool = False
    skip_faulty: bool = False
    redact: Redact | None = None
    scale: Scale = field(default_factory=Scale)
    tools: Sequence[str] | None = None
    follow_ups: FollowUps = "carry"
    prompts: PromptDocuments = field(default_factory=PromptDocuments)
    searcher: Any = None
    k: int = 5
    group_by: str | None = None
    function: Callable[[Any], Any] | None = None

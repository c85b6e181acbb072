"""What a reader of data sets returns: the arguments of :class:`RetrievalDataset`, before they are checked together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from rader_plugins.documents import Document
from rader_plugins.evaluation.rankings import Aspects, Excluded, Qrels

__all__ = ["Contents"]


class Contents(NamedTuple):
    """The parts of a data set; see :class:`rader_plugins.evaluation.RetrievalDataset`."""

    corpus: Mapping[str, Document]
    queries: Mapping[str, str]
    qrels: Qrels
    name: str
    split: str
    excluded: Excluded = {}
    originals: Mapping[str, str] = {}
    aspects: Aspects = {}

    def arguments(self) -> dict[str, Any]:
        """Return them by name."""
        return self._asdict()

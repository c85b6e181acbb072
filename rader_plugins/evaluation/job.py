"""What one evaluation is to do, and the manifest that says so."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from rader_plugins.errors import InputError
from rader_plugins.evaluation.datasets.dataset import RetrievalDataset
from rader_plugins.evaluation.datasets.identical_ids import IdenticalIds
from rader_plugins.evaluation.measures import Measure
from rader_plugins.evaluation.systems import System, versions
from rader_plugins.files import canonical_json, fingerprint

__all__ = ["Job"]


@dataclass(frozen=True)
class Job:
    """A retriever, a data set and how the one is to be judged on the other."""

    system: System
    dataset: RetrievalDataset
    measures: tuple[Measure, ...]
    depth: int
    batch_size: int
    collapse_chunks: bool
    max_failures: float
    name: str
    identical: IdenticalIds

    def manifest(self) -> dict[str, Any]:
        """Return everything that decides the results. Measures are not part of it: they can be added later."""
        dataset = self.dataset
        manifest: dict[str, Any] = {
            "dataset": {
                "name": dataset.name,
                "split": dataset.split,
                "digest": dataset.digest,
                "judgements_digest": dataset.judgements_digest,
                "documents": len(dataset.corpus),
                "queries": len(dataset.judged),
            },
            "retriever": dict(self.system.about),
            "depth": self.depth,
            "batch_size": self.batch_size,
            "chunks": "collapsed to their document, best score" if self.collapse_chunks else "kept",
            "ties": "in the order of the retriever",
            "versions": versions(),
        }
        if self.identical.left_out:
            manifest["identical_ids"] = f"the document is left out for {len(self.identical.left_out)} queries"
        try:
            return {**json.loads(canonical_json(manifest)), "fingerprint": fingerprint(manifest)}
        except (TypeError, ValueError) as error:
            raise InputError(f"What describe() of the retriever returned is not a JSON object: {error}.") from None

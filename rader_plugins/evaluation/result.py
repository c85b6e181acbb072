"""`Evaluation`: the outcome of one evaluation, and the folder that keeps it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rader_plugins.errors import InputError, RaderError
from rader_plugins.evaluation.rankings import Qrels, Run
from rader_plugins.evaluation.remarks import dataset_title, facts
from rader_plugins.evaluation.trec_files import unfit_id, write_separated
from rader_plugins.files import read_jsonl, write_json, write_jsonl

__all__ = ["Evaluation"]

_SCHEMA = "rader-evaluation/1"
_SUMMARY, _QUERIES, _RUN, _DOCUMENTS = "evaluation.json", "queries.jsonl", "run.trec", "documents.jsonl"


@dataclass(frozen=True, repr=False)
class Evaluation:
    """What :func:`rader_plugins.evaluation.evaluate` found.

    Attributes:
        mean: Measure -> mean over the judged queries, 0 to 1.
        per_query: Query -> measure -> value.
        run: Query -> document -> score, best first, scores falling strictly.
        texts: Query -> the text that was searched for.
        seconds: Query -> duration of the call that answered it (shared by the queries of a batch).
        latency: ``mean``, ``p50``, ``p95``, ``p99`` and ``max`` of those calls in milliseconds, ``queries_per_second``,
            and ``batch_size``.
        left_out: What was not counted or counts as 0: see docs/evaluation.md.
        manifest: Everything that made the figures, with its ``fingerprint``; a JSON object.
        name: What to call it in comparisons.
        judgements: Query -> document -> relevance; empty in what an earlier version saved.
        documents: Texts of the relevant documents and of the ten best of every query, for reports; long ones are cut.
    """

    mean: Mapping[str, float]
    per_query: Mapping[str, Mapping[str, float]]
    run: Run
    texts: Mapping[str, str]
    seconds: Mapping[str, float]
    latency: Mapping[str, float]
    left_out: Mapping[str, Any]
    manifest: Mapping[str, Any]
    name: str = field(default="run")
    judgements: Qrels = field(default_factory=dict)
    documents: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Say in a few lines what was evaluated and what came out; figures x 100."""
        pairs = facts(self.mean, self.latency, self.left_out, self.manifest)
        margin = max(len(name) for name, _ in pairs) + 2
        return "\n".join([f"Evaluation {self.name!r} (figures x 100)", *(n.ljust(margin) + text for n, text in pairs)])

    @property
    def title(self) -> str:
        """Data set and split."""
        return dataset_title(self.manifest)

    def summary(self) -> dict[str, Any]:
        """Return everything but the per-query figures as a JSON object."""
        return {
            "schema": _SCHEMA,
            "name": self.name,
            "mean": dict(self.mean),
            "latency": dict(self.latency),
            "left_out": dict(self.left_out),
            "manifest": dict(self.manifest),
        }

    def save(self, out: str | os.PathLike[str]) -> None:
        """Write ``evaluation.json``, ``queries.jsonl`` (per query: text, measures, seconds, ranking, judgements),
        ``documents.jsonl`` (texts for reports) and ``run.trec``.

        The TREC file is left out where an id holds white space, which it cannot express.
        """
        folder = Path(out)
        folder.mkdir(parents=True, exist_ok=True)
        write_jsonl(
            folder / _QUERIES,
            (
                {
                    "query": query,
                    "text": self.texts.get(query, ""),
                    "measures": dict(figures),
                    "seconds": self.seconds.get(query),
                    "ranking": list(self.run.get(query, {}).items()),
                    "judged": dict(self.judgements.get(query, {})),
                }
                for query, figures in self.per_query.items()
            ),
        )
        write_jsonl(folder / _DOCUMENTS, ({"_id": id, "text": text} for id, text in self.documents.items()))
        if unfit_id(self.run) is None:
            write_separated(self.run, folder / _RUN)
        # Last: a folder with this file is complete.
        write_json(folder / _SUMMARY, self.summary())

    @staticmethod
    def is_in(folder: str | os.PathLike[str]) -> bool:
        """Whether a folder holds a finished evaluation."""
        return (Path(folder) / _SUMMARY).is_file()

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Evaluation:
        """Read what :meth:`save` wrote.

        Raises:
            InputError: The folder holds no finished evaluation.
            RaderError: A newer version of the library wrote it, or it is damaged.
        """
        home = Path(folder)
        if not cls.is_in(home):
            raise InputError(
                f"{home} holds no finished evaluation (no {_SUMMARY}). `rader evaluate ... --out {home}` makes one."
            )
        try:
            summary = json.loads((home / _SUMMARY).read_text(encoding="utf-8"))
            if summary["schema"] != _SCHEMA:
                raise RaderError(
                    f"{home} was written in the format {summary['schema']!r}; this version reads {_SCHEMA!r}."
                )
            rows = list(read_jsonl(home / _QUERIES))
            return cls(
                mean=summary["mean"],
                per_query={row["query"]: row["measures"] for row in rows},
                run={row["query"]: dict(row["ranking"]) for row in rows if row["ranking"]},
                texts={row["query"]: row["text"] for row in rows},
                seconds={row["query"]: row["seconds"] for row in rows if row["seconds"] is not None},
                latency=summary["latency"],
                left_out=summary["left_out"],
                manifest=summary["manifest"],
                name=summary["name"],
                judgements={row["query"]: row["judged"] for row in rows if "judged" in row},
                documents={row["_id"]: row["text"] for row in _rows_if_any(home / _DOCUMENTS)},
            )
        except (KeyError, TypeError, ValueError, OSError) as error:
            raise RaderError(f"The evaluation in {home} is damaged ({error!r}). Make it again.") from error


def _rows_if_any(path: Path) -> Iterator[dict[str, Any]]:
    return read_jsonl(path) if path.is_file() else iter(())

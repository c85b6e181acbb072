"""The first pass: trajectories are read once, and what samples need of them goes to the spool."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rader_plugins.errors import InputError
from rader_plugins.files import canonical_json
from rader_plugins.index import RaderIndex
from rader_plugins.text_matching import digest
from rader_plugins.trajectories import Trajectory, read_trajectories
from rader_synthesis.importing.base import title_and_text
from rader_synthesis.sampling.config import SamplingConfig
from rader_synthesis.sampling.drafts import drafts, partial_solution, refusal, relevant_ids, searches
from rader_synthesis.sampling.requests import QueryRequest
from rader_synthesis.sampling.spool import Spool
from rader_synthesis.sampling.statistics import Statistics

__all__ = ["collect", "trajectory_files"]

_RUN_FILE = "trajectories.jsonl"


def trajectory_files(paths: Sequence[str | os.PathLike[str]]) -> list[Path]:
    """Return the files that some paths name; the folder of a synthesis run stands for its trajectories.

    Raises:
        InputError: There is no such file, or none is named.
    """
    found = []
    for path in map(Path, paths):
        file = path / _RUN_FILE if path.is_dir() else path
        if not file.is_file():
            raise InputError(f"{path} is no file of trajectories, nor the folder of a synthesis run, which holds one.")
        found.append(file)
    if not found:
        raise InputError("Name at least one file of trajectories.")
    return found


def collect(
    files: Sequence[Path],
    spool: Spool,
    statistics: Statistics,
    config: SamplingConfig,
    index: RaderIndex | None,
    on_read: Callable[[int], Any] = lambda count: None,
) -> None:
    """Read trajectories into a spool.

    Args:
        files: JSONL.
        spool: Gets problems, documents, drafts, and what a language model has to be asked.
        statistics: Counts.
        config: Which trajectories and kinds.
        index: Gives documents the texts that they have there.
        on_read: Called with 1 for each trajectory.

    Raises:
        InputError: A row is unusable; the message names file and row.
    """
    for trajectory in read_trajectories(files):
        statistics.read(trajectory)
        on_read(1)
        new = spool.is_new(trajectory.id, _content(trajectory))
        if new is False:
            statistics.trajectories["repeated"] += 1
            continue
        if new is None:
            statistics.trajectories["with the id of another, used all the same"] += 1
        _collect(trajectory, spool, statistics, config, index)


def _collect(
    trajectory: Trajectory, spool: Spool, statistics: Statistics, config: SamplingConfig, index: RaderIndex | None
) -> None:
    problem = spool.problem(trajectory.problem_id, trajectory.question)
    _keep_documents(trajectory, spool, statistics, index)
    spool.add_relevant(problem, sorted(relevant_ids(trajectory)))
    reason = refusal(trajectory, config)
    found = [] if reason is not None else list(searches(trajectory, config))
    if not found:
        statistics.trajectories[reason or "no positive"] += 1
        return
    statistics.trajectories["used"] += 1
    statistics.sources[trajectory.source or "unknown"] += 1
    if "cot" in config.kinds:
        statistics.dropped["cot: no step before the search, so it would be the question"] += sum(
            not search.before for search in found
        )
    for draft in drafts(trajectory, found, config):
        if not spool.add_draft(problem, draft):
            statistics.dropped[f"{draft.kind}: merged with an equal query of the same problem"] += 1
    for search in found:
        # Positives that a problem has from elsewhere are known when all was read.
        spool.add_relevant(problem, search.positives)
        for number, (document, by) in enumerate(search.positives.items()):
            if "llm" in config.kinds:
                solution = partial_solution(trajectory.question, search.before)
                content = digest(canonical_json(["llm", problem, digest(solution).hex(), document]))
                request = QueryRequest(
                    "llm", f"llm:{trajectory.id}:{search.step}:{number}", document, by, trajectory.question.strip(),
                    search.before, search.rejected, trajectory.id, trajectory.source, search.step,
                )  # fmt: skip
                spool.add_request(problem, content, request.row())
            if "lexical" in config.kinds:
                request = QueryRequest("lexical", f"lexical:{document}", document, by)
                spool.add_request(problem, digest(canonical_json(["lexical", document])), request.row())


def _keep_documents(trajectory: Trajectory, spool: Spool, statistics: Statistics, index: RaderIndex | None) -> None:
    considered = {one.id: one for step in trajectory.retrievals for one in reversed(step.considered)}
    kept = {step.document_id for step in trajectory.retrievals if step.document_id is not None}
    unknown = spool.unknown_documents(dict.fromkeys([*considered, *sorted(kept)]))
    if not unknown:
        return
    stored = {document.id: document for document in index.get(unknown)} if index is not None else {}
    for id in unknown:
        one = considered.get(id)
        if (document := stored.get(id)) is not None:
            title, text = title_and_text(document)
            spool.add_document(id, title, text)
            if one is not None and one.text.strip() and digest(f"{one.title} {one.text}") != digest(document.text):
                statistics.dropped["text of a trajectory: the corpus has another for the same id, which is used"] += 1
        elif one is not None and one.text.strip():
            spool.add_document(id, one.title, one.text)


def _content(trajectory: Trajectory) -> bytes:
    return hashlib.blake2b(canonical_json(trajectory.row()).encode("utf-8"), digest_size=16).digest()

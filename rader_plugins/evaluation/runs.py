"""Runs, judgements and exclusions: what they are, and the files that hold them."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, Literal

import numpy as np

from rader_plugins.errors import InputError
from rader_plugins.files import atomic_write, read_jsonl

__all__ = [
    "Excluded",
    "Qrels",
    "Run",
    "check_run",
    "interpolate",
    "ranking",
    "read_excluded",
    "read_qrels",
    "read_run",
    "separated",
    "write_run",
]

Run = Mapping[str, Mapping[str, float]]
"""Query id -> document id -> score; the order of the documents decides between equal scores."""
Qrels = Mapping[str, Mapping[str, int]]
"""Query id -> document id -> relevance: 0 and below not relevant, 1 relevant, higher grades more so."""
Excluded = Mapping[str, Set[str]]
"""Query id -> documents that are deleted from its ranking before scoring."""

_EXCLUDED_KEYS = ("_id", "query_id", "id")
_HEADERS = {"score", "relevance", "rel", "grade", "label"}


def ranking(scores: Mapping[str, float]) -> list[str]:
    """Return document ids by falling score; equal scores keep the order in which they stand.

    Example:
        >>> ranking({"a": 0.2, "b": 0.9, "c": 0.9})
        ['b', 'c', 'a']
    """
    return sorted(scores, key=scores.__getitem__, reverse=True)  # sorted() is stable, in reverse too


def separated(scores: Mapping[str, float]) -> dict[str, float]:
    """Return the scores in ranking order, lowered where they must be to fall strictly in single precision.

    trec_eval and the libraries around it read scores as 32-bit floats and order what is then equal by document id.
    After this every scorer sees the order of :func:`ranking`. A score changes by its rounding and a few units in the
    last place.
    """
    order = ranking(scores)
    with np.errstate(over="ignore"):
        single = np.array([scores[document] for document in order], dtype=np.float64).astype(np.float32)
    lowest = np.float32(np.finfo(np.float32).min)
    if len(single) and single[0] == np.inf:
        single[0] = np.finfo(np.float32).max
    if not (single[1:] < single[:-1]).all():
        for place in range(1, len(single)):
            if not single[place] < single[place - 1]:
                single[place] = np.nextafter(single[place - 1], lowest, dtype=np.float32)
    return dict(zip(order, single.tolist(), strict=True))


def is_number(value: object) -> bool:
    """Whether a value is a real number of Python or numpy."""
    return isinstance(value, int | float | np.floating | np.integer) and not isinstance(value, bool)


def check_run(run: Run, what: str = "The run") -> None:
    """Raise :class:`InputError` unless every score is a number.

    Args:
        run: The run.
        what: How to call it in the message.
    """
    for query, scores in run.items():
        for document, score in scores.items():
            if type(score) is not float and not is_number(score):
                raise InputError(
                    f"{what}: the score of document {document!r} for query {query!r} is {score!r}, not a number."
                )
            if math.isnan(score):
                raise InputError(
                    f"{what}: the score of document {document!r} for query {query!r} is NaN, which has no place in an "
                    "order. Find out where it comes from (an empty text, a model that overflows), or leave the "
                    "document out."
                )


def interpolate(
    runs: Sequence[Run], weights: Sequence[float], *, documents: Literal["first", "union"] = "first"
) -> dict[str, dict[str, float]]:
    """Add up weighted scores of several runs, query by query.

    RaDeR's pipeline is ``interpolate([reranker, retriever], [0.5, 0.5])``. Scores are taken as they are: z-score them
    first where they are on different scales.

    Args:
        runs: At least one.
        weights: One per run.
        documents: ``"first"`` keeps the queries and documents of the first run (what was reranked); ``"union"`` those
            of any run. A score that a run does not have counts as 0.

    Raises:
        InputError: Numbers do not match, or a score or weight is not finite.

    Example:
        >>> interpolate([{"q": {"a": 1.0, "b": 0.0}}, {"q": {"a": 0.2, "b": 0.4, "c": 9.0}}], [0.5, 0.5])
        {'q': {'a': 0.6, 'b': 0.2}}
    """
    if not runs or len(runs) != len(weights):
        raise InputError(f"interpolate() takes one weight per run; there are {len(runs)} runs, {len(weights)} weights.")
    if documents not in ("first", "union"):
        raise InputError(f"documents is 'first' or 'union', not {documents!r}.")
    if not all(math.isfinite(weight) for weight in weights):
        raise InputError(f"Weights must be finite numbers: {list(weights)}.")
    for number, run in enumerate(runs, start=1):
        check_run(run, f"Run {number}")
        if any(math.isinf(score) for scores in run.values() for score in scores.values()):
            raise InputError(f"Run {number} holds an infinite score, which no weight can balance.")
    sources = runs if documents == "union" else runs[:1]
    result: dict[str, dict[str, float]] = {}
    for query in dict.fromkeys(query for run in sources for query in run):
        names = dict.fromkeys(document for run in sources for document in run.get(query, {}))
        parts = [run.get(query, {}) for run in runs]
        result[query] = {
            name: sum(weight * part.get(name, 0.0) for weight, part in zip(weights, parts, strict=True))
            for name in names
        }
    return result


def read_run(path: str | os.PathLike[str]) -> dict[str, dict[str, float]]:
    """Read a run: a TREC run file, or JSON as RaDeR publishes it (``{query: {document: score}}``).

    The order of the file is kept: it decides between equal scores. The rank column of a TREC file is not used.

    Raises:
        InputError: A line is unusable (file and line are named), a document stands twice, or a score is NaN.
    """
    text = _read_text(path)
    if text.lstrip()[:1] == "{":
        run = _json_run(text, path)
    else:
        run = {}
        for number, line in _lines(text):
            columns = line.split()
            if len(columns) != 6:
                raise InputError(
                    f"{path}, line {number} has {len(columns)} columns; a TREC run has 6: query, Q0, document, rank, "
                    "score, name. (RaDeR's JSON score files are read, too.)"
                )
            query, _, document, _, score, _ = columns
            documents = run.setdefault(query, {})
            if document in documents:
                raise InputError(f"{path}, line {number}: document {document!r} stands twice for query {query!r}.")
            try:
                documents[document] = float(score)
            except ValueError:
                raise InputError(f"{path}, line {number}: the score {score!r} is not a number.") from None
    if not run:
        raise InputError(f"{path} holds no results.")
    check_run(run, str(path))
    return run


def write_run(run: Run, path: str | os.PathLike[str], name: str = "rader") -> None:
    """Write a TREC run file with strictly falling scores (see :func:`separated`).

    Args:
        run: Query id -> document id -> score.
        path: The file, written atomically.
        name: The last column.

    Raises:
        InputError: An id is empty or holds white space, which the format cannot express.
    """
    check_run(run)
    if (fault := unfit_id(run)) is not None or (fault := unfit_id({name: {}})) is not None:
        raise InputError(f"A TREC run file separates columns by white space and cannot hold the name {fault!r}.")
    write_separated({query: separated(scores) for query, scores in run.items()}, path, name)


def write_separated(run: Run, path: str | os.PathLike[str], name: str = "rader") -> None:
    """As :func:`write_run`, of ids that fit and scores that are in ranking order and fall strictly already."""
    with atomic_write(path) as stream:
        for query, scores in run.items():
            # Nine significant digits tell any two 32-bit floats apart.
            lines = [
                f"{query} Q0 {document} {rank} {score:.9g} {name}\n"
                for rank, (document, score) in enumerate(scores.items(), start=1)
            ]
            stream.write("".join(lines).encode())


def unfit_id(run: Run) -> str | None:
    """Return the first query or document id that a TREC run file cannot hold, or None."""
    for query, scores in run.items():
        ids = [query, *scores]
        if " ".join(ids).split() != ids:
            return next(id for id in ids if id.split() != [id])
    return None


def read_qrels(path: str | os.PathLike[str]) -> dict[str, dict[str, int]]:
    """Read judgements: BEIR (query, document, relevance; a header line may stand first) or TREC (four columns).

    Raises:
        InputError: A line is unusable, two lines contradict each other, or there are none.
    """
    qrels: dict[str, dict[str, int]] = {}
    for place, (number, line) in enumerate(_lines(_read_text(path))):
        columns = line.split("\t") if line.count("\t") in (2, 3) else line.split()
        columns = [column.strip() for column in columns]
        if len(columns) not in (3, 4) or not all(columns):
            raise InputError(
                f"{path}, line {number}: expected query, document and relevance (BEIR) or query, iteration, document "
                f"and relevance (TREC), found {line!r}."
            )
        query, document, grade = columns[0], columns[-2], columns[-1]
        relevance = _grade(grade)
        if relevance is None:
            if place == 0 and grade.lower() in _HEADERS:
                continue
            raise InputError(f"{path}, line {number}: the relevance {grade!r} is not a whole number.")
        if qrels.setdefault(query, {}).setdefault(document, relevance) != relevance:
            raise InputError(
                f"{path}, line {number}: document {document!r} was given another relevance for query {query!r} before."
            )
    if not qrels:
        raise InputError(f"{path} holds no judgements.")
    return qrels


def read_excluded(path: str | os.PathLike[str]) -> dict[str, frozenset[str]]:
    """Read ``excluded.jsonl``: rows of ``{"_id": query id, "excluded_ids": [document ids]}``.

    Raises:
        InputError: A row is of another form.
    """
    excluded: dict[str, frozenset[str]] = {}
    for row in read_jsonl(path):
        query = next((row[key] for key in _EXCLUDED_KEYS if key in row), None)
        ids = row.get("excluded_ids")
        if not isinstance(query, str) or not isinstance(ids, list) or not all(isinstance(id, str) for id in ids):
            raise InputError(
                f'{path}: a row must be {{"_id": "a query id", "excluded_ids": ["a document id", ...]}}, not '
                f"{json.dumps(row, ensure_ascii=False)[:200]}."
            )
        excluded[query] = excluded.get(query, frozenset()) | frozenset(ids)
    return excluded


def _read_text(path: str | os.PathLike[str]) -> str:
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8: {error}.") from None
    except (FileNotFoundError, IsADirectoryError):
        raise InputError(f"There is no file {path}.") from None


def _lines(text: str) -> Iterator[tuple[int, str]]:
    # Not splitlines(): it would also break lines at characters that may stand in an id.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line.rstrip("\r")


def _grade(text: str) -> int | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return int(value) if value.is_integer() else None


def _json_run(text: str, path: str | os.PathLike[str]) -> dict[str, dict[str, float]]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise InputError(f"{path}: {twice!r} stands twice in the same object.")
        return found

    try:
        run = json.loads(text, object_pairs_hook=unique)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}.") from None
    if not all(isinstance(scores, dict) for scores in run.values()):
        raise InputError(f"{path}: a JSON run is {{query: {{document: score}}}}.")
    return {query: dict(scores) for query, scores in run.items()}

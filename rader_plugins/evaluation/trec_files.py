"""Files of runs (TREC, JSON), judgements (BEIR, TREC) and exclusions."""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rader_plugins.arguments import check_path, check_string
from rader_plugins.errors import InputError
from rader_plugins.evaluation.rankings import Run, check_run, separated
from rader_plugins.files import atomic_write, read_jsonl

__all__ = ["read_aspects", "read_excluded", "read_qrels", "read_run", "unfit_id", "write_run", "write_separated"]

_EXCLUDED_KEYS = ("_id", "query_id", "id")
_GZIP = b"\x1f\x8b"
_HEADERS = {"score", "relevance", "rel", "grade", "label"}


def read_run(path: str | os.PathLike[str]) -> dict[str, dict[str, float]]:
    """Read a run: a TREC run file, or JSON as RaDeR publishes it (``{query: {document: score}}``).

    The order of the file is kept: it decides between equal scores. The rank column of a TREC file is not used. The file
    may be packed (gzip). Columns that are separated by tabs may hold blanks.

    Raises:
        InputError: A line is unusable (file and line are named), a document stands twice, or a score is NaN.
    """
    path = check_path(path, "path")
    text = _read_text(path)
    if text.lstrip()[:1] == "{":
        run = _json_run(text, path)
    else:
        run = {}
        for number, line in _lines(text):
            columns = [column.strip() for column in line.split("\t")] if line.count("\t") == 5 else line.split()
            if len(columns) != 6 or not (columns[0] and columns[2]):
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
        name: Name of the run, written in the last column.

    Raises:
        InputError: An id is empty or holds white space, which the format cannot express.
    """
    path, name = check_path(path, "path"), check_string(name, "name")
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
    """Read judgements: BEIR (query, document, relevance; a header line may stand first) or TREC (four columns). The
    file may be packed (gzip).

    TREC's second column may name aspects (subtopics) of the query: a document is then as relevant as it is to the
    aspect that it serves best. :func:`read_aspects` returns them one by one.

    Raises:
        InputError: A line is unusable, two lines contradict each other, or there are none.
    """
    qrels: dict[str, dict[str, int]] = {}
    for (query, _, document), relevance in _judgements(path).items():
        grades = qrels.setdefault(query, {})
        grades[document] = max(relevance, grades.get(document, relevance))
    return qrels


def read_aspects(path: str | os.PathLike[str]) -> dict[str, dict[str, dict[str, int]]]:
    """Read judgements by aspect (TREC subtopic qrels): query -> document -> aspect -> relevance.

    Returns:
        Nothing where no query of the file has more than one aspect: then the column is the iteration, which says
        nothing.

    Raises:
        InputError: As :func:`read_qrels`.
    """
    aspects: dict[str, dict[str, dict[str, int]]] = {}
    names: dict[str, set[str]] = {}
    for (query, aspect, document), relevance in _judgements(path).items():
        aspects.setdefault(query, {}).setdefault(document, {})[aspect] = relevance
        names.setdefault(query, set()).add(aspect)
    return aspects if any(len(of_query) > 1 for of_query in names.values()) else {}


def _judgements(path: str | os.PathLike[str]) -> dict[tuple[str, str, str], int]:
    """Return (query, aspect, document) -> relevance."""
    path = check_path(path, "path")
    judgements: dict[tuple[str, str, str], int] = {}
    for row, (number, line) in enumerate(_lines(_read_text(path))):
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
            if row == 0 and grade.lower() in _HEADERS:
                continue
            raise InputError(f"{path}, line {number}: the relevance {grade!r} is not a whole number.")
        aspect = columns[1] if len(columns) == 4 else ""
        if judgements.setdefault((query, aspect, document), relevance) != relevance:
            raise InputError(
                f"{path}, line {number}: document {document!r} was given another relevance for query {query!r} before."
            )
    if not judgements:
        raise InputError(f"{path} holds no judgements.")
    return judgements


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
        content = Path(path).read_bytes()
        if content.startswith(_GZIP):
            content = gzip.decompress(content)
        return content.decode("utf-8-sig")
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path} begins as a gzip file and cannot be unpacked: {error}.") from None
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
        members = dict(pairs)
        if len(members) != len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise InputError(f"{path}: {twice!r} stands twice in the same object.")
        return members

    try:
        run = json.loads(text, object_pairs_hook=unique)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}.") from None
    if not all(isinstance(scores, dict) for scores in run.values()):
        raise InputError(f"{path}: a JSON run is {{query: {{document: score}}}}.")
    return {query: dict(scores) for query, scores in run.items()}

"""`Spool`: what is known of trajectories and drafts, in a scratch database, so that memory does not grow with them."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rader_plugins.samples import Passage
from rader_plugins.text_matching import digest, normal
from rader_synthesis.sampling.drafts import Draft, QueryRequest
from rader_synthesis.scratch import scratch_errors

__all__ = ["Relevant", "Spool", "StoredDraft"]

_TABLES = """
CREATE TABLE trajectories (id TEXT, content BLOB, PRIMARY KEY (id, content)) WITHOUT ROWID;
CREATE TABLE problems (n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, used INTEGER NOT NULL DEFAULT 0, family INTEGER,
    split TEXT, removed TEXT);
CREATE TABLE questions (n INTEGER PRIMARY KEY, problem INTEGER NOT NULL, content BLOB NOT NULL, text TEXT NOT NULL,
    UNIQUE (problem, content));
CREATE TABLE relevant (problem INTEGER, document TEXT, PRIMARY KEY (problem, document)) WITHOUT ROWID;
CREATE TABLE documents (id TEXT PRIMARY KEY, title TEXT NOT NULL, text TEXT NOT NULL, content BLOB NOT NULL);
CREATE TABLE drafts (n INTEGER PRIMARY KEY, problem INTEGER NOT NULL, content BLOB NOT NULL UNIQUE,
    query_id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, query TEXT NOT NULL, trajectory TEXT NOT NULL,
    about TEXT NOT NULL);
CREATE TABLE positives (document TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE requests (n INTEGER PRIMARY KEY, content BLOB NOT NULL UNIQUE, problem INTEGER NOT NULL,
    request TEXT NOT NULL);
"""


@dataclass(frozen=True)
class StoredDraft:
    """A draft as it lies in the spool.

    Args:
        number: Number in the order of adding.
        problem_id: Id of its problem.
        family: Number of the problems with nearly the same question.
        split: Where its family goes.
        draft: The draft as it was added.
        trajectories: How many gave it.
    """

    number: int
    problem_id: str
    family: int
    split: str
    draft: Draft
    trajectories: int


@dataclass(frozen=True)
class Relevant:
    """What is relevant to a problem, or to one with nearly the same question: negatives of none of its queries.

    Args:
        ids: Ids of the documents.
        contents: Digests of their texts.
        texts: Normal texts of the documents, without and with title, each between blanks.
    """

    ids: set[str]
    contents: set[bytes]
    texts: Sequence[tuple[str, str]] = ()

    def shares_text(self, passage: Passage) -> bool:
        """Whether a passage is a part of a relevant document, or holds one.

        An application that splits documents finds the article as well as its paragraphs: where one of them is
        relevant, the other is no negative.
        """
        text, full_text = _bounded(passage.text), _bounded(passage.full_text)
        return any(
            text in relevant_full or relevant in full_text
            for relevant, relevant_full in self.texts
            if text.strip() and relevant.strip()
        )


class Spool:
    """A scratch database; a crash makes it worthless, and the next run begins a new one.

    Args:
        path: The file, which must not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self.connection = sqlite3.connect(path, isolation_level=None)
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-16384", "temp_store=FILE"):
            self.connection.execute(f"PRAGMA {pragma}")
        self.connection.executescript(_TABLES)
        self.connection.execute("BEGIN")

    def close(self) -> None:
        """Close the database."""
        self.connection.close()

    @classmethod
    @contextlib.contextmanager
    def opened(cls, path: Path) -> Iterator[Spool]:
        """Make one and close it at the end; what SQLite says of a full disk is said as an :class:`OSError`."""
        with scratch_errors("The scratch file of this run"), contextlib.closing(cls(path)) as spool:
            yield spool

    # What trajectories say

    def is_new(self, id: str, content: bytes) -> bool | None:
        """Remember a trajectory; return False if it was there before, None if another of this name was."""
        if self._one("SELECT 1 FROM trajectories WHERE id = ? AND content = ?", (id, content)) is not None:
            return False
        other = self._one("SELECT 1 FROM trajectories WHERE id = ?", (id,))
        self.connection.execute("INSERT INTO trajectories VALUES (?, ?)", (id, content))
        return True if other is None else None

    def problem(self, id: str, question: str) -> int:
        """Return the number of a problem and remember its question."""
        self.connection.execute("INSERT OR IGNORE INTO problems (id) VALUES (?)", (id,))
        row = self._one("SELECT n FROM problems WHERE id = ?", (id,))
        number = int(row[0])
        self.connection.execute(
            "INSERT OR IGNORE INTO questions (problem, content, text) VALUES (?, ?, ?)",
            (number, digest(question), question),
        )
        return number

    def add_relevant(self, problem: int, documents: Iterable[str]) -> None:
        """Remember documents that are negatives of no sample of a problem."""
        self.connection.executemany(
            "INSERT OR IGNORE INTO relevant VALUES (?, ?)", [(problem, document) for document in documents]
        )

    def unknown_documents(self, ids: Iterable[str]) -> list[str]:
        """Return those ids of which no text is known yet."""
        statement = "SELECT 1 FROM documents WHERE id = ?"
        return [id for id in ids if self.connection.execute(statement, (id,)).fetchone() is None]

    def add_document(self, id: str, title: str, text: str) -> None:
        """Remember the text of a document."""
        content = digest(f"{title} {text}")
        self.connection.execute("INSERT OR IGNORE INTO documents VALUES (?, ?, ?, ?)", (id, title, text, content))

    def document(self, id: str) -> tuple[Passage, bytes] | None:
        """Return a document and the digest of its text; None if its text is not known."""
        row = self._one("SELECT title, text, content FROM documents WHERE id = ?", (id,))
        return None if row is None else (Passage(id, row[1], row[0]), row[2])

    def text_of(self, id: str) -> str:
        """Return title and text of a document; empty if it has none, or is not known."""
        document = self.document(id)
        return "" if document is None else document[0].full_text.strip()

    # Drafts

    def add_draft(self, problem: int, draft: Draft) -> bool:
        """Add a draft; one of the same :meth:`Draft.identity` is merged with it. Return if it is new."""
        content = draft.identity(problem)
        row = self._one("SELECT n, about FROM drafts WHERE content = ?", (content,))
        if row is not None:
            about = json.loads(row[1])
            for name, documents in (("positives", draft.positives), ("negatives", draft.negatives)):
                about[name] |= {id: by for id, by in documents.items() if id not in about[name]}
            about["weight"] = max(about["weight"], draft.weight)
            about["trajectories"] += 1
            self.connection.execute("UPDATE drafts SET about = ? WHERE n = ?", (json.dumps(about), row[0]))
            return False
        about = {
            "positives": draft.positives,
            "negatives": draft.negatives,
            "source": draft.source,
            "step": draft.step,
            "weight": draft.weight,
            "trajectories": 1,
        }
        self.connection.execute(
            "INSERT INTO drafts (problem, content, query_id, kind, query, trajectory, about) VALUES (?,?,?,?,?,?,?)",
            (problem, content, self._free_id(draft.query_id), draft.kind, draft.query, draft.trajectory_id,
             json.dumps(about)),
        )  # fmt: skip
        self.connection.execute("UPDATE problems SET used = 1 WHERE n = ?", (problem,))
        return True

    def _free_id(self, id: str) -> str:
        free, number = id, 1
        while self._one("SELECT 1 FROM drafts WHERE query_id = ?", (free,)) is not None:
            number += 1
            free = f"{id}~{number}"
        return free

    def positives_of(self, n: int) -> set[str]:
        """Return the ids of the positives of a draft."""
        return set(json.loads(self._fetch("SELECT about FROM drafts WHERE n = ?", n)[0])["positives"])

    def drafts(self, size: int) -> Iterator[list[StoredDraft]]:
        """Yield the drafts of problems that were not removed, in the order of adding, so many at a time."""
        last = 0
        while True:
            rows = self.connection.execute(
                "SELECT d.n, p.id, p.family, p.split, d.kind, d.query_id, d.query, d.trajectory, d.about "
                "FROM drafts d JOIN problems p ON p.n = d.problem WHERE d.n > ? AND p.removed IS NULL "
                "ORDER BY d.n LIMIT ?",
                (last, size),
            ).fetchall()
            if not rows:
                return
            last = rows[-1][0]
            yield [_stored(*row) for row in rows]

    def mark_positives(self, documents: Iterable[str]) -> None:
        """Remember that a sample has these positives."""
        self.connection.executemany("INSERT OR IGNORE INTO positives VALUES (?)", [(id,) for id in documents])

    def positive_overlap(self, tests: Mapping[str, Callable[[bytes], bool]]) -> dict[str, Any]:
        """Return how many distinct positives there are, and how many pass each test of the digest of their text."""
        counts = dict.fromkeys(tests, 0)
        total = 0
        rows = self.connection.execute("SELECT d.content FROM positives p JOIN documents d ON d.id = p.document")
        for (content,) in rows:
            total += 1
            for name, test in tests.items():
                counts[name] += test(content)
        return {"positives": total, "in_evaluation_corpora": counts}

    # What a language model is asked

    def add_request(self, problem: int, request: QueryRequest) -> None:
        """Remember a request; one of the same :meth:`QueryRequest.identity` is there once."""
        row = (problem, request.identity(problem), json.dumps(request.row()))
        self.connection.execute("INSERT OR IGNORE INTO requests (problem, content, request) VALUES (?, ?, ?)", row)
        self.connection.execute("UPDATE problems SET used = 1 WHERE n = ?", (problem,))

    def requests(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield problem and row of the requests of problems that were not removed."""
        rows = self._each(
            "SELECT r.n, r.problem, r.request FROM requests r JOIN problems p ON p.n = r.problem "
            "WHERE r.n > ? AND p.removed IS NULL ORDER BY r.n LIMIT 64"
        )
        for _, problem, request in rows:
            yield problem, json.loads(request)

    # What problems have in common

    def questions(self) -> Iterator[tuple[int, int, str]]:
        """Yield number, problem and text of the questions of problems that gave drafts, in the order of adding."""
        yield from self._each(
            "SELECT q.n, q.problem, q.text FROM questions q JOIN problems p ON p.n = q.problem WHERE p.used "
            "AND q.n > ? ORDER BY q.n LIMIT 256"
        )

    def question_digest(self, question: int) -> bytes:
        """Return the digest of a question."""
        return bytes(self._fetch("SELECT content FROM questions WHERE n = ?", question)[0])

    def question_of(self, draft: int) -> str:
        """Return the question of the problem of a draft."""
        statement = "SELECT q.text FROM drafts d JOIN questions q ON q.problem = d.problem WHERE d.n = ? ORDER BY q.n"
        return str(self._fetch(statement, draft)[0])

    def problem_name(self, problem: int) -> str:
        """Return the id of a problem."""
        return str(self._fetch("SELECT id FROM problems WHERE n = ?", problem)[0])

    def problem_of_question(self, question: int) -> int:
        """Return the problem of a question."""
        return int(self._fetch("SELECT problem FROM questions WHERE n = ?", question)[0])

    def problems(self) -> Iterator[tuple[int, str]]:
        """Yield number and name of every problem."""
        yield from self._each("SELECT n, id FROM problems WHERE n > ? ORDER BY n LIMIT 256")

    def remove_problem(self, problem: int, reason: str) -> int:
        """Leave a problem out; return how many drafts that costs."""
        self.connection.execute("UPDATE problems SET removed = ? WHERE n = ?", (reason, problem))
        return int(self._fetch("SELECT count(*) FROM drafts WHERE problem = ?", problem)[0])

    def set_family(self, problem: int, family: int) -> None:
        """Say which family a problem belongs to."""
        self.connection.execute("UPDATE problems SET family = ? WHERE n = ?", (family, problem))

    def families(self) -> list[tuple[int, str]]:
        """Return the families of problems that are used, each with the least name among these."""
        rows = self.connection.execute(
            "SELECT family, min(id) FROM problems WHERE used AND removed IS NULL GROUP BY family ORDER BY family"
        )
        return [(int(family), str(id)) for family, id in rows]

    def set_split(self, family: int, split: str) -> None:
        """Say where the problems of a family go."""
        self.connection.execute("UPDATE problems SET split = ? WHERE family = ?", (split, family))

    def index_families(self) -> None:
        """Make looking up problems by family quick."""
        self.connection.execute("CREATE INDEX problems_family ON problems (family)")

    def family_relevant(self, family: int) -> Relevant:
        """Return what is relevant to any problem of a family."""
        rows = self.connection.execute(
            "SELECT r.document, d.content, d.title, d.text FROM problems p JOIN relevant r ON r.problem = p.n "
            "LEFT JOIN documents d ON d.id = r.document WHERE p.family = ?",
            (family,),
        ).fetchall()
        texts = {content: (_bounded(text), _bounded(f"{title} {text}")) for _, content, title, text in rows if content}
        return Relevant({row[0] for row in rows}, set(texts), list(texts.values()))

    def _each(self, statement: str) -> Iterator[Any]:
        """Yield the rows of a statement a part at a time, so that others may be written in between."""
        last = 0
        while rows := self.connection.execute(statement, (last,)).fetchall():
            yield from rows
            last = rows[-1][0]

    def _one(self, statement: str, values: Sequence[Any]) -> Any:
        return self.connection.execute(statement, values).fetchone()

    def _fetch(self, statement: str, value: Any) -> Any:
        return self.connection.execute(statement, (value,)).fetchone()


def _stored(
    n: int, problem_id: str, family: int, split: str, kind: Any, query_id: str, query: str, trajectory: str, about: str
) -> StoredDraft:
    details = json.loads(about)
    draft = Draft(
        kind,
        query_id,
        query,
        details["positives"],
        details["negatives"],
        trajectory,
        details["source"],
        details["step"],
        details["weight"],
    )
    return StoredDraft(n, problem_id, family, split, draft, details["trajectories"])


def _bounded(text: str) -> str:
    """Return the words of a text between blanks, so that no match begins or ends within a word."""
    return f" {normal(text)} "

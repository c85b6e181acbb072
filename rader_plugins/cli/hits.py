"""Hits as ``rader search`` shows them: a table, in detail, and as data."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from rader_plugins.cli.output import cell_width, clip, clip_middle, facts, one_line, table, width, wrap

if TYPE_CHECKING:
    from rader_plugins.documents import Hit
    from rader_plugins.index import Index
    from rader_plugins.retrieval.passages import Passage

__all__ = ["HitTexts", "ShownHit", "details", "group_hits", "hit_object", "hit_table"]

_LEAST_TEXT = 30
_PASSAGE = 400
_BOLD, _PLAIN = "\x1b[1m", "\x1b[0m"


@dataclass(frozen=True)
class ShownHit:
    """A hit, and the worse ones of the same document that were folded into it."""

    hit: Hit
    folded: tuple[Hit, ...] = ()


def group_hits(hits: Sequence[Hit]) -> list[ShownHit]:
    """Fold the chunks of a document into its best one."""
    from rader_plugins.ingestion.chunking import parent_id

    groups: dict[str, list[Hit]] = {}
    for hit in hits:
        groups.setdefault(parent_id(hit.document), []).append(hit)
    return [ShownHit(best, tuple(others)) for best, *others in groups.values()]


@dataclass(frozen=True)
class HitTexts:
    """What is shown of the texts of hits.

    Args:
        index: Where neighbours come from.
        context: How many neighbours on each side: chunks of a chunk, lines of a whole document.
    """

    index: Index
    context: int = 0

    def passage(self, hit: Hit, size: int = _PASSAGE) -> Passage:
        """Return the passage of a hit that matches best."""
        from rader_plugins.retrieval.passages import passage_of

        return passage_of(hit, size)

    def neighbours(self, hit: Hit, passage: Passage) -> tuple[list[str], list[str]]:
        """Return what stands before and after: chunks, or lines where the hit is a whole document."""
        from rader_plugins.ingestion.chunking import parent_id

        if not self.context:
            return [], []
        parent, number = parent_id(hit.document), hit.document.metadata.get("chunk")
        if parent == hit.document.id or not isinstance(number, int):
            text = hit.document.text
            before = text[: passage.start].splitlines()
            after = text[passage.end :].splitlines()
            # What is left of the passage's own line belongs to it.
            return before[-self.context :], after[: self.context]
        names = [f"{parent}#{number + step}" for step in range(-self.context, self.context + 1) if step]
        texts = {document.id: document.text for document in self.index.get(names)}
        half = len(names) // 2
        return [texts[name] for name in names[:half] if name in texts], [
            texts[name] for name in names[half:] if name in texts
        ]


class _Marks:
    """Terms in bold, on a terminal that wants colours."""

    @cached_property
    def are_shown(self) -> bool:
        return sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"

    def text(self, text: str, passage: Passage, columns: int | None = None) -> str:
        """Return a passage in one line, cut to so many columns, its terms marked."""
        parts: list[tuple[str, bool]] = []
        offset = passage.start
        for start, end in passage.marks:
            parts += [(text[offset:start], False), (text[start:end], True)]
            offset = end
        parts.append((text[offset : passage.end], False))
        if text[: passage.start].strip():
            parts.insert(0, ("…", False))
        if text[passage.end :].strip():
            parts.append(("…", False))
        flat = [(_flat(part), marked) for part, marked in parts]
        whole = "".join(part for part, _ in flat)
        is_cut = columns is not None and cell_width(whole) > columns
        room = len(clip(whole, columns)) - 1 if is_cut and columns is not None else len(whole)
        line = ""
        for part, marked in flat:
            part, room = part[:room], room - len(part[:room])
            line += f"{_BOLD}{part}{_PLAIN}" if marked and self.are_shown and part.strip() else part
        return line.strip() + "…" * is_cut


def _flat(text: str) -> str:
    """Return a text in one line, without control characters, which a terminal would obey."""
    return re.sub(r"\s+", " ", "".join(character if character.isprintable() else " " for character in text))


def hit_object(shown: ShownHit, texts: HitTexts, *, explain: bool, grouped: bool) -> dict[str, Any]:
    """Return a hit as a JSON object."""
    hit = shown.hit
    value: dict[str, Any] = {
        "id": hit.document.id,
        "score": hit.score,
        "rank": hit.rank,
        "scores": dict(hit.scores),
        "text": hit.document.text,
        "metadata": dict(hit.document.metadata),
    }
    if explain or texts.context:
        passage = texts.passage(hit)
        value["passage"] = {
            "text": hit.document.text[passage.start : passage.end],
            "line": _line(hit.document.metadata, passage),
            "terms": [hit.document.text[start:end] for start, end in passage.marks],
        }
        if texts.context:
            before, after = texts.neighbours(hit, passage)
            value["context"] = {"before": before, "after": after}
    if explain:
        value["explanation"] = hit.explain().as_json()
    if grouped:
        value["folded"] = [
            {"id": other.document.id, "score": other.score, "rank": other.rank} for other in shown.folded
        ]
    return value


def hit_table(hits: Sequence[ShownHit], texts: HitTexts) -> list[str]:
    """Return hits as the lines of a table, with the passage that matches best."""
    # The score that decided the order has its own column already.
    first = hits[0].hit
    stages = [stage for stage in first.scores if any(s.hit.scores.get(stage) != s.hit.score for s in hits)]
    rows = []
    for shown in hits:
        hit = shown.hit
        scores = [f"{hit.scores[stage]:.3f}" if stage in hit.scores else "" for stage in stages]
        folded = f" (+{len(shown.folded)})" if shown.folded else ""
        id = one_line(hit.document.id)
        if sys.stdout.isatty():  # a pipe gets ids whole
            id = clip_middle(id, max(_LEAST_TEXT, width() - 9 * (2 + len(stages)) - len(folded)))
        rows.append([str(hit.rank), f"{hit.score:.3f}", *scores, id + folded])
    lines = table(["rank", "score", *stages, "id"], rows, right="r" * (2 + len(stages)))
    margin = max(map(cell_width, lines)) + 2
    beside = width() - margin >= _LEAST_TEXT
    room = width() - margin if beside else max(_LEAST_TEXT, width() - 6)
    marks = _Marks()
    passages = [marks.text(s.hit.document.text, texts.passage(s.hit, max(1, room - 2)), room) for s in hits]
    if beside:
        return [
            line + " " * (margin - cell_width(line)) + text
            for line, text in zip(lines, ["text", *passages], strict=True)
        ]
    # Long ids leave no room: the text goes below.
    output = [lines[0]]
    for line, text in zip(lines[1:], passages, strict=True):
        output += [line, "      " + text]
    return output


def details(hits: Sequence[ShownHit], texts: HitTexts, *, explain: bool) -> list[str]:
    """Return hits one below the other: where the passage stands, what it says, and why it is there."""
    lines: list[str] = []
    marks = _Marks()
    for shown in hits:
        hit = shown.hit
        passage = texts.passage(hit)
        before, after = texts.neighbours(hit, passage)
        head = f"{hit.rank}. {one_line(hit.document.id)}  {hit.score:.3f}"
        lines += ["", *wrap(", ".join([head, *_where(hit, passage)]))]
        for text in before:
            lines += wrap(_flat(text), first="   | ", rest="   | ")
        lines += wrap(marks.text(hit.document.text, passage), first="   ", rest="   ")
        for text in after:
            lines += wrap(_flat(text), first="   | ", rest="   | ")
        if explain:
            lines += facts(hit.explain().lines(), indent="   ")
        if shown.folded:
            others = ", ".join(one_line(other.document.id) for other in shown.folded)
            lines += facts([("also", others)], indent="   ")
    return lines[1:]


def _where(hit: Hit, passage: Passage) -> list[str]:
    metadata = hit.document.metadata
    path = metadata.get("path")
    parts = [one_line(path)] if isinstance(path, str) and path != hit.document.id else []
    for name in ("page", "slide", "sheet", "section", "row"):
        if isinstance(value := metadata.get(name), str | int):
            parts.append(f"{name} {one_line(str(value))}")
    if (line := _line(metadata, passage)) is not None:
        parts.append(f"line {line}")
    return parts


def _line(metadata: Mapping[str, Any], passage: Passage) -> int | None:
    """Return the line of the file in which a passage begins; None where the text is not that of a file."""
    from rader_plugins.ingestion.formats import DOCUMENT_SUFFIXES

    path = metadata.get("path")
    if not isinstance(path, str) or "row" in metadata or path.lower().endswith(DOCUMENT_SUFFIXES):
        return None
    first = metadata.get("chunk_line") if "chunk" in metadata else metadata.get("line", 1)
    return first + passage.line - 1 if isinstance(first, int) else None

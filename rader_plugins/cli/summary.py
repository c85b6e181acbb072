"""How figures about an index are put."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from rader_plugins.cli.output import count, human_bytes, one_line
from rader_plugins.ingestion.findings import KINDS

if TYPE_CHECKING:
    from rader_plugins.ingestion import Outcome, Survey
    from rader_plugins.ingestion.findings import Kind

__all__ = ["index_facts", "ingested_facts", "ingested_object", "names_text"]

_FIGURES = ("documents", "recipe", "model", "fingerprint", "dimension", "dtype", "bytes")
_NAMES_SHOWN = 10
_KINDS_OF_ROWS = ("faulty", "unnamed", "repeated")
_NO_VECTORS = "none: searched by words alone"


def ingested_object(stats: dict[str, Any], outcome: Outcome, survey: Survey) -> dict[str, Any]:
    """Return what an ingestion did as a JSON object."""
    findings = survey.findings
    return {
        "source": survey.source.kind,
        **{name: stats[name] for name in _FIGURES},
        **asdict(outcome),
        "truncated": len(outcome.truncated),
        "chunking": asdict(survey.source.chunking) if survey.source.chunking else None,
        "skipped_empty": findings.count("empty"),
        "mended_texts": findings.count("mended"),
        "replaced_characters": findings.replaced,
        "findings": findings.to_dict() | {"cut": dict.fromkeys(outcome.truncated, "")},
    }


def ingested_facts(
    stats: dict[str, Any], outcome: Outcome, survey: Survey, maximum: int, *, verbose: bool = False
) -> list[tuple[str, str]]:
    """Return what an ingestion did as ``(name, value)`` lines.

    Args:
        stats: Figures of the index, as :meth:`Index.stats` returns them.
        outcome: What the ingestion added, replaced and left.
        survey: What was read of the source.
        maximum: How many tokens of a document the model reads.
        verbose: Name everything that was left out or mended, and not only the first ten.
    """
    chunking = survey.source.chunking
    limit = None if verbose else _NAMES_SHOWN
    noun = "chunk" if chunking else "document"
    lines = [
        ("model", f"{stats['recipe']}, {_vectors(stats)}" if stats["recipe"] else _NO_VECTORS, True),
        ("chunks", f"{chunking.size:,} characters, {chunking.overlap:,} shared" if chunking else "", chunking),
        ("added", count(outcome.added, noun), outcome.added or not outcome.unchanged),
        ("replaced", f"{outcome.replaced:,}: text or metadata had changed", outcome.replaced),
        ("unchanged", f"{outcome.unchanged:,}: stored already, not encoded again", outcome.unchanged),
        ("removed", f"{outcome.removed:,}: no longer in the source", outcome.removed),
        (
            "kept",
            f"{count(len(outcome.kept), noun)} of files that are there, but hold no text now, or rows without ids: "
            f"{names_text(dict.fromkeys(outcome.kept, ''), limit)}",
            outcome.kept,
        ),
        (
            "cut",
            f"{count(len(outcome.truncated), noun)} longer than {maximum} tokens, which is what the model reads "
            f"(--chunk-size splits): {names_text(dict.fromkeys(outcome.truncated, ''), limit)}",
            outcome.truncated,
        ),
        (
            "refused",
            f"{count(len(outcome.refused), noun)} not stored, as the server refuses the text: "
            f"{names_text(outcome.refused, limit)}",
            outcome.refused,
        ),
    ]
    return [(name, value) for name, value, condition in lines if condition] + _findings_facts(survey, limit)


def _findings_facts(survey: Survey, limit: int | None) -> list[tuple[str, str]]:
    findings = survey.findings
    number = {kind: count(findings.count(kind), "row" if kind in _KINDS_OF_ROWS else "file") for kind in KINDS}
    endings = _endings(findings.names.get("left_out", {}))
    unread = _endings(dict.fromkeys(findings.names.get("needs_extra", {}), ""))
    mended = f"{count(findings.replaced, 'character')} in {count(findings.count('mended'), 'text')}"
    texts: dict[Kind, tuple[str, str]] = {
        "unreadable": ("unreadable", f"{number['unreadable']} or folders"),
        "faulty": ("faulty", f"{number['faulty']} left out"),
        "needs_extra": (
            "not read",
            f"{number['needs_extra']}{unread}; pip install 'rader-plugins[documents]' and the same command read them",
        ),
        "left_out": ("left out", f"{number['left_out']} of other kinds{endings} (--glob chooses)"),
        "links": ("links", f"{count(findings.count('links'), 'link')} not followed"),
        "hidden": ("hidden", f"{number['hidden']} or folders whose name begins with a full stop"),
        "binary": ("no text", f"{number['binary']} left out"),
        "guessed": ("guessed", f"the encoding of {number['guessed']} (--encoding names it)"),
        "mended": ("mended", f"{mended} replaced by U+FFFD (not valid Unicode)"),
        "empty": ("skipped", count(findings.count("empty"), "empty text")),
        "unnamed": ("no id", f"{number['unnamed']} left out"),
        "repeated": ("repeated", f"{number['repeated']} left out, as the first with an id stays"),
        "partial": ("partial", f"{count(findings.count('partial'), 'file')} or parts that are not read to the full"),
        "front_matter": ("as it is", f"front matter of {number['front_matter']} that cannot be read, left in the text"),
        "unstructured": ("unstructured", f"{number['unstructured']} split as plain text"),
    }
    return [
        (label, f"{text}: {names_text(findings.names[kind], limit)}")
        for kind, (label, text) in texts.items()
        if findings.names.get(kind)
    ]


def names_text(names: Mapping[str, str], limit: int | None = _NAMES_SHOWN) -> str:
    """Return names with their details; of more than ``limit`` only the first, and how many there are more."""
    shown = list(names.items())[:limit]
    groups: dict[str, list[str]] = {}
    for name, detail in shown:
        groups.setdefault(detail, []).append(one_line(name))
    labels = [", ".join(group) + (f" ({one_line(detail)})" if detail else "") for detail, group in groups.items()]
    remainder = len(names) - len(shown)
    return "; ".join(labels) + (f" and {remainder:,} more (--verbose)" if remainder else "")


def _endings(names: Mapping[str, str]) -> str:
    endings = Counter(PurePosixPath(name).suffix.lower() or "no ending" for name, detail in names.items() if not detail)
    common = [f"{number:,} {ending}" for ending, number in endings.most_common(5)]
    remainder = len(endings) - len(common)
    return f" ({', '.join(common)}{f', {remainder} more' if remainder else ''})" if common else ""


def index_facts(stats: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the statistics of an index as ``(name, value)`` lines."""
    if "engine" in stats:
        return _engine_facts(stats)
    approximate = f"{stats['ann']} over {stats['ann_rows']:,} rows" if stats["ann"] else "none: exact search"
    model = stats["recipe"] if stats["recipe"] == stats["model"] else f"{stats['recipe']} ({stats['model']})"
    lines = [("path", str(stats["path"])), ("documents", f"{stats['documents']:,}")]
    if stats["recipe"] is None:
        lines.append(("model", _NO_VECTORS))
    else:
        lines += [
            ("model", model),
            ("fingerprint", stats["fingerprint"]),
            ("vectors", f"{_vectors(stats)}, {count(stats['shards'], 'shard')}"),
            ("approximate", approximate),
        ]
    lines += [
        ("bm25", ", ".join(f"{key} {value}" for key, value in stats["bm25"].items())),
        ("words", stats["analyzer"] + _outdated_words(stats)),
        ("mean length", f"{stats['mean_terms']} terms"),
        ("size", human_bytes(stats["bytes"])),
        (
            "deleted",
            f"{count(stats['deleted_rows'], 'row')} still on disk"
            + (" (`rader index optimize` drops them)" if stats["deleted_rows"] else ""),
        ),
        ("format", f"version {stats['format_version']}, generation {stats['generation']}"),
    ]
    if "verified" in stats:
        lines.append(("verified", "yes: all vectors match their checksums" if stats["verified"] else "NO"))
    return lines


def _engine_facts(stats: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the statistics of an index that an engine keeps."""
    moment = stats["statistics"]
    model = stats["recipe"] if stats["recipe"] == stats["model"] else f"{stats['recipe']} ({stats['model']})"
    lines = [
        ("where", f"{stats['path']} ({stats['engine']})"),
        ("documents", f"{stats['documents']:,}" + (f" in {stats['partition']!r}" if stats["partition"] else "")),
        ("model", model if stats["recipe"] else _NO_VECTORS),
    ]
    if stats["recipe"]:
        lines += [
            ("fingerprint", stats["fingerprint"]),
            ("vectors", _vectors(stats)),
            ("approximate", stats["ann"] or "none: exact search"),
        ]
    return [
        *lines,
        ("bm25", ", ".join(f"{key} {value}" for key, value in stats["bm25"].items())),
        ("words", stats["analyzer"] + _outdated_words(stats)),
        ("mean length", f"{stats['mean_terms']} terms"),
        (
            "statistics",
            f"of {moment['documents']:,} documents, {moment['moment'] or 'never taken'}; since then "
            f"{moment['written_since']:,} came or changed and {moment['gone_since']:,} went "
            "(`rader index optimize` renews them)",
        ),
        ("size", human_bytes(stats["bytes"]) if stats["bytes"] is not None else "not told by the engine"),
        ("consistency", stats["consistency"]),
    ]


def _vectors(stats: dict[str, Any]) -> str:
    computed = f", computed in {stats['precision']}" if stats.get("precision") else ""
    return f"{stats['dimension']} dimensions, {stats['dtype']}{computed}"


def _outdated_words(stats: dict[str, Any]) -> str:
    from rader_plugins.analysis import Analyzer

    options = {name: stats["bm25"][name] for name in ("language", "identifiers", "compatibility")}
    return "" if stats["analyzer"] == Analyzer(**options).name else " (the next change or optimize renews them)"

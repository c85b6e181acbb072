"""How figures about an index are put."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rader_plugins.cli.output import count, human_bytes

if TYPE_CHECKING:
    from rader_plugins.cli.ingest import Outcome, Survey

__all__ = ["index_facts", "ingested_facts", "ingested_object"]

_FIGURES = ("documents", "recipe", "model", "fingerprint", "dimension", "dtype", "bytes")


def ingested_object(stats: dict[str, Any], outcome: Outcome, found: Survey) -> dict[str, Any]:
    """Return what an ingestion did as a JSON object."""
    return {
        "source": found.source.kind,
        **{name: stats[name] for name in _FIGURES},
        **asdict(outcome),
        "skipped_empty": found.report.empty,
        "mended_texts": found.report.mended,
        "replaced_characters": found.report.replaced,
    }


def ingested_facts(stats: dict[str, Any], outcome: Outcome, found: Survey, maximum: int) -> list[tuple[str, str]]:
    """Return what an ingestion did as ``(name, value)`` lines."""
    report = found.report
    noun = "chunk" if found.source.chunking else "document"
    model = f"{stats['recipe']}, {stats['dimension']} dimensions, {stats['dtype']}"
    lines = [
        ("model", model, True),
        ("added", count(outcome.added, noun), outcome.added or not outcome.unchanged),
        ("replaced", f"{outcome.replaced:,}: text or metadata had changed", outcome.replaced),
        ("unchanged", f"{outcome.unchanged:,}: stored already, not encoded again", outcome.unchanged),
        ("removed", f"{outcome.removed:,}: no longer in the source", outcome.removed),
        (
            "cut",
            f"{count(outcome.truncated, noun)} longer than the model's {maximum} tokens (--chunk-size splits)",
            outcome.truncated,
        ),
        ("skipped", count(report.empty, "empty text"), report.empty),
        (
            "mended",
            f"{count(report.replaced, 'character')} in {count(report.mended, 'text')} replaced by U+FFFD "
            "(not valid Unicode)",
            report.replaced,
        ),
    ]
    return [(name, value) for name, value, shown in lines if shown]


def index_facts(stats: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the statistics of an index as ``(name, value)`` lines."""
    approximate = f"{stats['ann']} over {stats['ann_rows']:,} rows" if stats["ann"] else "none: exact search"
    lines = [
        ("path", str(stats["path"])),
        ("documents", f"{stats['documents']:,}"),
        ("model", stats["recipe"] if stats["recipe"] == stats["model"] else f"{stats['recipe']} ({stats['model']})"),
        ("fingerprint", stats["fingerprint"]),
        ("vectors", f"{stats['dimension']} dimensions, {stats['dtype']}, {count(stats['shards'], 'shard')}"),
        ("approximate", approximate),
        ("bm25", ", ".join(f"{key} {value}" for key, value in stats["bm25"].items())),
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

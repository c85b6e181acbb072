"""``rader models``."""

from __future__ import annotations

import typer

from rader_plugins.cli.options import JsonOutput
from rader_plugins.cli.output import emit_json, table, wrap
from rader_plugins.recipes import RECIPES

__all__ = ["models"]


def models(json: JsonOutput = False) -> None:
    """List the models that are known by name."""
    if json:
        emit_json([{**recipe.to_dict(), "fingerprint": recipe.fingerprint} for recipe in RECIPES.values()])
        return
    sources: dict[str, int] = {}
    rows = []
    for recipe in RECIPES.values():
        number = sources.setdefault(recipe.source, len(sources) + 1)
        rows.append(
            [
                recipe.name,
                recipe.kind,
                str(recipe.dimension or "-"),
                f"{recipe.max_query_length} / {recipe.max_document_length}",
                recipe.licence or "not stated",
                f"[{number}]",
            ]
        )
    lines = table(["name", "kind", "dim", "tokens (query / doc)", "licence", "source"], rows, right="llrrll")
    shown = [lines[0]]
    for line, recipe in zip(lines[1:], RECIPES.values(), strict=True):
        shown += [line, f"    {recipe.model}"]
    shown += ["", "Sources of the recipes (templates, pooling, lengths):"]
    for source, number in sources.items():
        shown += wrap(source, first=f"{f'[{number}]':>5} ", rest=" " * 6)
    typer.echo("\n".join(shown))

"""``rader models``."""

from __future__ import annotations

from typing import Any

import typer

from rader_plugins.cli.options import JsonOutput
from rader_plugins.cli.output import emit_json, table, width, wrap
from rader_plugins.recipes import RECIPES, Recipe
from rader_plugins.recipes.training_data import training_data

__all__ = ["models"]


def models(json: JsonOutput = False) -> None:
    """List the models that are known by name."""
    if json:
        emit_json([_as_object(recipe) for recipe in RECIPES.values()])
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
                _saw_bright(recipe.model),
                f"[{number}]",
            ]
        )
    headers = ["name", "kind", "dim", "tokens (q/doc)", "licence", "saw BRIGHT's corpora", "source"]
    lines = table(headers, rows, right="llrrlll")
    parts = [lines[0]]
    if max(map(len, lines)) <= width():
        for line, recipe in zip(lines[1:], RECIPES.values(), strict=True):
            parts += [line, f"    {recipe.model}"]
    else:  # what does not fit beside the name goes below it
        lines = table(headers[:4], [row[:4] for row in rows], right="llrr")
        parts = [lines[0]]
        for line, row, recipe in zip(lines[1:], rows, RECIPES.values(), strict=True):
            parts += [line, f"    {recipe.model}", f"    {row[4]}; BRIGHT: {row[5]} {row[6]}"]
    parts += ["", "Sources of the recipes (templates, pooling, lengths):"]
    for source, number in sources.items():
        parts += wrap(source, first=f"{f'[{number}]':>5} ", rest=" " * 6)
    data = {recipe.model: training_data(recipe.model) for recipe in RECIPES.values()}
    remarks = dict.fromkeys(of_model.remark for of_model in data.values() if of_model is not None)
    intro = "What they were trained on, as far as it is stated (figures of a model that saw BRIGHT's corpora are higher"
    parts += ["", *wrap(f"{intro} on BRIGHT than on a corpus of one's own):")]
    for remark in remarks:
        names = [recipe.name for recipe in RECIPES.values() if (of := data[recipe.model]) and of.remark == remark]
        parts += wrap(f"{', '.join(names)}: {remark}", first="  ", rest="    ")
    typer.echo("\n".join(parts))


def _saw_bright(model: str) -> str:
    data = training_data(model)
    if data is None:
        return "not stated"
    return (", ".join(data.splits) or "yes") if data.saw_bright else "not listed"


def _as_object(recipe: Recipe) -> dict[str, Any]:
    data = training_data(recipe.model)
    training = {"saw_bright": None if data is None else data.saw_bright, "trained_on": data.remark if data else None}
    return {**recipe.to_dict(), "fingerprint": recipe.fingerprint, **training}

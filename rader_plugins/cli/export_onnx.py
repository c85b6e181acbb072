"""``rader export-onnx``: a model that runs without torch, of one that runs with it."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from rader_plugins.arguments import expand_path
from rader_plugins.cli.options import JsonOutput, TrustRemoteCode
from rader_plugins.cli.output import emit_json, facts, human_bytes

__all__ = ["export_onnx"]


class WeightPrecision(str, Enum):
    """In what the weights are written."""

    fp32 = "fp32"
    fp16 = "fp16"
    int8 = "int8"


def export_onnx(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="Encoder or reranker: registered name, model directory or hub id.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            metavar="DIR",
            callback=expand_path,
            help="New directory, which --model, --rerank, load_encoder and load_reranker take.",
            show_default=False,
        ),
    ],
    precision: Annotated[
        WeightPrecision,
        typer.Option("--precision", help="Of the weights; one that costs quality is refused."),
    ] = WeightPrecision.fp32,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe", metavar="NAME", help="Registered name of the recipe of a directory or hub id that states none."
        ),
    ] = None,
    trust_remote_code: TrustRemoteCode = False,
    json: JsonOutput = False,
) -> None:
    """Write a model in ONNX form, which runs without torch and is searched with the same indexes.

    Original and copy are compared on the bundled corpus; one that is too far from the original is not written.
    """
    from rader_plugins.recipes.resolve import resolve_any
    from rader_plugins.reranking.onnx_export import export_model

    resolved = resolve_any(model, recipe)
    exported = export_model(
        resolved.recipe,
        resolved.location,
        out,
        precision=precision.value,
        trust_remote_code=trust_remote_code,
    )
    if json:
        emit_json(
            {
                "folder": str(exported.folder),
                "kind": exported.kind,
                "precision": exported.precision,
                "agreement": exported.agreement,
                "compared": exported.compared,
                "bytes": exported.bytes,
                "fingerprint": exported.fingerprint,
            }
        )
        return
    measure, unit = "smallest cosine to the original", "texts"
    if exported.kind == "reranker":
        measure, unit = "correlation with the original", "pairs"
    written = f"{exported.folder} ({exported.kind}, {precision.value}, {human_bytes(exported.bytes)})"
    rows = [
        ("written", written),
        (measure, f"{exported.agreement:.6f} over {exported.compared} {unit}"),
        ("fingerprint", f"{exported.fingerprint}, the original's"),
    ]
    typer.echo("\n".join(facts(rows)))

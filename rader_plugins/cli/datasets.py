"""What a user may name as a data set: a folder, a split of BRIGHT, or a repository of the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rader_plugins.errors import InputError

if TYPE_CHECKING:
    from rader_plugins.evaluation import RetrievalDataset

__all__ = ["DataDir", "DatasetName", "open_dataset"]

DatasetName = Annotated[
    str,
    typer.Argument(
        metavar="DATASET",
        help="BEIR folder (corpus.jsonl, queries.jsonl, qrels/); bright:SPLIT or bright:SPLIT@REASONING such as "
        "bright:aops@gpt4, with long documents bright-long:SPLIT; or hub:ORGANISATION/NAME (or NAME@REVISION) for a "
        "BEIR-format data set of the Hugging Face hub.",
        show_default=False,
    ),
]
DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        metavar="DIR",
        help="Copy of the hub's repository to read bright: or hub: from; nothing is fetched then.",
    ),
]


def open_dataset(name: str, split: str | None = None, data_dir: Path | None = None) -> RetrievalDataset:
    """Load the data set that a user named.

    Raises:
        InputError: There is none of that name, or the options do not go with it.
    """
    from rader_plugins.evaluation import RetrievalDataset

    kind, _, rest = name.partition(":")
    if kind in ("bright", "bright-long"):
        if split is not None:
            raise InputError(f"The split of BRIGHT stands in its name: {kind}:{split}, without --split.")
        found, _, reasoning = rest.partition("@")
        return RetrievalDataset.bright(
            found, reasoning=reasoning or None, long=kind == "bright-long", data_dir=data_dir
        )
    if kind == "hub":
        repo, _, revision = rest.partition("@")
        return RetrievalDataset.from_hub(repo, split or "test", revision=revision or None, data_dir=data_dir)
    if data_dir is not None:
        raise InputError("--data-dir goes with bright:SPLIT or hub:ORGANISATION/NAME; a folder is named as it is.")
    return RetrievalDataset.from_folder(name, split or "test")

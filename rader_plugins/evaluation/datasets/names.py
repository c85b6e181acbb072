"""Data sets by the names that users give them: a folder, a split of BRIGHT, a repository of the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from rader_plugins.errors import InputError
from rader_plugins.evaluation.datasets.dataset import RetrievalDataset

__all__ = ["is_remote", "open_dataset"]


def is_remote(name: str) -> bool:
    """Whether a name is one of BRIGHT or of the hub, and no folder's."""
    return name.partition(":")[0] in ("bright", "bright-long", "hub")


def open_dataset(name: str, split: str | None = None, data_dir: Path | None = None) -> RetrievalDataset:
    """Load the data set that a user named.

    Args:
        name: A BEIR folder; ``bright:SPLIT`` or ``bright:SPLIT@REASONING``, with long documents ``bright-long:SPLIT``;
            ``hub:ORGANISATION/NAME`` or ``hub:ORGANISATION/NAME@REVISION``.
        split: Of a folder or of the hub; by default ``test``, or the only one that there is.
        data_dir: Copy of the hub's repository, in place of fetching it.

    Raises:
        InputError: There is none of that name, or the options do not go with it.
    """
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
        return RetrievalDataset.from_hub(repo, split, revision=revision or None, data_dir=data_dir)
    if data_dir is not None:
        raise InputError("--data-dir goes with bright:SPLIT or hub:ORGANISATION/NAME; a folder is named as it is.")
    return RetrievalDataset.from_folder(name, split)

"""Data sets by the names that users give them: a folder, a bundled set, a split of BRIGHT, a repository of the hub."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rader_plugins.errors import InputError
from rader_plugins.evaluation.datasets.bright import LONG_SPLITS, check_split
from rader_plugins.evaluation.datasets.bright_pro import PRO_SPLITS, check_pro_split
from rader_plugins.evaluation.datasets.bundled import bundled_folder, bundled_name
from rader_plugins.evaluation.datasets.dataset import RetrievalDataset
from rader_plugins.recipes import BRIGHT_INSTRUCTIONS

__all__ = ["check_names", "expand_names", "is_remote", "open_dataset"]

_SPLITS = {"bright": tuple(BRIGHT_INSTRUCTIONS), "bright-long": LONG_SPLITS, "bright-pro": PRO_SPLITS}
"""What ``all`` stands for behind each name."""


def is_remote(name: str) -> bool:
    """Whether a name is one of BRIGHT or of the hub, and no folder's."""
    return name.partition(":")[0] in (*_SPLITS, "hub")


def open_dataset(name: str, split: str | None = None, data_dir: Path | None = None) -> RetrievalDataset:
    """Load the data set that a user named.

    Args:
        name: A BEIR folder; ``bundled:NAME``, which comes with the library; ``bright:SPLIT`` or
            ``bright:SPLIT@REASONING``, with long documents ``bright-long:SPLIT``; ``bright-pro:SPLIT``;
            ``hub:ORGANISATION/NAME`` or ``hub:ORGANISATION/NAME@REVISION``.
        split: Split of a folder or of the hub; by default ``test``, or the only one that there is.
        data_dir: Copy of the hub's repository, in place of fetching it.

    Raises:
        InputError: There is none of that name, or the options do not go with it.
    """
    kind, _, reference = name.partition(":")
    if kind in _SPLITS:
        if split is not None:
            raise InputError(f"The split of BRIGHT stands in its name: {kind}:{split}, without --split.")
        if kind == "bright-pro":
            return RetrievalDataset.bright_pro(reference, data_dir=data_dir)
        part, _, reasoning = reference.partition("@")
        return RetrievalDataset.bright(part, reasoning=reasoning or None, long=kind == "bright-long", data_dir=data_dir)
    if kind == "hub":
        repo, _, revision = reference.partition("@")
        return RetrievalDataset.from_hub(repo, split, revision=revision or None, data_dir=data_dir)
    if data_dir is not None:
        raise InputError("--data-dir goes with bright:SPLIT or hub:ORGANISATION/NAME; a folder is named as it is.")
    if (bundled := bundled_name(name)) is not None:
        return RetrievalDataset.bundled(bundled, split)
    return RetrievalDataset.from_folder(name, split)


def expand_names(names: Sequence[str]) -> list[str]:
    """Return names of single data sets: ``bright:all`` (and ``bright:all@gpt4``, ``bright-long:all``,
    ``bright-pro:all``) stands for many.

    Raises:
        InputError: One stands twice.

    Example:
        >>> len(expand_names(["bright:all@gpt4"])), expand_names(["bright:aops,pony"])
        (12, ['bright:aops', 'bright:pony'])
    """
    expanded: list[str] = []
    for name in names:
        kind, _, reference = name.partition(":")
        if kind not in _SPLITS:
            expanded.append(name)
            continue
        splits, at, reasoning = reference.partition("@")
        parts = list(_SPLITS[kind]) if splits == "all" else splits.split(",")
        expanded += [f"{kind}:{part}{at}{reasoning}" for part in parts]
    if twice := next((name for name in expanded if expanded.count(name) > 1), None):
        raise InputError(f"The data set {twice} is named twice.")
    return expanded


def check_names(names: Sequence[str]) -> list[str]:
    """Return the names of single data sets, before the first of them is loaded.

    Raises:
        InputError: A split of BRIGHT, a bundled set or a folder does not exist, or a name stands twice.
    """
    expanded = expand_names(names)
    for name in expanded:
        kind, _, reference = name.partition(":")
        if kind == "bright-pro":
            check_pro_split(reference)
        elif kind in _SPLITS:
            check_split(*reference.partition("@")[::2], long=kind == "bright-long")
        elif (bundled := bundled_name(name)) is not None:
            bundled_folder(bundled)
        elif not is_remote(name) and not Path(name).is_dir():
            raise InputError(f"There is no folder {name}. A data set is a BEIR folder with corpus.jsonl.")
    return expanded

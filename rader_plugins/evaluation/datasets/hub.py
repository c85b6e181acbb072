"""Rows of a data set of the Hugging Face hub: from the hub through ``datasets``, or from a copy in a local folder."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rader_plugins.errors import InputError, RaderError, import_extra

__all__ = ["SAME_SPLIT", "HubData"]

_BUILDERS = {".parquet": "parquet", ".jsonl": "json", ".json": "json", ".tsv": "csv", ".csv": "csv"}
_ENDINGS = tuple(ending + packed for ending in _BUILDERS for packed in ("", ".gz"))
_BATCH = 1000
SAME_SPLIT = {"dev": "validation", "validation": "dev"}
"""The hub calls a file dev.* the split "validation"."""


@dataclass(frozen=True)
class HubData:
    """A data set repository.

    No code of the repository is run: ``datasets`` reads data files alone.

    Args:
        repo: Repository on the hub, as ``organisation/name``.
        revision: Commit, tag or branch; None takes the main branch.
        folder: A copy of the repository, or of the part that is needed; then nothing is fetched. Files that are named
            as on the hub (``<config>/<split>-00000-of-00001.parquet``, ``<config>.jsonl``) need no ``README.md``;
            otherwise that file says where they are, as it does on the hub.
        wanted: Patterns of the files that are needed, for the message that says what to download.
    """

    repo: str
    revision: str | None = None
    folder: Path | None = None
    wanted: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.folder is not None and not self.folder.is_dir():
            raise InputError(f"There is no folder {self.folder}. {self.how_to_copy()}")

    def configs(self) -> list[str]:
        """Return the names of the configurations that the repository has on the hub.

        Raises:
            RaderError: The hub cannot be reached, or the repository is not there.
        """
        datasets = import_extra("datasets", "hub")
        try:
            names: list[str] = datasets.get_dataset_config_names(self.repo, revision=self.revision)
        except (OSError, ValueError) as error:
            raise self._unusable("its configurations", error) from error
        return names

    def splits(self, config: str) -> list[str]:
        """Return the names of the splits of a configuration.

        Raises:
            RaderError: The hub cannot be reached and the data is not in the cache.
            InputError: There is no such repository or configuration.
        """
        datasets = import_extra("datasets", "hub")
        try:
            if self.folder is None:
                return list(datasets.load_dataset(self.repo, config, revision=self.revision))
            if stems := {_split_name(file) for file in _data_files(self.folder / config)}:
                return sorted(stems)
            if (self.folder / "README.md").is_file():
                return list(datasets.load_dataset(str(self.folder), config, streaming=True))
        except (OSError, ValueError) as error:
            raise self._unusable(f"the splits of {config!r}", error) from error
        return []

    def rows(self, config: str, split: str, columns: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
        """Yield the rows of one split of one configuration.

        A configuration with a single split gives that one whatever it is called (``corpus``, ``test``, ``train``).

        Args:
            config: Name of the configuration.
            split: Name of the split.
            columns: What to read, as far as it is there; nothing takes every column.

        Raises:
            RaderError: The hub cannot be reached and the data is not in the cache.
            InputError: There is no such repository, configuration, split or file.
        """
        what = f"configuration {config!r}, split {split!r}"
        import_extra("datasets", "hub")
        try:
            table = self._remote(config, split) if self.folder is None else self._local(self.folder, config, split)
            names = [name for name in columns if name in (table.column_names or ())]
            selected = table.select_columns(names) if names else table
            for batch in selected.iter(batch_size=_BATCH):
                yield from (dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True))
        except (OSError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise self._unusable(what, error) from error

    def has_files(self, config: str) -> bool:
        """Whether the local copy has data files of a configuration, whatever their split."""
        return self.folder is not None and bool(_data_files(self.folder / config))

    def files(self, config: str, split: str) -> list[Path]:
        """Return the files of a split in the local copy, by their names; none if the names do not tell.

        They lie at ``<config>/<split>``, ``<config>`` or ``<config>/<config>``, each with a shard number or
        none, and an ending.
        """
        if self.folder is None:
            return []
        inside = _data_files(self.folder / config)
        for name in (split, SAME_SPLIT.get(split, split)):
            if files_of_split := _named(inside, name):
                return files_of_split
        return _named(_data_files(self.folder), config) or _named(inside, config)

    def how_to_copy(self) -> str:
        """Say how to get a copy onto a machine without a network."""
        name = self.repo.rpartition("/")[2]
        options = "".join(f" --include {shlex.quote(pattern)}" for pattern in self.wanted)
        revision = f" --revision {shlex.quote(self.revision)}" if self.revision else ""
        return (
            f"On a machine with a network run\n"
            f"    hf download {self.repo} --repo-type dataset{revision}{options} --local-dir {name}\n"
            f"bring the folder {name} here and name it: data_dir={name!r}, or --data-dir {name} on the command line."
        )

    def _remote(self, config: str, split: str) -> Any:
        datasets = import_extra("datasets", "hub")
        return self._chosen(datasets.load_dataset(self.repo, config, revision=self.revision), config, split)

    def _local(self, folder: Path, config: str, split: str) -> Any:
        datasets = import_extra("datasets", "hub")
        # Streaming reads the files where they lie, without a second copy in the cache.
        if files := self.files(config, split):
            options = {"sep": "\t"} if files[0].name.removesuffix(".gz").endswith(".tsv") else {}
            names = [str(file) for file in files]
            return datasets.load_dataset(
                _builder(files[0]), data_files={"rows": names}, split="rows", streaming=True, **options
            )
        if not (folder / "README.md").is_file():
            raise InputError(
                f"{folder} has no file of configuration {config!r}, split {split!r} (such as "
                f"{config}/{split}-00000-of-00001.parquet), and no README.md that says where it is. "
                f"{self.how_to_copy()}"
            )
        return self._chosen(datasets.load_dataset(str(folder), config, streaming=True), config, split)

    def _chosen(self, splits: Any, config: str, split: str) -> Any:
        for name in (split, SAME_SPLIT.get(split, split)):
            if name in splits:
                return splits[name]
        if len(splits) == 1:
            return next(iter(splits.values()))
        raise InputError(
            f"{self.repo}, configuration {config!r}, has no split {split!r}. It has: {', '.join(map(str, splits))}."
        )

    def _unusable(self, what: str, error: Exception) -> RaderError:
        reason = " ".join(str(error).split())
        if self.folder is not None:
            return InputError(f"{self.folder}, {what}, cannot be read: {reason}")
        message = f"{self.repo}, {what}, could not be read from the Hugging Face hub: {reason}\n{self.how_to_copy()}"
        return RaderError(message) if isinstance(error, ConnectionError) else InputError(message)


def _builder(file: Path) -> str:
    return _BUILDERS[Path(file.name.removesuffix(".gz")).suffix]


def _data_files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.glob("*") if file.is_file() and file.name.endswith(_ENDINGS))


def _named(files: Sequence[Path], name: str) -> list[Path]:
    """Return the files called ``name.*``, or the shards ``name-00000-of-00002.*``; of one ending."""
    matching = [file for file in files if _stem(file) == name or _stem(file).startswith(f"{name}-0")]
    return [file for file in matching if _builder(file) == _builder(matching[0])]


def _split_name(file: Path) -> str:
    """Return ``test`` of ``test.tsv`` and of ``test-00000-of-00001.parquet``."""
    return re.sub(r"-\d+(-of-\d+)?$", "", _stem(file))


def _stem(file: Path) -> str:
    name = file.name.removesuffix(".gz")
    return name[: -len(Path(name).suffix)]

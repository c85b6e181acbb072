"""Which kinds of files can be imported: those of this package, and those that other packages add."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any

from rader_plugins.errors import InputError
from rader_synthesis.importing.base import FileImporter
from rader_synthesis.importing.rows import read_rows

__all__ = ["AUTO", "GROUP", "importer_class", "importer_kinds", "recognize"]

GROUP = "rader.importers"
AUTO = "auto"
_ROWS_TO_LOOK_AT = 20
_SURE = 0.5


@cache  # asked once for each kind, and each time the metadata of every installed package would be read
def importer_kinds() -> Mapping[str, EntryPoint]:
    """Return the entry points by kind, those of this package first."""
    points = sorted(entry_points(group=GROUP), key=lambda point: not point.value.startswith("rader_synthesis."))
    kinds: dict[str, EntryPoint] = {}
    for point in points:
        kinds.setdefault(point.name, point)
    return MappingProxyType(kinds)


def importer_class(kind: str) -> type[FileImporter]:
    """Return the importer of a kind.

    Raises:
        InputError: There is none, or the package that adds it cannot be imported.
    """
    kinds = importer_kinds()
    if kind not in kinds:
        names = ", ".join([AUTO, *sorted(kinds)])
        raise InputError(
            f"There is no importer {kind!r}; there are {names}. `rader import function` calls a function of your own "
            "on every row, and a package adds a kind by an entry point of the group rader.importers."
        )
    point = kinds[kind]
    try:
        importer = point.load()
    except Exception as error:  # what a package of others raises on import may be anything
        raise InputError(f"The importer {kind!r} ({point.value}) cannot be loaded: {error!r}.") from error
    if not (isinstance(importer, type) and issubclass(importer, FileImporter)):
        raise InputError(f"The importer {kind!r} ({point.value}) is no class derived from FileImporter.")
    return importer


def recognize(paths: list[Path]) -> str:
    """Return the kind of some files, by their first rows.

    Raises:
        InputError: They are of no kind that an importer knows, or of several.
    """
    importers = {kind: importer_class(kind) for kind in importer_kinds()}
    kinds = {path: _kind_of(path, importers) for path in paths}
    distinct = set(kinds.values())
    if len(distinct) > 1:
        names = ", ".join(f"{path.name}: {kind}" for path, kind in kinds.items())
        raise InputError(f"The files are of several kinds ({names}); import each by itself.")
    return distinct.pop()


def _kind_of(path: Path, importers: dict[str, type[FileImporter]]) -> str:
    if path.is_dir():
        return "rader"
    values: list[Any] = []
    for row in islice(read_rows(path), _ROWS_TO_LOOK_AT):
        try:
            values.append(row.value())
        except InputError:
            continue
    scores = {kind: sum(importer.recognizes(value) for value in values) for kind, importer in importers.items()}
    best = max(scores, key=scores.__getitem__) if scores else ""
    if not values:
        raise InputError(f"{path} holds no rows that are JSON; name its kind.")
    if scores[best] < _SURE * len(values) / 2:
        keys = next((", ".join(map(str, list(value)[:12])) for value in values if isinstance(value, dict)), "none")
        raise InputError(
            f"{path} is of no kind that is recognised (fields of its rows: {keys}). Name the kind, or read it with a "
            "function of your own: rader import function FILE --function module:function."
        )
    return best

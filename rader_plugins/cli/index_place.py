"""`IndexPlace`: where a command's index is, as it was written: a folder, or the URL of an engine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rader_plugins.arguments import expand_path
from rader_plugins.errors import InputError

if TYPE_CHECKING:
    from rader_plugins.encoding import Encoder
    from rader_plugins.index import Bm25Config, Index
    from rader_plugins.ingestion.build_record import BuildRecord

__all__ = ["IndexPlace"]

_NOTE = "build"


class IndexPlace:
    """A folder or a URL. Nothing is looked at before it is asked for.

    Args:
        text: The folder or URL as the user wrote it: a shell leaves ~ alone in ``--out=~/index``, and everything in
            quotes.
    """

    def __init__(self, text: str) -> None:
        from rader_plugins.index.engine_entries import check_slashes

        check_slashes(text)
        is_url = "://" in text and not Path(text).exists()
        self.url = text.strip() if is_url else None
        self.folder = None if is_url else expand_path(Path(text))

    def __str__(self) -> str:
        """Return it as it may be shown: without a password."""
        if self.url is None:
            return str(self.folder)
        from rader_plugins.engines.urls import EngineUrl

        return EngineUrl.parse(self.url).shown

    @property
    def where(self) -> str | Path:
        """What :func:`rader_plugins.open_index` takes."""
        return self.url or self.needed_folder

    @property
    def needed_folder(self) -> Path:
        """Return the folder; raise :class:`InputError` for the URL of an engine.

        Raises:
            InputError: It is a URL.
        """
        if self.folder is None:
            raise InputError(f"This is done in a folder, and {self} is an engine's: it looks after its own files.")
        return self.folder

    def exists(self) -> bool:
        """Whether there is an index."""
        from rader_plugins.index import RaderIndex, find_index

        if self.folder is not None:
            return RaderIndex.exists(self.folder)
        index = find_index(self.where)
        if index is not None:
            index.close()
        return index is not None

    def open(self, encoder: Encoder | None = None, *, verify: bool | None = None) -> Index:
        """Open the index.

        Raises:
            InputError: There is none.
        """
        from rader_plugins.index import RaderIndex, open_index

        if self.folder is not None:
            return RaderIndex.open(self.folder, encoder, verify=verify)
        return open_index(self.where, encoder)

    def create(
        self, encoder: Encoder | None, dtype: Literal["float32", "float16"], ann: str | None, bm25: Bm25Config
    ) -> Index:
        """Make a new index."""
        from rader_plugins.index import create_index

        return create_index(self.where, encoder, dtype=dtype, ann=ann, bm25=bm25)

    def read_record(self) -> BuildRecord | None:
        """Return how the index was built; None if there is none, or it does not remember."""
        from rader_plugins.ingestion.build_record import BuildRecord

        if self.folder is not None:
            return BuildRecord.read(self.folder)
        if not self.exists():
            return None
        with self._noting() as index:
            note = index.note(_NOTE)
        return None if note is None else BuildRecord.from_json(note.decode("utf-8"), str(self))

    def write_record(self, record: BuildRecord) -> None:
        """Note how the index is built."""
        if self.folder is not None:
            record.write(self.folder)
            return
        with self._noting() as index:
            index.set_note(_NOTE, record.to_json())

    def _noting(self) -> Any:
        from rader_plugins.engines.index import EngineIndex

        index = self.open()
        if not isinstance(index, EngineIndex):
            raise InputError(f"{self} belongs to an engine that keeps no notes: build it in Python, with index.add().")
        return index

"""A corpus that negatives are drawn from at random."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rader_plugins.errors import InputError, import_extra
from rader_plugins.ingestion import Source, open_source
from rader_training.data import Group, quiet_datasets

__all__ = ["Corpus"]


class Corpus:
    """Documents in a file that is mapped into memory, which does not grow with their number.

    Args:
        path: What ``rader index build`` takes: a folder of texts, a BEIR folder or a JSONL file.
        cache: Where the file goes.

    Raises:
        InputError: It is none of these, or holds no documents.
    """

    def __init__(self, path: str | os.PathLike[str], cache: Path) -> None:
        datasets = import_extra("datasets", "training")
        source = open_source(Path(path))
        content, count = hashlib.blake2b(digest_size=16), 0
        for document in source.documents():
            count += 1
            for text in (document.id, document.text):
                raw = text.encode("utf-8")
                content.update(b"%d:" % len(raw) + raw)
        if not count:
            raise InputError(f"{path} holds no documents to draw negatives from.")
        self.digest = content.hexdigest()
        features = datasets.Features({"id": datasets.Value("string"), "text": datasets.Value("large_string")})
        with quiet_datasets():
            self._rows: Any = datasets.Dataset.from_generator(
                _rows,
                features,
                cache_dir=str(cache),
                gen_kwargs={"source": source},
                fingerprint=self.digest,  # named by content: a file of that name needs not be made again
            )

    def __len__(self) -> int:
        return len(self._rows)

    def texts(self) -> Iterator[str]:
        """Return the text of every document."""
        for row in self._rows:
            yield row["text"]

    def draw(self, groups: Sequence[Group], count: int) -> list[str]:
        """Return the texts of up to ``count`` documents, drawn evenly and without repetition.

        None is a positive of one of the groups, by id or by text, nor the text of a passage that they hold already.
        The same groups of the same epoch get the same documents.
        """
        ids = frozenset[str]().union(*(group.known_ids for group in groups))
        taken = {text for group in groups for text in (*group.known, *group.negatives)}
        rng = random.Random("|".join(group.draw for group in groups))
        tried: set[int] = set()
        found: list[str] = []
        while len(found) < count and len(tried) < len(self):
            place = rng.randrange(len(self))
            if place in tried:
                continue
            tried.add(place)
            row = self._rows[place]
            if row["id"] not in ids and row["text"] not in taken:
                taken.add(row["text"])
                found.append(row["text"])
        return found


def _rows(source: Source) -> Iterator[dict[str, str]]:
    for document in source.documents():
        yield {"id": document.id, "text": document.text}

"""A corpus that negatives are drawn from at random."""

from __future__ import annotations

import hashlib
import itertools
import os
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rader_plugins.errors import InputError, import_extra
from rader_plugins.ingestion import open_source
from rader_plugins.ingestion.findings import Findings
from rader_plugins.samples import Sample
from rader_training.data.groups import Group
from rader_training.data.rows import quiet_datasets

__all__ = ["Corpus"]

Texts = Callable[[], Iterator[tuple[str, str]]]


class Corpus:
    """Documents in a file that is mapped into memory, which does not grow with their number.

    Args:
        path: What ``rader index build`` takes: a folder of texts, a BEIR folder or a JSONL file.
        cache: Where the file goes.

    Raises:
        InputError: It is none of these, or holds no documents.
    """

    def __init__(self, path: str | os.PathLike[str], cache: Path) -> None:
        source = open_source(Path(path))

        def texts() -> Iterator[tuple[str, str]]:
            findings = Findings()
            for _, document in source.read(findings):
                yield document.id, document.text
            if next(readings) == 0:
                source.warn(findings)

        readings = itertools.count()
        self._store(texts, cache, str(path))

    @classmethod
    def of_samples(cls, samples: Callable[[], Iterable[Sample]], cache: Path) -> Corpus:
        """Make a corpus of the passages of samples, each once.

        Args:
            samples: Returns them; called more than once.
            cache: Where the file goes.
        """

        def texts() -> Iterator[tuple[str, str]]:
            seen: set[bytes] = set()
            for sample in samples():
                for passage in (*sample.positives, *sample.negatives):
                    name = hashlib.blake2b(passage.id.encode(), digest_size=8).digest()
                    if name not in seen and passage.full_text.strip():
                        seen.add(name)
                        yield passage.id, passage.full_text

        corpus = cls.__new__(cls)
        corpus._store(texts, cache, "the samples")
        return corpus

    def _store(self, texts: Texts, cache: Path, name: str) -> None:
        datasets = import_extra("datasets", "training")
        content, count = hashlib.blake2b(digest_size=16), 0
        for identity, text in texts():
            count += 1
            for part in (identity, text):
                raw = part.encode("utf-8")
                content.update(b"%d:" % len(raw) + raw)
        if not count:
            raise InputError(f"{name} holds no documents to draw negatives from.")
        self.digest = content.hexdigest()

        def rows() -> Iterator[dict[str, str]]:
            for identity, text in texts():
                yield {"id": identity, "text": text}

        features = datasets.Features({"id": datasets.Value("string"), "text": datasets.Value("large_string")})
        with quiet_datasets():
            self._rows: Any = datasets.Dataset.from_generator(
                rows,
                features,
                cache_dir=str(cache),
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
        ids = frozenset[str]().union(*(group.positive_ids for group in groups))
        taken = {text for group in groups for text in (*group.positive_texts, *group.negatives)}
        rng = random.Random("|".join(group.draw for group in groups))
        tried: set[int] = set()
        texts: list[str] = []
        while len(texts) < count and len(tried) < len(self):
            number = rng.randrange(len(self))
            if number in tried:
                continue
            tried.add(number)
            row = self._rows[number]
            if row["id"] not in ids and row["text"] not in taken:
                taken.add(row["text"])
                texts.append(row["text"])
        return texts

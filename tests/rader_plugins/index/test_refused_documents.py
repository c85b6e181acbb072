"""A server that refuses the texts of some documents: the others are stored, and the error names those by their ids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rader_plugins import Document, RaderIndex, RaderRetriever
from rader_plugins.encoding.cache import CachedEncoder, VectorCache
from rader_plugins.errors import RefusedDocumentsError
from rader_plugins.ingestion import ingest, open_source, survey
from tests.rader_plugins.encoding.test_http_refusals import AnsweringServer, connect, refusing

LONG = "x" * 50


def documents(*refused: int) -> list[Document]:
    return [Document(f"d{n}", f"{LONG} {n}" if n in refused else f"text {n}") for n in range(12)]


@pytest.mark.parametrize("refused", [(0,), (3, 11), (5, 6, 7)])
@pytest.mark.parametrize("commit_every", [1, 5, 100])
@pytest.mark.parametrize("cached", [False, True])
def test_the_others_are_stored(tmp_path: Path, refused: tuple[int, ...], commit_every: int, cached: bool) -> None:
    with AnsweringServer(refusing(400, longest=20, message="too long")) as server, connect(server) as encoder:
        model: Any = CachedEncoder(encoder, VectorCache(tmp_path / "cache.sqlite")) if cached else encoder
        index = RaderIndex.create(tmp_path / "index", encoder=model)
        with pytest.raises(RefusedDocumentsError, match=rf"d{refused[0]}: .*too long") as caught:
            index.add(documents(*refused), commit_every=commit_every)
        assert list(caught.value.refused) == [f"d{n}" for n in refused]
        assert caught.value.report.added == 12 - len(refused)
        assert caught.value.report.skipped == len(refused)
        assert sorted(index.ids()) == sorted(f"d{n}" for n in range(12) if n not in refused)
        index.verify()
        assert RaderRetriever(index, "dense").search("text 1", 1)[0].document.id == "d1"
        assert index.add(documents()) == len(refused), "what was refused comes in when it is shortened"


def test_a_stored_document_whose_new_text_is_refused_stays_as_it_was(tmp_path: Path) -> None:
    with AnsweringServer(refusing(400, longest=20)) as server, connect(server) as encoder:
        index = RaderIndex.create(tmp_path / "index", encoder=encoder)
        index.add(documents())
        with pytest.raises(RefusedDocumentsError):
            index.add(documents(4))
        assert index.get(["d4"])[0].text == "text 4"


def test_an_ingestion_goes_on_and_names_them(tmp_path: Path) -> None:
    source = tmp_path / "texts"
    source.mkdir()
    for number in range(40):
        (source / f"{number:02d}.txt").write_text(LONG if number == 3 else f"text {number}")
    with AnsweringServer(refusing(400, longest=20, message="too long")) as server, connect(server) as encoder:
        index = RaderIndex.create(tmp_path / "index", encoder=encoder)
        outcome = ingest(index, survey(open_source(source)))
    assert list(outcome.refused) == ["03.txt"]
    assert "too long" in outcome.refused["03.txt"]
    assert (outcome.added, len(index)) == (39, 39)

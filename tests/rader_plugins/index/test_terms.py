"""The analysis of words is stored with an index, and terms of two analyses never stand side by side."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from rader_plugins import Document, RaderIndex, RaderRetriever
from rader_plugins.analysis import ANALYZER, Analyzer
from rader_plugins.errors import InputError, OutdatedTermsWarning
from rader_plugins.index import Bm25Config
from tests.support.encoders import WORDS, HashEncoder

TEXTS = [
    "die Häuser der Stadt",
    "cafe\u0301 au lait",
    "हिन्दी भाषा",
    "全文搜索引擎",
    "get_user_name of foo.bar",
    "plain words",
]
QUERIES = ["haus", "café", "हिन्दी", "搜索", "user", "plain lait"]


def scores(index: RaderIndex) -> list[dict[str, float]]:
    retriever = RaderRetriever(index, mode="bm25")
    return [{hit.document.id: hit.score for hit in hits} for hits in retriever.search_batch(QUERIES, 10)]


def documents(*texts: str) -> list[Document]:
    return [Document(text, text) for text in texts]


def fresh(*texts: str, bm25: Bm25Config | None = None) -> list[dict[str, float]]:
    index = RaderIndex.create(None, encoder=HashEncoder(), bm25=bm25)
    index.add(documents(*texts))
    return scores(index)


@pytest.mark.parametrize("change", ["add", "optimize"])
@pytest.mark.parametrize("before", ["rader/1:english", None])
def test_another_analysis_renews_all_terms_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str, before: str | None
) -> None:
    with RaderIndex.create(tmp_path / "index", HashEncoder()) as index:
        with monkeypatch.context() as patch:
            patch.setattr(Analyzer, "terms", lambda self, text: text.upper().split())
            index.add(documents(*TEXTS[:-1]))
            index.optimize()
        with index._home.store.writing() as changes:  # as an earlier version left it
            changes._database.execute("DELETE FROM meta WHERE key = 'analyzer'")
            if before is not None:
                changes.set_meta({"analyzer": before})
    with RaderIndex.open(tmp_path / "index", HashEncoder()) as index, RaderIndex.open(tmp_path / "index") as reader:
        assert index.stats()["analyzer"] == (before or "lucene-english/1")
        with pytest.warns(OutdatedTermsWarning, match=f"{before or 'lucene-english/1'}.*optimize"):
            scores(reader)
        scores(reader)  # it is said once
        if change == "add":
            index.add(documents(TEXTS[-1]))
        else:
            index.optimize()
        expected = fresh(*(TEXTS if change == "add" else TEXTS[:-1]))
        assert scores(index) == scores(reader) == expected
        assert index.stats()["analyzer"] == ANALYZER
    with RaderIndex.open(tmp_path / "index", HashEncoder()) as index:
        assert scores(index) == expected


@pytest.mark.parametrize("options", [{"language": "german"}, {"identifiers": True}, {"language": "none"}])
def test_an_index_keeps_its_language(tmp_path: Path, options: dict[str, object]) -> None:
    config = Bm25Config(**options)  # type: ignore[arg-type]
    with RaderIndex.create(tmp_path / "index", HashEncoder(), bm25=config) as index:
        index.add(documents(*TEXTS))
        ranking = scores(index)
        index.copy_to(tmp_path / "copy")
    assert ranking == fresh(*TEXTS, bm25=config)
    for name in ("index", "copy"):
        with RaderIndex.open(tmp_path / name, HashEncoder()) as index:
            assert scores(index) == ranking
            assert index.stats()["analyzer"] == config.analyzer.name
    if options == {"language": "german"}:
        assert set(ranking[0]) == {TEXTS[0]}
    if options == {"identifiers": True}:
        assert set(ranking[4]) == {TEXTS[4]}


def test_an_unknown_language_leaves_nothing_behind(tmp_path: Path) -> None:
    for wrong in ("klingon", 3, None, ["german"]):
        with pytest.raises(InputError, match="language"):
            RaderIndex.create(tmp_path / "index", HashEncoder(), bm25=Bm25Config(language=wrong))  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def term_count(index: RaderIndex) -> int:
    with index._home.store.reading() as database:
        return int(database.execute("SELECT COUNT(*) FROM terms").fetchone()[0])


@pytest.mark.parametrize("seed", range(3))
def test_optimize_drops_terms_that_nothing_uses(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    with RaderIndex.create(tmp_path / "index", HashEncoder()) as index, RaderIndex.open(tmp_path / "index") as reader:
        texts: dict[str, str] = {}
        for turn in range(4):
            added = {f"{turn}-{n}": f"turn{turn} only{turn}x{n} {rng.choice(WORDS)} plain" for n in range(5)}
            index.add([Document(id, text) for id, text in added.items()])
            texts |= added
            gone = rng.sample(sorted(texts), 4)
            scores(reader)
            index.delete(gone)
            for id in gone:
                del texts[id]
            index.optimize()
            used = {term for text in texts.values() for term in Analyzer().terms(text)}
            assert term_count(index) == len(used)
            rebuilt = RaderIndex.create(None, encoder=HashEncoder())
            rebuilt.add([Document(id, text) for id, text in texts.items()])
            for query in ("plain", f"turn{turn} plain", "turn0 turn1 prime", "only1x1 tree"):
                expected = [(hit.document.id, hit.score) for hit in RaderRetriever(rebuilt, "bm25").search(query, 30)]
                for searched in (index, reader):
                    hits = RaderRetriever(searched, "bm25").search(query, 30)
                    assert [(hit.document.id, hit.score) for hit in hits] == expected

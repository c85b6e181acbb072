"""Adding, replacing, deleting and finding again, in memory and on disk, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rader_plugins import Document, RaderIndex, RaderRetriever
from rader_plugins.errors import FingerprintMismatchError, InputError
from rader_plugins.index import Bm25Config
from tests.support.encoders import HashEncoder, random_text

MakeIndex = Callable[..., RaderIndex]


@pytest.fixture(params=["memory", "disk"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> MakeIndex:
    def make_index(**options: object) -> RaderIndex:
        path = tmp_path / "index" if request.param == "disk" else None
        return RaderIndex.create(path, encoder=HashEncoder(), **options)  # type: ignore[arg-type]

    return make_index


def documents(count: int, seed: int = 0) -> list[Document]:
    rng = np.random.default_rng(seed)
    return [Document(id=f"d{n:03d}", text=random_text(rng), metadata={"n": n}) for n in range(count)]


def everything(index: RaderIndex, query: str = "prime graph entropy") -> dict[str, list[tuple[str, float]]]:
    retriever = RaderRetriever(index)
    return {
        mode: [(hit.document.id, hit.score) for hit in retriever.search(query, k=1000, mode=mode)]  # type: ignore[arg-type]
        for mode in ("dense", "bm25", "hybrid")
    }


def test_add_get_delete(make: MakeIndex) -> None:
    index = make()
    assert len(index) == 0
    assert index.add(documents(5)) == 5
    assert len(index) == 5
    assert "d003" in index
    assert "nope" not in index
    assert [d.id for d in index.get(["d003", "nope", "d001"])] == ["d003", "d001"]
    assert index.get(["d002"])[0] == documents(5)[2]
    assert index.delete(["d003", "nope"]) == 1
    assert len(index) == 4
    assert index.get(["d003"]) == []
    assert [d.id for d in index.documents()] == ["d000", "d001", "d002", "d004"]
    vectors = index.vectors(["d004", "d003"])
    assert list(vectors) == ["d004"]
    assert vectors["d004"] == pytest.approx(HashEncoder().encode_documents([documents(5)[4].text])[0])
    assert index.vectors([]) == {}


def test_adding_an_existing_id_replaces_text_metadata_vector_and_terms(make: MakeIndex) -> None:
    index = make()
    index.add([Document(id="a", text="prime divisor", metadata={"v": 1}), Document(id="b", text="heat wave")])
    index.add([Document(id="a", text="market queue", metadata={"v": 2})])
    retriever = RaderRetriever(index)
    assert len(index) == 2
    assert index.get(["a"])[0].metadata == {"v": 2}
    assert retriever.search("prime", mode="bm25") == []
    assert [hit.document.id for hit in retriever.search("market", mode="bm25")] == ["a"]
    assert retriever.search("market queue", mode="dense", k=1)[0].score == pytest.approx(1)
    assert retriever.search("x", filter={"v": 1}) == []


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("optimize", [False, True])
def test_changes_equal_a_fresh_build(make: MakeIndex, dtype: str, optimize: bool) -> None:
    """BM25 (idf, lengths, saturation) and cosine after many adds and deletes are those of a new index, exactly."""
    rng = np.random.default_rng(1)
    index, state = make(dtype=dtype), {}
    for _ in range(30):
        batch = [Document(id=f"d{n}", text=random_text(rng, int(rng.integers(1, 30)))) for n in rng.integers(0, 60, 4)]
        batch = list({document.id: document for document in batch}.values())
        index.add(batch)
        state.update({document.id: document for document in batch})
        gone = [f"d{n}" for n in rng.integers(0, 60, 2)]
        index.delete(gone)
        for name in gone:
            state.pop(name, None)
        if optimize and rng.random() < 0.2:
            index.optimize()
    fresh = RaderIndex.create(None, encoder=HashEncoder(), dtype=dtype)  # type: ignore[arg-type]
    fresh.add(sorted(state.values(), key=lambda document: document.id, reverse=True))
    assert len(index) == len(state)
    assert everything(index) == everything(fresh)


def test_reopened_index_gives_the_same_hits(tmp_path: Path) -> None:
    index = RaderIndex.create(tmp_path / "i", encoder=HashEncoder())
    index.add(documents(300))
    index.delete(["d007"])
    before = everything(index)
    index.close()
    reopened = RaderIndex.open(tmp_path / "i", HashEncoder())
    assert everything(reopened) == before
    reopened.optimize()
    assert everything(reopened) == before
    assert everything(RaderIndex.open(tmp_path / "i", HashEncoder())) == before
    assert reopened.stats()["deleted_rows"] == 0


def test_large_add_is_several_commits_and_rebuilds_from_stored_postings(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    texts = [random_text(rng, 3) for _ in range(6000)]
    index = RaderIndex.create(tmp_path / "i", encoder=HashEncoder())
    index.add((Document(id=str(n), text=text) for n, text in enumerate(texts)), commit_every=1000)
    assert index.stats()["generation"] == 6
    assert list((tmp_path / "i" / "derived").glob("lexical-*")), "postings were stored on the way"
    index.add([Document(id="tail", text="prime prime prime")])
    assert everything(RaderIndex.open(tmp_path / "i", HashEncoder())) == everything(index)


def test_vectors_may_be_given_and_are_scaled(make: MakeIndex) -> None:
    index = make()
    vectors = np.eye(16)[:2] * 5
    index.add([Document(id="a", text="x"), Document(id="b", text="y")], vectors=vectors)
    hits = RaderRetriever(index, mode="dense").search_batch(["?"], k=2, query_vectors=np.eye(16)[:1])[0]
    assert [(hit.document.id, hit.score) for hit in hits] == [("a", 1.0), ("b", 0.0)]


def test_vectors_spread_over_shards(make: MakeIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rader_plugins.index.storage.shards.SHARD_BYTES", 16 * 4 * 7)
    index = make()
    for start in range(0, 50, 10):
        index.add(documents(50)[start : start + 10])
    assert index.stats()["shards"] == 8
    index.delete([f"d{n:03d}" for n in range(0, 50, 3)])
    fresh = RaderIndex.create(None, encoder=HashEncoder())
    fresh.add([d for n, d in enumerate(documents(50)) if n % 3])
    assert everything(index) == everything(fresh)
    index.optimize()
    assert index.stats()["shards"] == 5
    assert everything(index) == everything(fresh)


def test_empty_list_and_empty_text(make: MakeIndex) -> None:
    index = make()
    assert index.add([]) == 0
    assert index.delete([]) == 0
    index.add([Document(id="empty", text=""), Document(id="b", text="prime")])
    assert {hit.document.id for hit in RaderRetriever(index, mode="dense").search("prime")} == {"empty", "b"}
    assert [hit.document.id for hit in RaderRetriever(index, mode="bm25").search("prime")] == ["b"]
    index.optimize()
    assert len(index) == 2


def test_very_long_text(make: MakeIndex) -> None:
    index = make()
    text = "prime " * 20_000
    index.add([Document(id="long", text=text), Document(id="short", text="prime")])
    assert index.get(["long"])[0].text == text
    assert [hit.document.id for hit in RaderRetriever(index, mode="bm25").search("prime")] == ["long", "short"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (Document(id="", text="x"), "non-empty"),
        (Document(id=3, text="x"), "non-empty string"),  # type: ignore[arg-type]
        (Document(id="a\ud800", text="x"), "lone surrogate"),
        (Document(id="a", text="\ud83d"), "lone surrogate"),
        (Document(id="a", text=None), "must be a string"),  # type: ignore[arg-type]
        (Document(id="a", text="x", metadata={"when": object()}), "'when'"),
        (Document(id="a", text="x", metadata={"pair": (1, 2)}), "'pair'"),
        (Document(id="a", text="x", metadata={3: "x"}), "key 3"),  # type: ignore[dict-item]
        (Document(id="a", text="x", metadata={"n": float("nan")}), "'n'"),
        (Document(id="a", text="x", metadata={"s": "\ud800"}), "'s'"),
        (Document(id="a", text="x", metadata=[1]), "JSON object"),  # type: ignore[arg-type]
        ("text", "Document objects"),
    ],
)
def test_unusable_documents_are_refused_before_anything_is_stored(
    make: MakeIndex, wrong: Document, message: str
) -> None:
    index = make()
    with pytest.raises(InputError, match=message):
        index.add([Document(id="good", text="x"), wrong])
    assert len(index) == 0


def test_the_same_id_twice_in_one_call_is_refused(make: MakeIndex) -> None:
    index = make()
    with pytest.raises(InputError, match="'a' stands twice"):
        index.add([Document(id="a", text="x"), Document(id="a", text="y")])
    assert len(index) == 0


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.full((1, 16), np.nan), "NaN"),
        (np.full((1, 16), np.inf), "infinity"),
        (np.zeros((1, 16)), "zero"),
        (np.ones((1, 15)), r"\(1, 16\)"),
        (np.ones((2, 16)), r"\(1, 16\)"),
    ],
)
def test_unusable_vectors_are_refused(make: MakeIndex, vectors: np.ndarray, message: str) -> None:
    index = make()
    with pytest.raises(InputError, match=message):
        index.add([Document(id="a", text="x")], vectors=vectors)
    assert len(index) == 0


def test_an_encoder_that_returns_nan_stores_nothing(make: MakeIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    index = make()
    monkeypatch.setattr(HashEncoder, "_encode", lambda self, texts: np.full((len(texts), 16), np.nan))
    with pytest.raises(InputError, match="NaN"):
        index.add([Document(id="a", text="x")])
    assert len(index) == 0


def test_an_encoder_of_another_recipe_is_refused(tmp_path: Path) -> None:
    RaderIndex.create(tmp_path / "i", encoder=HashEncoder(name="one")).close()
    with pytest.raises(FingerprintMismatchError, match=r"'one'.*'two'"):
        RaderIndex.open(tmp_path / "i", HashEncoder(name="two"))


def test_opening_nothing_and_creating_twice(tmp_path: Path) -> None:
    assert not RaderIndex.exists(tmp_path / "i")
    with pytest.raises(InputError, match="no index"):
        RaderIndex.open(tmp_path / "nowhere")
    RaderIndex.create(tmp_path / "i", encoder=HashEncoder()).close()
    assert RaderIndex.exists(tmp_path / "i")
    with pytest.raises(InputError, match="already holds an index"):
        RaderIndex.create(tmp_path / "i", encoder=HashEncoder())


def test_wrong_options(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="float32"):
        RaderIndex.create(None, encoder=HashEncoder(), dtype="int8")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="hnsw"):
        RaderIndex.create(None, encoder=HashEncoder(), ann="annoy")
    with pytest.raises(InputError, match="link"):
        RaderIndex.create(None, encoder=HashEncoder(), ann={"kind": "hnsw", "link": 3})
    with pytest.raises(InputError, match="an Encoder"):
        RaderIndex.create(None, encoder=3)  # type: ignore[arg-type]
    index = RaderIndex.create(None, encoder=HashEncoder())
    with pytest.raises(InputError, match="list of strings"):
        index.delete("abc")
    with pytest.raises(InputError, match=r"add\(\[document\]\)"):
        index.add(Document(id="a", text="x"))  # type: ignore[arg-type]


def test_the_recorded_model_directory_is_loaded_again(tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    from rader_plugins import Recipe, load_encoder
    from tests.support.tiny_models import tiny_qwen2

    tiny_qwen2(tmp_path / "model")
    recipe = Recipe(name="tiny", model=str(tmp_path / "model"), append_eos=True, max_document_length=64)
    with RaderIndex.create(tmp_path / "i", encoder=load_encoder(recipe)) as index:
        index.add([Document(id="a", text="apples"), Document(id="b", text="pears")])
    with RaderIndex.open(tmp_path / "i") as reopened:
        assert RaderRetriever(reopened, mode="dense").search("apples", k=1)[0].score == pytest.approx(1)
    (tmp_path / "model").rename(tmp_path / "moved")
    with RaderIndex.open(tmp_path / "i") as reopened, pytest.raises(InputError, match="encoder="):
        RaderRetriever(reopened).search("apples")
    moved = load_encoder(str(tmp_path / "moved"), recipe=recipe)
    with RaderIndex.open(tmp_path / "i", moved) as reopened:
        assert RaderRetriever(reopened, mode="dense").search("apples", k=1)[0].document.id == "a"


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_copies_hold_the_same_and_are_brought_up_to_date(make: MakeIndex, tmp_path: Path, dtype: str) -> None:
    index = make(dtype=dtype, ann="hnsw")
    index.add(documents(30))
    index.delete(["d004"])
    index.copy_to(tmp_path / "copy")
    with RaderIndex.open(tmp_path / "copy", HashEncoder()) as copy:
        assert everything(copy) == everything(index)
        assert copy.stats()["ann"] == "hnsw"
    index.add([Document(id="d001", text="changed"), Document(id="new", text="prime")])
    index.delete(["d002"])
    index.copy_to(tmp_path / "copy")
    with RaderIndex.open(tmp_path / "copy", HashEncoder()) as copy:
        assert everything(copy) == everything(index)
    RaderIndex.create(tmp_path / "other", encoder=HashEncoder(name="other")).close()
    with pytest.raises(FingerprintMismatchError, match="another folder"):
        index.copy_to(tmp_path / "other")


def test_a_copy_into_an_index_of_other_settings_is_refused(make: MakeIndex, tmp_path: Path) -> None:
    index = make()
    index.add(documents(3))
    RaderIndex.create(tmp_path / "half", HashEncoder(), dtype="float16").close()
    RaderIndex.create(tmp_path / "german", HashEncoder(), bm25=Bm25Config(language="german")).close()
    for folder, option in (("half", "dtype"), ("german", "bm25")):
        with pytest.raises(InputError, match=option):
            index.copy_to(tmp_path / folder)

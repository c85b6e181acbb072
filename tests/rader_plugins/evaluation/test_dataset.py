from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from rader_plugins import Document
from rader_plugins.errors import InputError, RaderWarning
from rader_plugins.evaluation import RetrievalDataset, read_queries
from rader_plugins.sample_files import SampleWriter
from rader_plugins.samples import Passage, Sample

from .conftest import make_dataset, write, write_jsonl


def test_a_beir_folder(folder: Path) -> None:
    dataset = RetrievalDataset.from_folder(folder)
    assert (dataset.name, dataset.split) == ("toy", "test")
    assert dataset.corpus["d0"] == Document("d0", "First text of document 0", {"title": "First"})
    assert dataset.corpus["d1"] == Document("d1", "text of document 1", {})
    assert dataset.qrels["q1"] == {"d1": 2, "d2": 1}
    assert dataset.judged == ("q0", "q1", "q2")
    assert dataset.without_judgements == ("q3",)
    assert dataset.excluded == {}
    write_jsonl(folder / "excluded.jsonl", [{"_id": "q0", "excluded_ids": ["d3", "N/A"]}])
    assert RetrievalDataset.from_folder(folder).excluded == {"q0": {"d3", "N/A"}}


def test_the_bundled_corpus_is_one() -> None:
    from importlib.resources import as_file, files

    with as_file(files("rader_plugins").joinpath("data/principles")) as home:
        dataset = RetrievalDataset.from_folder(home)
    assert dataset.corpus
    assert dataset.judged


def test_nothing_of_it_can_be_changed(toy: RetrievalDataset) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        toy.name = "other"  # type: ignore[misc]
    with pytest.raises(TypeError):
        toy.corpus["new"] = Document("new", "text")  # type: ignore[index]


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("qrels/test.tsv", "q76\td0\t1\nq77\td1\t1\n", "none of the 2 judgements.*'q76', which is not"),
        ("qrels/test.tsv", "q0\td77\t1\n", "none of the 1 judgements.*the document 'd77', which is not"),
        ("qrels/test.tsv", "query-id\tcorpus-id\tscore\n", "holds no judgements"),
        ("qrels/test.tsv", "q0\td0\thalf\n", "not a whole number"),
        ("corpus.jsonl", '{"_id": "d0", "text": "a"}\n{"_id": "d0", "text": "b"}\n', "'d0' stands twice"),
        ("corpus.jsonl", '{"_id": "d0"}\n', "document 'd0' needs a string 'text'"),
        ("corpus.jsonl", '{"text": "a"}\n', "needs an '_id'"),
        ("corpus.jsonl", '{"_id": "d0"\n', "corpus.jsonl, line 1 is not JSON"),
        ("queries.jsonl", '{"_id": "q0", "text": "a"}\n{"_id": "q0", "text": "b"}\n', "'q0' stands twice"),
        ("queries.jsonl", '{"_id": "q0", "question": "a"}\n', "query 'q0' has no 'text'"),
    ],
)
def test_an_unusable_folder_says_why(folder: Path, file: str, text: str, message: str) -> None:
    write(folder / file, text)
    with pytest.raises(InputError, match=message):
        RetrievalDataset.from_folder(folder)


@pytest.mark.parametrize("lost", [("q77", "d0"), ("q0", "d77")])
def test_lost_judgements_are_counted_and_left_out_however_a_set_is_loaded(folder: Path, lost: tuple[str, str]) -> None:
    rows = [("q0", "d0"), ("q1", "d1"), lost]
    write(folder / "qrels" / "test.tsv", "".join(f"{query}\t{document}\t1\n" for query, document in rows))
    with pytest.warns(RaderWarning, match="1 of 3 judgements.*77'"):
        loaded = RetrievalDataset.from_folder(folder)
    with pytest.warns(RaderWarning, match="1 of 3 judgements"):
        constructed = RetrievalDataset(
            loaded.corpus, loaded.queries, {q: {d: 1 for p, d in rows if p == q} for q, _ in rows}, name=loaded.name
        )
    for dataset in (loaded, constructed):
        assert dataset.judged == ("q0", "q1")
        assert dataset.lost == (lost,)
        assert {q: dict(grades) for q, grades in dataset.qrels.items() if grades} == {"q0": {"d0": 1}, "q1": {"d1": 1}}
    assert loaded.judgements_digest == constructed.judgements_digest
    subset = constructed.with_queries({"q0": "a", "q1": "b"})
    assert subset.lost == (lost,), "told once, and not forgotten"


def test_documents_that_are_excluded_and_relevant_are_named() -> None:
    with pytest.warns(RaderWarning, match="1 documents are judged relevant and excluded.*'d1' for query 'q1'"):
        make_dataset(excluded={"q1": {"d1", "d3"}, "q0": {"d5"}})


def test_the_split_is_test_or_the_only_one(folder: Path) -> None:
    write(folder / "qrels" / "dev.tsv", "q1\td1\t1\n")
    assert RetrievalDataset.from_folder(folder).split == "test"
    (folder / "qrels" / "test.tsv").rename(folder / "qrels" / "train.tsv")
    with pytest.raises(InputError, match="no split 'test'. Name one of dev, train"):
        RetrievalDataset.from_folder(folder)
    (folder / "qrels" / "train.tsv").unlink()
    assert RetrievalDataset.from_folder(folder).split == "dev"
    (folder / "qrels" / "dev.tsv").unlink()
    with pytest.raises(InputError, match="no judgements"):
        RetrievalDataset.from_folder(folder)


def test_samples_are_a_data_set(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    refunds, other = Passage("kb-1", "refunds within thirty days", "Refunds"), Passage("kb-2", "seats")
    with SampleWriter(tmp_path / "samples") as writer:
        writer.add("train", Sample("t1", "how many may join?", "question", (other,), (refunds,)))
        writer.add("validation", Sample("v1", "money back?", "question", (refunds,)))
        writer.add("validation", Sample("v2", "seats?", "question", (Passage("kb-2", "seats and more"),)))
    with pytest.raises(InputError, match="Name one of train, validation"):
        RetrievalDataset.from_folder(tmp_path / "samples")
    with pytest.warns(RaderWarning, match="1 documents have several texts.*'kb-2'"):
        dataset = RetrievalDataset.from_folder(tmp_path / "samples", "validation")
    assert {id: document.text for id, document in dataset.corpus.items()} == {
        "kb-1": "Refunds refunds within thirty days", "kb-2": "seats and more"
    }  # fmt: skip
    assert dataset.judged == ("v1", "v2")
    assert dataset.qrels == {"v1": {"kb-1": 1}, "v2": {"kb-2": 1}}


def test_missing_parts_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no split 'dev'; it has test"):
        RetrievalDataset.from_folder(folder, "dev")
    (folder / "queries.jsonl").unlink()
    with pytest.raises(InputError, match="has no queries.jsonl"):
        RetrievalDataset.from_folder(folder)
    with pytest.raises(InputError, match="There is no folder"):
        RetrievalDataset.from_folder(tmp_path / "nowhere")


def test_empty_judgements() -> None:
    for qrels in ({}, {"q0": {}}):
        with pytest.raises(InputError, match="empty"):
            make_dataset(qrels=qrels)


def test_relevance_must_be_whole() -> None:
    with pytest.raises(InputError, match="relevance of 'd0' for query 'q0' is 0.5"):
        make_dataset(qrels={"q0": {"d0": 0.5}})
    assert make_dataset(qrels={"q0": {"d0": 3, "d1": -1}}).judged == ("q0",)


def test_the_digest_covers_what_can_change_a_figure(toy: RetrievalDataset) -> None:
    corpus = {**toy.corpus, "d0": Document("d0", "another text")}
    assert toy.digest == make_dataset(name="another name").digest
    changes = [
        {"corpus": corpus},
        {"queries": {**toy.queries, "q0": "another"}},
        {"qrels": {**toy.qrels, "q0": {"d0": 2}}},
        {"excluded": {"q0": frozenset({"d5"})}},
    ]
    assert len({toy.digest, *(make_dataset(**change).digest for change in changes)}) == 5
    # Nobody searches for q3.
    assert toy.digest == make_dataset(queries={**toy.queries, "q3": "another"}).digest


def test_other_texts_for_the_queries(toy: RetrievalDataset, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "reasoning.jsonl", [{"_id": f"q{n}", "text": f"step {n}"} for n in range(3)])
    other = toy.with_queries(read_queries(path))
    assert other.queries == {"q0": "step 0", "q1": "step 1", "q2": "step 2", "q3": "question 3"}
    assert other.judgements_digest == toy.judgements_digest
    assert other.digest != toy.digest
    with pytest.raises(InputError, match="2 judged queries have no text: 'q1', 'q2'"):
        toy.with_queries({"q0": "step"})

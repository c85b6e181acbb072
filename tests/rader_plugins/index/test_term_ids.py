"""Ids of terms that a writer remembers are those of the database, whoever else writes to it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rader_plugins import Document, RaderIndex, RaderRetriever
from rader_plugins.analysis import analyze
from rader_plugins.errors import IndexWriteError
from rader_plugins.index.storage import term_ids
from tests.support.encoders import WORDS, HashEncoder
from tests.support.examples import examples

FEW = WORDS[:3]
TEXTS = st.lists(st.sampled_from(FEW), min_size=1, max_size=2).map(" ".join)
STEPS = st.lists(
    st.tuples(st.integers(0, 1), st.sampled_from(["add", "delete", "optimize", "fail"]), st.integers(0, 1), TEXTS)
)


def holds_its_words(index: RaderIndex) -> None:
    """Every document is found by each of its words, and no other is."""
    retriever = RaderRetriever(index)
    documents = [index.get([id])[0] for id in index.ids()]
    for word in FEW:
        hits = retriever.search(word, k=10, mode="bm25")
        expected = {document.id for document in documents if set(analyze(word)) & set(analyze(document.text))}
        assert {hit.document.id for hit in hits} == expected


def fail_to_add(index: RaderIndex, text: str) -> None:
    with index._home.store.writing() as changes:
        changes.next_generation()
        changes.insert(10_000, [("x", text, "{}")], index._home.settings.bm25.analyzer.count([text]))
        raise IndexWriteError("full")


@settings(max_examples=examples(30), deadline=None)
@given(STEPS, st.sampled_from([0, 3, 1000]))
@example([(0, "add", 0, FEW[0]), (1, "delete", 0, ""), (1, "optimize", 0, ""), (0, "add", 1, FEW[0])], 1000)
@example([(0, "add", 0, FEW[0]), (0, "delete", 0, ""), (0, "optimize", 0, ""), (0, "add", 1, FEW[0])], 1000)
@example([(0, "add", 0, FEW[0]), (0, "fail", 1, FEW[1]), (1, "add", 1, FEW[2]), (0, "add", 0, FEW[1])], 1000)
def test_two_writers_in_turns_give_every_term_one_id(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, str, int, str]], remembered: int
) -> None:
    folder: Path = tmp_path_factory.mktemp("index") / "index"
    RaderIndex.create(folder, HashEncoder()).close()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(term_ids, "_REMEMBERED", remembered)
        writers = [RaderIndex.open(folder, HashEncoder()) for _ in range(2)]
        for number, step, id, text in steps:
            writer = writers[number]
            if step == "add":
                writer.add([Document(f"d{id}", text)])
            elif step == "delete":
                writer.delete([f"d{id}"])
            elif step == "optimize":
                writer.optimize()
            else:
                with pytest.raises(IndexWriteError):
                    fail_to_add(writer, text)
        for writer in writers:
            holds_its_words(writer)
            writer.close()

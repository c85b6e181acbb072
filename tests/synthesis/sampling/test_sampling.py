"""Which samples come out of hand-made trajectories, with which positives and negatives: all computed by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyarrow")

from rader_synthesis.sampling import SamplingConfig, bm25_index, make_samples

from rader_plugins import Document
from rader_plugins.errors import InputError
from rader_plugins.samples import Sample
from rader_plugins.trajectories import Step, Trajectory
from tests.synthesis.sampling_support import (
    all_samples,
    doc,
    ids,
    query,
    retrieval,
    thought,
    told,
    trajectory,
    write,
)  # fmt: skip


def make(tmp_path: Path, trajectories: list[Trajectory], *, index: Any = None, **options: Any) -> dict[str, Sample]:
    config = SamplingConfig(**{"dev_share": 0.0, **options})
    make_samples([write(tmp_path, trajectories)], tmp_path / "out", index=index, dense=False, config=config)
    return {sample.query_id: sample for sample in all_samples(tmp_path / "out")}


def test_a_cot_query_holds_neither_the_generated_query_nor_what_was_retrieved(tmp_path: Path) -> None:
    samples = make(
        tmp_path,
        [
            trajectory(
                "p#1",
                thought("First step."),
                query("GENERATED"),
                thought("Thought from the generated query."),
                retrieval(doc("a", True), doc("b", False), kept="a"),
                thought("Second step."),
                query("GENERATED TOO"),
                retrieval(doc("c", False), doc("d", True), doc("e", True), kept="d"),
                question="Q?",
            )
        ],
    )
    assert samples["cot:p#1:3"].query == "Q?\nFirst step."
    assert ids(samples["cot:p#1:3"]) == (["a"], ["b"])
    assert samples["cot:p#1:6"].query == "Q?\nFirst step.\nThought from the generated query.\nSecond step."
    # d was kept; e is relevant too, so it is neither its positive nor a negative of anything.
    assert ids(samples["cot:p#1:6"]) == (["d"], ["c"])
    assert samples["question:p"].query == "Q?"
    assert ids(samples["question:p"]) == (["a", "d"], ["b", "c"])
    assert {negative.origin for negative in samples["question:p"].negatives} == {"reflection"}
    assert samples["question:p"].problem_id == "p"
    assert samples["cot:p#1:3"].provenance == {
        "source": "test",
        "step": 3,
        "trajectories": 1,
        "labelled_by": ["reflection"],
    }


def test_a_query_that_was_written_in_a_thought_is_no_part_of_a_cot_query(tmp_path: Path) -> None:
    """A recorded application: its model says what to search for, which is a thought, and then it is searched for."""
    samples = make(
        tmp_path,
        [
            trajectory(
                "p",
                thought("First step."),
                thought('Two things are unknown.\n1. "A rule"\nSearch for: another rule.'),
                query("a rule"),
                retrieval(doc("a", True), kept="a"),
                query("Another rule"),
                retrieval(doc("b", True), kept="b"),
                thought("A third rule"),
                query("A third rule?"),
                retrieval(doc("c", True), kept="c"),
                thought("It takes more words than that to say another rule."),
                query("another rule"),
                retrieval(doc("d", True), kept="d"),
                question="Q?",
            )
        ],
    )
    start = "Q?\nFirst step.\nTwo things are unknown."
    assert samples["cot:p:3"].query == start
    assert {positive.id for positive in samples["cot:p:3"].positives} == {"a", "b", "c"}
    last = "It takes more words than that to say another rule."
    assert {sample.query for sample in samples.values()} == {"Q?", start, f"{start}\n{last}"}


def test_all_relevant_documents_are_positives_where_that_is_asked_for_or_none_was_kept(tmp_path: Path) -> None:
    steps = (thought("s"), query("q"), retrieval(doc("a", True), doc("b", True), doc("c", False), kept="b"))
    assert ids(make(tmp_path / "1", [trajectory("p", *steps)], positives="relevant")["cot:p:2"]) == (["b", "a"], ["c"])
    unnamed = (*steps[:2], retrieval(*steps[2].considered))
    assert ids(make(tmp_path / "2", [trajectory("p", *unnamed)])["cot:p:2"]) == (["a", "b"], ["c"])


def test_a_search_at_the_start_gives_no_cot_query(tmp_path: Path) -> None:
    samples = make(tmp_path, [trajectory("p", query("q"), retrieval(doc("a", True), kept="a"))])
    assert list(samples) == ["question:p"]
    assert told(tmp_path / "out")["dropped"] == {"cot: no step before the search, so it would be the question": 1}


def test_only_right_answers_with_a_retrieval_count(tmp_path: Path) -> None:
    steps = (thought("s"), query("q"), retrieval(doc("a", True), kept="a"))
    samples = make(
        tmp_path,
        [
            trajectory("right", *steps),
            trajectory("wrong", *steps, reward=0.0),
            trajectory("half", *steps, reward=0.5),
            trajectory("unknown", *steps, reward=None),
            trajectory("nothing", thought("s")),
            trajectory("rejected", thought("s"), retrieval(doc("a", False))),
            trajectory("empty", *steps, question="  "),
        ],
    )
    assert {sample.problem_id for sample in samples.values()} == {"right"}
    assert told(tmp_path / "out")["trajectories"] == {
        "read": 7, "used": 1, "wrong answer": 2, "answer not judged": 1, "nothing retrieved": 1, "no positive": 1,
        "no question": 1,
    }  # fmt: skip


def test_unjudged_answers_count_if_asked_for_with_labels_of_a_proof_a_citation_or_a_human(tmp_path: Path) -> None:
    step = retrieval(doc("a", True, "proof"), doc("b", True, "reflection"), doc("c", True, "human"))
    samples = make(tmp_path, [trajectory("p", thought("s"), step, reward=None)], without_reward=True)
    assert ids(samples["question:p"])[0] == ["a", "c"]
    assert "without a judged answer" in (tmp_path / "out/README.md").read_text()


def test_no_positive_of_the_problem_is_a_negative_whatever_trajectory_it_comes_from(tmp_path: Path) -> None:
    samples = make(
        tmp_path,
        [
            trajectory("p#1", thought("s"), retrieval(doc("a", True), doc("b", False), doc("c", False), kept="a")),
            # The answer is wrong, so b is no positive. It is relevant, so it is no negative either.
            trajectory("p#2", thought("t"), retrieval(doc("b", True), kept="b"), reward=0.0),
            # d has the text of a in other letters.
            trajectory(
                "p#3",
                thought("Quite another step."),
                retrieval(doc("a", True), doc("d", False, text="Text, of A!"), kept="a"),
            ),
            trajectory("other", thought("s"), retrieval(doc("x", True), doc("a", False), kept="x")),
        ],
    )
    assert ids(samples["cot:p#1:1"]) == (["a"], ["c"])
    assert ids(samples["cot:p#3:1"]) == (["a"], [])
    assert ids(samples["question:p"]) == (["a"], ["c"])
    assert ids(samples["cot:other:1"]) == (["x"], ["a"])
    dropped = told(tmp_path / "out")["dropped"]
    assert dropped["rejected: positive of the same problem"] == 2
    assert dropped["rejected: same text as a positive"] == 2


def test_equal_queries_of_a_problem_are_one_sample_with_the_documents_of_all(tmp_path: Path) -> None:
    samples = make(
        tmp_path,
        [
            trajectory("p#1", thought("Same step."), query("x"), retrieval(doc("a", True), doc("n", False), kept="a")),
            trajectory("p#2", thought("Same step."), query("y"), retrieval(doc("b", True), doc("m", False), kept="b")),
        ],
    )
    assert sorted(samples) == ["cot:p#1:2", "question:p"]
    assert ids(samples["cot:p#1:2"]) == (["a", "b"], ["n", "m"])
    assert samples["cot:p#1:2"].provenance["trajectories"] == 2


def test_a_near_duplicate_goes_if_its_documents_are_there_already(tmp_path: Path) -> None:
    words = " ".join(f"word{n}" for n in range(40))
    samples = make(
        tmp_path,
        [
            # 38 of the 3-grams are equal, 1 is not: 38 / 40 in common.
            trajectory("p#1", thought(f"{words} one"), retrieval(doc("a", True), kept="a"), question="Q?"),
            trajectory("p#2", thought(f"{words} two"), retrieval(doc("a", True), kept="a"), question="Q?"),
            trajectory("p#3", thought(f"{words} six"), retrieval(doc("b", True), kept="b"), question="Q?"),
        ],
        kinds=("cot",),
    )
    assert sorted(samples) == ["cot:p#1:1", "cot:p#3:1"]


def corpus(size: int = 80) -> Any:
    """BM25 ranks them d000, d001, ... for 'needle': the longer a text, the lower it comes."""
    texts = [Document(f"d{n:03d}", f"needle document{n} " + "filler " * n) for n in range(size)]
    return bm25_index(None, texts)


def test_mined_negatives_are_drawn_from_bm25_ranks_31_to_50(tmp_path: Path) -> None:
    p = trajectory("p", retrieval(doc("d034", True), kept="d034"), question="needle")
    samples = make(tmp_path / "a", [p], index=corpus())
    negatives = ids(samples["question:p"])[1]
    assert len(negatives) == 10
    assert set(negatives) <= {f"d{n:03d}" for n in range(30, 50)} - {"d034"}
    assert {negative.origin for negative in samples["question:p"].negatives} == {"bm25"}
    assert ids(make(tmp_path / "b", [p], index=corpus())["question:p"])[1] == negatives
    assert ids(make(tmp_path / "c", [p], index=corpus(), seed=1)["question:p"])[1] != negatives
    all_of_them = make(tmp_path / "d", [p], index=corpus(), bm25_negatives=99, mine="always")["question:p"]
    assert ids(all_of_them)[1] == [f"d{n:03d}" for n in range(30, 50) if n != 34]


def test_mining_fills_up_to_what_is_enough(tmp_path: Path) -> None:
    rejected = [doc(f"r{n}", False) for n in range(9)]
    p = trajectory("p", retrieval(doc("d034", True), *rejected, kept="d034"), question="needle")
    origins = [negative.origin for negative in make(tmp_path / "a", [p], index=corpus())["question:p"].negatives]
    assert origins == ["reflection"] * 9 + ["bm25"] * 2
    for number, (options, expected) in enumerate(
        [({"enough": 9}, 0), ({"mine": "never"}, 0), ({"mine": "always"}, 10)], start=1
    ):
        samples = make(tmp_path / str(number), [p], index=corpus(), **options)
        assert len(samples["question:p"].negatives) == 9 + expected


def test_the_corpus_gives_texts_and_titles(tmp_path: Path) -> None:
    index = bm25_index(None, [Document("a", "Title Body", {"title": "Title"}), Document("b", "other")])
    samples = make(
        tmp_path,
        [trajectory("p", thought("s"), retrieval(doc("a", True, text=""), doc("zz", False, text=""), kept="a"))],
        index=index,
    )
    (positive,) = samples["cot:p:1"].positives
    assert (positive.title, positive.text) == ("Title", "Body")
    assert told(tmp_path / "out")["dropped"]["rejected: without a text, unknown to the corpus"] == 2


def test_splits_go_by_problem_and_keep_near_duplicates_together(tmp_path: Path) -> None:
    long = " ".join(f"word{n}" for n in range(30))
    trajectories = [
        trajectory(f"p{n}#{m}", thought(f"step {m}"), retrieval(doc(f"d{n}", True)), question=f"{long} {n // 2} end")
        for n in range(40)
        for m in range(3)
    ]
    # 30 of 31 3-grams are not all it takes: number and end are in two of 30.
    config = SamplingConfig(dev_share=0.5, near_duplicates=0.99)
    make_samples([write(tmp_path, trajectories)], tmp_path / "out", config=config)
    split = {}
    for sample in all_samples(tmp_path / "out"):
        split.setdefault(sample.problem_id, set()).add(sample.query_kind)
    card = told(tmp_path / "out")
    assert card["problem_families"]["train"] + card["problem_families"]["validation"] == 20
    from rader_plugins.sample_files import read_samples

    parts = [
        {int(row.problem_id[1:]) // 2 for row in read_samples(tmp_path / "out", name)}
        for name in ("train", "validation")
    ]
    assert parts[0]
    assert parts[1]
    assert not parts[0] & parts[1]


def test_nothing_is_said_to_be_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"No sample came out .*1 wrong answer"):
        make(tmp_path, [trajectory("p", retrieval(doc("a", True)), reward=0.0)])
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*"))


def test_a_kept_document_that_a_right_answer_used_needs_no_label(tmp_path: Path) -> None:
    samples = make(tmp_path, [trajectory("p", Step("retrieval", "", "a", (doc("a"), doc("b"))))])
    assert ids(samples["question:p"]) == (["a"], [])
    assert samples["question:p"].positives[0].origin == "answer"

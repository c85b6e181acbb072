from __future__ import annotations

from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

pytest.importorskip("pyarrow")

from rader_synthesis.sampling import SamplingConfig, make_samples
from rader_synthesis.sampling.drafts import Draft
from rader_synthesis.sampling.kinds import Kind, load_kind

from rader_plugins import query_kinds
from rader_plugins.errors import InputError
from rader_plugins.query_kinds import GROUP, QueryKind
from rader_plugins.trajectories import Considered
from tests.synthesis.sampling_support import all_samples, doc, retrieval, thought, told, trajectory, write

NO_PROPOSALS = QueryKind("silent", "nothing")


class LastThoughts(Kind):
    """The thought right before a search, alone."""

    kind = QueryKind("last_thought", "the thought before the search")

    def propose(self, trajectory, searches, dropped):
        for search in searches:
            yield Draft("last_thought", f"{trajectory.id}:{search.step}", search.before[-1], dict(search.positives), {})


LAST_THOUGHTS = LastThoughts()


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch):
    points = [EntryPoint(name, f"{__name__}:{name}", GROUP) for name in ("LAST_THOUGHTS", "NO_PROPOSALS")]
    monkeypatch.setattr(query_kinds, "entry_points", lambda group: points)
    query_kinds.query_kind_plugins.cache_clear()
    yield
    query_kinds.query_kind_plugins.cache_clear()


def test_another_package_adds_a_kind_of_query(installed, tmp_path: Path):
    steps = (thought("Guests are points."), retrieval(doc("d", True), doc("e", False)))
    file = write(tmp_path, [trajectory("p", *steps)])
    make_samples([file], tmp_path / "out", config=SamplingConfig(kinds=("question", "last_thought")))
    queries = {sample.query_kind: sample.query for sample in all_samples(tmp_path / "out")}
    assert queries["last_thought"] == "Guests are points."
    assert "the thought before the search" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    with pytest.raises(InputError, match="how they are proposed"):
        load_kind("silent")


def test_a_positive_with_a_weight_makes_a_sample_of_its_own(tmp_path: Path):
    def opened(id: str, weight: float) -> Considered:
        return replace(doc(id, True, by="opened"), weight=weight)

    documents = (opened("a", 1.0), opened("b", 1.0), opened("c", 0.5), opened("d", 2.0), doc("e", False, by="opened"))
    first = trajectory("p#1", thought("A step of the solution."), retrieval(*documents))
    # The same search again, with another weight: the document counts as its best search says.
    second = trajectory("p#2", thought("A step of the solution."), retrieval(opened("c", 0.7)))
    config = SamplingConfig(positives="relevant", near_duplicates=None)
    make_samples([write(tmp_path, [first, second])], tmp_path / "out", config=config)
    for kind in ("question", "cot"):
        samples = [sample for sample in all_samples(tmp_path / "out") if sample.query_kind == kind]
        by_documents = {tuple(passage.id for passage in sample.positives): sample.weight for sample in samples}
        assert by_documents == {("a", "b"): 1.0, ("c",): 0.7, ("d",): 2.0}
        assert all(
            [passage.id for passage in sample.negatives] == ["e"] for sample in samples if "c" not in str(sample)
        )
        assert len({sample.query_id for sample in samples}) == 3


PARTS = {
    "paragraph": "What holds for refunds was settled in spring.",
    "article": "# Refunds\n\nWhat holds for refunds, was settled in  spring. Questions go to the owner.",
    "other paragraph": "Questions about seats go to the owner of the shop.",
    "begins alike": "What holds for refunds was settled in springtime.",
}


@pytest.mark.parametrize("positive", ["paragraph", "article"])
def test_no_negative_holds_or_is_held_by_a_positive(tmp_path: Path, positive: str):
    candidates = [doc(id, False, text=text) for id, text in PARTS.items() if id != positive]
    steps = (thought("s"), retrieval(doc(positive, True, text=PARTS[positive]), *candidates))
    make_samples([write(tmp_path, [trajectory("p", *steps)])], tmp_path / "out")
    for sample in all_samples(tmp_path / "out"):
        assert {passage.id for passage in sample.negatives} == {"other paragraph", "begins alike"}
    assert told(tmp_path / "out")["dropped"]["rejected: a part of a positive, or a text that holds one"] == 2


def test_no_mined_negative_holds_or_is_held_by_a_positive(tmp_path: Path):
    from rader_synthesis.sampling import bm25_index

    from rader_plugins import Document

    documents = [Document(id, text) for id, text in PARTS.items()]
    steps = (thought("What holds for refunds?"), retrieval(doc("paragraph", True)))
    config = SamplingConfig(bm25_ranks=(1, 9))
    with bm25_index(tmp_path / "index", documents) as index:
        make_samples([write(tmp_path, [trajectory("p", *steps)])], tmp_path / "out", index=index, config=config)
    samples = all_samples(tmp_path / "out")
    assert samples
    assert not any(passage.id == "article" for sample in samples for passage in sample.negatives)
    assert told(tmp_path / "out")["dropped"]["mined: a part of a positive, or a text that holds one"]

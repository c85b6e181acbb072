"""Queries that a language model writes: what passes, what is asked for again, what is given up, and what it costs."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyarrow")

from rader_synthesis.sampling import QueryWriter, SamplingConfig, bm25_index, make_samples
from rader_synthesis.sampling.drafts import QueryRequest
from rader_synthesis.sampling.kinds import Checks, written_kinds
from rader_synthesis.sampling.ledger import Ledger

from rader_plugins import Document
from rader_plugins.errors import InputError, LLMError
from rader_plugins.llm import Budget, BudgetedLLM, BudgetExceededError, CachedChat, OpenAIChat
from rader_plugins.samples import Sample
from tests.support.llm_server import LLMServer
from tests.synthesis.sampling_support import all_samples, doc, ids, query, retrieval, thought, told, trajectory, write

DOCUMENTS = {
    "ramsey": "Among any six people there are three who know each other or three who do not.",
    "pigeon": "More items than containers put two items into one container.",
    "euler": "The totient function counts numbers coprime to a modulus.",
}
STEPS = (
    thought("Name the guests A to F."),
    query("ramsey theory"),
    retrieval(
        doc("ramsey", True, text=DOCUMENTS["ramsey"]), doc("euler", False, text=DOCUMENTS["euler"]), kept="ramsey"
    ),
)


def corpus() -> Any:
    fillers = [Document(f"o{n}", f"filler about subject{n}") for n in range(60)]
    return bm25_index(None, [*(Document(id, text) for id, text in DOCUMENTS.items()), *fillers])


def good(body: dict[str, Any]) -> str:
    """Write what passes: for ``lexical`` the document's own words, for ``llm`` others."""
    prompt = body["messages"][-1]["content"] if "messages" in body else body["prompt"].rpartition("\n\n")[2]
    document = prompt.rpartition("Document: ")[2].split("\n")[0]
    if prompt.startswith("Document: "):
        return f"What of this: {document}"
    return "Query: which little gathering forces a trio alike?"


def make(
    tmp_path: Path, served: LLMServer, trajectories: Any = None, *, style: Any = "chat", **options: Any
) -> dict[str, Sample]:
    inputs = trajectories if trajectories is not None else [trajectory("p", *STEPS, question="How many guests?")]
    with OpenAIChat(served.url, "m", concurrency=4, max_retries=0) as server:
        llm = CachedChat(
            BudgetedLLM(server, Budget(calls=options.pop("calls", None))), tmp_path / "calls.sqlite", keep_empty=True
        )
        writer = QueryWriter(llm, style=style, concurrency=4, ledger=Ledger(tmp_path / "calls.sqlite"))
        config = SamplingConfig(**{"kinds": ("question", "cot", "llm", "lexical"), "dev_share": 0.0, **options})
        make_samples(
            [write(tmp_path, inputs)],
            tmp_path / "out",
            index=corpus(),
            dense=False,
            config=config,
            writer=writer,
            overwrite=True,
        )
    return {sample.query_id: sample for sample in all_samples(tmp_path / "out")}


@pytest.mark.parametrize("style", ["chat", "completion"])
def test_all_four_kinds(tmp_path: Path, style: str) -> None:
    with LLMServer(good) as served:
        samples = make(tmp_path, served, style=style, mine="always")
        prompts = [str(body) for body in served.requests]
    assert sorted(samples) == ["cot:p:2", "lexical:ramsey", "llm:p:2:0", "question:p"]
    assert samples["llm:p:2:0"].query == "which little gathering forces a trio alike?"
    positives, negatives = ids(samples["llm:p:2:0"])
    assert positives == ["ramsey"]
    assert negatives[0] == "euler"
    assert samples["llm:p:2:0"].trajectory_id == "p"
    lexical = samples["lexical:ramsey"]
    assert lexical.query == f"What of this: {DOCUMENTS['ramsey']}"
    assert (lexical.trajectory_id, lexical.problem_id) == ("", "p")
    assert {negative.origin for negative in lexical.negatives} <= {"bm25"}
    # The model saw the question, the step and the document, but not the generated query.
    question_prompt = next(prompt for prompt in prompts if "How many guests?" in prompt)
    assert "Name the guests A to F." in question_prompt
    assert DOCUMENTS["ramsey"] in question_prompt
    assert "ramsey theory" not in question_prompt
    alone = next(prompt for prompt in prompts if "How many guests?" not in prompt)
    assert "Name the guests" not in alone
    card = told(tmp_path / "out")["llm"]
    assert card["calls"] == 2
    assert card["requests"] == 2
    assert card["prompt_tokens"] > 50


def test_a_rerun_costs_nothing_and_gives_the_same_bytes(tmp_path: Path) -> None:
    def folder() -> dict[str, bytes]:
        root = tmp_path / "out"
        return {str(file.relative_to(root)): file.read_bytes() for file in root.rglob("*") if file.is_file()}

    with LLMServer(good) as served:
        make(tmp_path, served)
        first = folder()
        assert len(served.requests) == 2
        make(tmp_path, served)
        assert len(served.requests) == 2
    assert folder() == first


def test_a_query_that_copies_the_document_is_asked_for_again_and_given_up(tmp_path: Path) -> None:
    seeds: list[int] = []

    def copies(body: dict[str, Any]) -> str:
        seeds.append(body["seed"])
        return DOCUMENTS["ramsey"] if len(seeds) < 3 else "which little gathering forces a trio alike?"

    with LLMServer(copies) as served:
        assert "llm:p:2:0" in make(tmp_path / "a", served, kinds=("llm",))
    assert len(set(seeds)) == 3, "another attempt needs another seed"
    assert told(tmp_path / "a/out")["dropped"] == {"llm query asked again: too many words of the document": 2}
    with LLMServer(DOCUMENTS["ramsey"]) as served:
        samples = make(tmp_path / "b", served, kinds=("question", "llm"))
    assert list(samples) == ["question:p"]
    assert told(tmp_path / "b/out")["dropped"] == {
        "llm query asked again: too many words of the document": 2,
        "llm query given up: too many words of the document": 1,
    }


def test_a_lexical_query_is_kept_only_if_bm25_finds_its_document(tmp_path: Path) -> None:
    with LLMServer("A question about subject7 and filler only?") as served:
        samples = make(tmp_path, served, kinds=("question", "lexical"))
    assert list(samples) == ["question:p"]
    assert told(tmp_path / "out")["dropped"]["lexical query given up: not found by BM25 among 20"] == 1


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        ("!empty", "too short"),
        ("!refusal", "too short"),
        ("!endless", "cut at the most tokens"),
        ("!context", "longer than the model's context"),
        ("<think>never ends", "too short"),
        ("How many GUESTS", "the question itself"),
    ],
)
def test_answers_that_are_none_are_given_up_and_counted(tmp_path: Path, action: str, reason: str) -> None:
    with LLMServer(action) as served:
        samples = make(tmp_path, served, kinds=("question", "llm"))
    assert list(samples) == ["question:p"]
    assert told(tmp_path / "out")["dropped"][f"llm query given up: {reason}"] == 1


def many(count: int) -> list[Any]:
    return [trajectory(f"p{n}", *STEPS, question=f"Question number {n}: how many guests?") for n in range(count)]


def apart(body: dict[str, Any]) -> str:
    """Write another query for every problem."""
    number = body["messages"][-1]["content"].partition("number ")[2].partition(":")[0]
    return f"which trio{number} gathers{number} alike{number}?"


def test_a_server_that_is_not_there_stops_the_run_and_leaves_nothing(tmp_path: Path) -> None:
    with LLMServer("!500") as served, pytest.raises(LLMError):
        make(tmp_path, served, many(15), kinds=("question", "llm"))
    assert not (tmp_path / "out").exists()
    with LLMServer("!no-model") as served:
        with pytest.raises(LLMError):
            make(tmp_path, served, many(15), kinds=("question", "llm"))
        assert len(served.requests) <= 5, "an unknown model is unknown to every request"


def test_a_failure_now_and_then_is_counted(tmp_path: Path) -> None:
    def sometimes(body: dict[str, Any]) -> str:
        return "!500" if "number 3:" in str(body) else apart(body)

    with LLMServer(sometimes) as served:
        samples = make(tmp_path, served, many(6), kinds=("llm",))
    assert len(samples) == 5
    assert told(tmp_path / "out")["dropped"]["llm query given up: not answered by the server"] == 1


def test_a_budget_stops_the_run_and_another_goes_on(tmp_path: Path) -> None:
    with LLMServer(apart) as served:
        for _ in range(3):
            with pytest.raises(BudgetExceededError):
                make(tmp_path, served, many(12), kinds=("llm",), calls=3)
            assert not (tmp_path / "out").exists()
        assert len(served.requests) == 9
        assert len(make(tmp_path, served, many(12), kinds=("llm",), calls=3)) == 12
        assert len(served.requests) == 12
    assert told(tmp_path / "out")["llm"]["requests"] == 12


def test_a_damaged_cache_is_named(tmp_path: Path) -> None:
    (tmp_path / "calls.sqlite").write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    with LLMServer(good) as served, pytest.raises(InputError, match="damaged"):
        make(tmp_path, served)
    sqlite3.connect(tmp_path / "other.sqlite").execute("CREATE TABLE a (b)")
    with pytest.raises(InputError, match="another program"):
        Ledger(tmp_path / "other.sqlite")


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path, [trajectory("p", *STEPS)])
    with pytest.raises(InputError, match="llm and lexical are written by a language model"):
        make_samples([file], tmp_path / "out", config=SamplingConfig(kinds=("llm", "lexical")))
    with OpenAIChat("http://127.0.0.1:9", "m") as llm, pytest.raises(InputError, match="checked by BM25"):
        make_samples([file], tmp_path / "out", config=SamplingConfig(kinds=("lexical",)), writer=QueryWriter(llm))
    with OpenAIChat("http://127.0.0.1:9", "m") as llm, pytest.raises(InputError, match=r"llm.toml"):
        QueryWriter(llm, prompts=tmp_path)


def test_a_document_of_any_length_is_shown_in_part(tmp_path: Path) -> None:
    long = "word " * 20_000
    steps = (thought("s"), retrieval(doc("long", True, text=long), kept="long"))
    with LLMServer("which little gathering forces a trio alike?") as served:
        make(tmp_path, served, [trajectory("p", *steps)], kinds=("llm",))
        assert len(str(served.requests[0])) < 20_000


def test_overlap_counts_stems_and_leaves_stop_words_out() -> None:
    request = QueryRequest("llm", "q", "d", "proof", "The question?")
    checks = Checks(SamplingConfig(max_overlap=0.4))
    fault = written_kinds(["llm"])["llm"].fault
    # how, mani, guest, share, hobbi: guest and share are in the document.
    assert fault("How many guests share the hobby?", request, "Six guests sharing one.", checks) is None
    assert fault("How many guests share?", request, "Six guests sharing one.", checks) is not None

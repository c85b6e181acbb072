"""The LLM grader against a scripted server."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import re
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rader_plugins import Document, Hit
from rader_plugins.errors import InputError
from rader_plugins.llm import OpenAIChat
from rader_plugins.reranking.grade_prompts import GRADE_PROMPTS, GradePrompt, read_grade
from rader_plugins.reranking.llm_grader import GradingError, GradingReport, LLMReranker
from rader_plugins.reranking.placing import placed
from tests.support.embedding_server import wait_for
from tests.support.llm_server import LLMServer

WORDS = {"theorem": "Grade: 5", "lemma": "Grade: 4", "noise": "Grade: 0", "prose": "It is quite helpful."}


def by_document(body: dict) -> str:
    """Answer by the first word of the document; one that starts with ``!`` is what the server is to do."""
    document = re.search(r"<document>\n(.*?)\n</document>", body["messages"][-1]["content"], re.DOTALL)
    word = document.group(1).split()[0]
    return WORDS.get(word, word if word.startswith("!") else "Grade: 2")


def hits_of(*texts: str, scores: list[float] | None = None) -> list[Hit]:
    given_scores = scores or [0.9 - 0.1 * index for index in range(len(texts))]
    return [
        Hit(Document(f"d{index}", text), score, index + 1, {"dense": score})
        for index, (text, score) in enumerate(zip(texts, given_scores, strict=True))
    ]


def connect(server: LLMServer, **options) -> LLMReranker:
    return LLMReranker(OpenAIChat(server.url, backoff=0.0, timeout=10.0, max_retries=0), **options)


def ids(hits: list[Hit]) -> list[str]:
    return [hit.document.id for hit in hits]


@pytest.mark.parametrize(
    ("answer", "grade"),
    [
        ("Grade: 4", 4),
        ("grade:0", 0),
        ("**Grade:** 5", 5),
        ("**Grade**: **3**", 3),
        ("Grade: [2]", 2),
        ("Grade: $\\boxed{4}$", 4),
        ("Grade： 4", 4),
        ("Grade = 1.", 1),
        ("Grade: 4/5", 4),
        ("Grade: 4 out of 5", 4),
        ("Grade: 4.0", 4),
        ("It needs Grade: 2 at first sight, but no.\nGrade:\n4\nbecause it fits", 4),
        ("Grade: 4\n- 3 reasons", 4),
        (" 3 ", 3),
        ("3/5", 3),
        ("<think>Grade: 1? Or 2?</think>\nGrade: 5", 5),
        ("", None),
        ("It is quite helpful.", None),
        ("I would give it a 4", None),
        ("4 documents are better", None),
        ("Grade: N", None),
        ("Grade: 6", None),
        ("Grade: -1", None),
        ("Grade: 55", None),
        ("Grade: " + "9" * 6000, None),
        ("Grade: 3.5", None),
        ("Grade: 0-5", None),
        ("Grade: 3 or 4", None),
        ("Grade: 4/10", None),
        ("Grade: high", None),
        ("Grade: 4\nGrade: unclear", None),
        ("Upgrade: 4", None),
        ("7", None),
        ("<think>Grade: 3, I would say, but", None),
    ],
)
def test_reading_grades(answer, grade):
    assert read_grade(answer) == grade


@given(st.text())
def test_reading_never_raises_and_stays_in_range(text):
    assert read_grade("Grade: " + text) in {None, 0, 1, 2, 3, 4, 5}
    assert read_grade(text) in {None, 0, 1, 2, 3, 4, 5}


def test_another_marker():
    assert read_grade("Grade: 1 Note - 4", "Note") is None
    assert read_grade("Grade: 1 Note: 4", "Note:") == 4


@pytest.mark.parametrize("name", GRADE_PROMPTS)
def test_prompts_take_any_text_and_say_the_contract(name):
    filled = GRADE_PROMPTS[name].fill("{document} of {x}", "{query} \\1 {}")
    assert "{document} of {x}" in filled
    assert "{query} \\1 {}" in filled
    assert filled.endswith("Grade: N")
    assert all(f"\n{grade} - " in filled for grade in range(6))


def test_grade_and_first_stage_are_interpolated():
    first = hits_of("noise", "lemma", "theorem", scores=[0.9, 0.8, 0.1])
    with LLMServer(by_document) as server:
        ranked = connect(server).rerank("q", first)
    assert ids(ranked) == ["d1", "d2", "d0"]
    assert [hit.score for hit in ranked] == pytest.approx([0.8, 0.55, 0.45])
    assert [hit.rank for hit in ranked] == [1, 2, 3]
    assert ranked[1].scores == {"dense": 0.1, "first_stage": 0.1, "grade": 5.0, "rerank": ranked[1].score}
    assert ids(first) == ["d0", "d1", "d2"]
    assert first[0].scores == {"dense": 0.9}


@pytest.mark.parametrize(("weight", "order"), [(0.0, "d0 d1 d2"), (1.0, "d2 d1 d0"), (0.5, "d1 d2 d0")])
def test_weight(weight, order):
    with LLMServer(by_document) as server:
        ranked = connect(server, weight=weight).rerank(
            "q", hits_of("noise", "lemma", "theorem", scores=[0.9, 0.8, 0.1])
        )
    assert " ".join(ids(ranked)) == order


@pytest.mark.parametrize(
    ("word", "field"),
    [
        ("prose", "unparsable"),
        ("!empty", "unparsable"),
        ("!refusal", "refused"),
        ("!filtered", "refused"),
        ("!500", "failed"),
        ("!400", "failed"),
        ("!429-late", "failed"),
        ("!no-choices", "failed"),
        ("!garbage", "failed"),
        ("!drop", "failed"),
    ],
)
def test_a_document_without_a_grade_keeps_its_place_and_is_counted(word, field, caplog):
    first = hits_of("noise", f"{word} x", "lemma", "theorem")
    with LLMServer(by_document) as server, caplog.at_level(logging.WARNING):
        reranker = connect(server, max_failures=0.25)
        ranked = reranker.rerank("q", first)
    assert ids(ranked) == ["d3", "d1", "d2", "d0"]
    assert [hit.rank for hit in ranked] == [1, 2, 3, 4]
    assert ranked[0].score > ranked[1].score > ranked[2].score > ranked[3].score
    assert ["grade" in hit.scores for hit in ranked] == [True, False, True, True]
    assert ranked[1].scores == {"dense": 0.8, "first_stage": 0.8}
    assert reranker.report == GradingReport(documents=4, graded=3, **{field: 1})
    assert reranker.report.ungraded == 1
    assert f"1 of 4 documents got no grade (1 {field}" in caplog.text


def test_a_timeout_keeps_the_place():
    with LLMServer(by_document) as server:
        llm = OpenAIChat(server.url, timeout=3.0, max_retries=0)  # of the others none takes so long
        reranker = LLMReranker(llm, max_failures=0.5)
        assert ids(reranker.rerank("q", hits_of("!hang", "noise", "theorem"))) == ["d0", "d2", "d1"]
        assert reranker.report.failed == 1


def test_busy_servers_are_asked_again():
    with LLMServer(by_document, script=("429", "500", "drop")) as server:
        reranker = LLMReranker(OpenAIChat(server.url, backoff=0.0, max_retries=3))
        assert ids(reranker.rerank("q", hits_of("noise", "theorem"))) == ["d1", "d0"]
        assert reranker.report == GradingReport(documents=2, graded=2)


def test_too_many_failures_are_an_error_that_loses_nothing(tmp_path):
    first = hits_of("noise", "prose", "theorem", "prose", "prose")
    with LLMServer(by_document) as server:
        reranker = connect(server, max_failures=0.4, concurrency=1, cache=tmp_path / "answers")
        with pytest.raises(GradingError, match="3 of 5 documents got no grade.*quite helpful.*max_failures") as caught:
            reranker.rerank("q", first)
        assert ids(caught.value.hits[0]) == ["d2", "d1", "d0", "d3", "d4"]
        assert caught.value.report == GradingReport(documents=5, graded=2, unparsable=3)
        assert reranker.report == caught.value.report
        requests = len(server.requests)
        # What was answered is not asked again.
        assert ids(connect(server, max_failures=1.0, cache=tmp_path / "answers").rerank("q", first)) == ids(
            caught.value.hits[0]
        )
        assert len(server.requests) == requests


def test_stops_when_the_error_is_certain():
    with LLMServer("nothing of use") as server:
        reranker = connect(server, max_failures=0.1, concurrency=2)
        with pytest.raises(GradingError) as caught:
            reranker.rerank("q", hits_of(*["x"] * 100, scores=[0.5] * 100))
        assert caught.value.report.not_asked > 50
        assert len(server.requests) < 100


def test_a_dead_server_is_left_alone_and_the_first_stage_stands():
    first = hits_of(*["x"] * 100, scores=[0.5] * 100)
    with LLMServer("!500") as server:
        reranker = connect(server, max_failures=1.0, concurrency=2)
        assert [hit.score for hit in reranker.rerank("q", first)] == [0.5] * 100
        assert reranker.report.failed == 16
        assert reranker.report.not_asked == 84
        assert len(server.requests) < 100


def test_what_is_given_up_is_not_asked_later():
    with LLMServer(by_document) as server:
        reranker = connect(server, max_failures=0.1, concurrency=2)
        with pytest.raises(GradingError):
            reranker.rerank("q", hits_of(*["prose"] * 100, scores=[0.5] * 100))
        reranker.rerank("q", hits_of("theorem"))  # waits behind whatever is still in the queue
        assert len(server.requests) < 100
        assert reranker.report.documents == 101
        assert reranker.report.graded == 1


def test_single_failures_do_not_make_a_dead_server():
    first = hits_of(*["!500", "theorem"] * 20, scores=[0.5] * 40)
    with LLMServer(by_document) as server:
        reranker = connect(server, max_failures=1.0, concurrency=1)
        reranker.rerank("q", first)
        assert reranker.report == GradingReport(documents=40, graded=20, failed=20)


def test_refused_documents_do_not_make_a_dead_server():
    first = hits_of(*["!400"] * 30, "theorem", scores=[0.5] * 31)
    with LLMServer(by_document) as server:
        reranker = connect(server, max_failures=1.0, concurrency=1)
        assert reranker.rerank("q", first)[30].scores["grade"] == 5
        assert reranker.report == GradingReport(documents=31, graded=1, failed=30)


def test_a_batch_is_one_queue_and_keeps_every_slot_busy():
    with LLMServer(by_document) as server:
        server.gate = threading.Barrier(8)  # nothing is answered unless eight are in work
        reranker = connect(server, concurrency=8)
        # Three documents a query: query after query would never bring eight together.
        ranked = reranker.rerank_batch(
            [f"q{number}" for number in range(8)], [hits_of("noise", "lemma", "theorem")] * 8
        )
    assert [ids(hits) for hits in ranked] == [["d2", "d1", "d0"]] * 8
    assert server.most == 8
    assert len(server.requests) == 24


async def test_async_gives_the_same_and_does_not_block_the_loop():
    first = [hits_of("noise", "prose", "theorem"), hits_of("lemma", "theorem")]
    with LLMServer(by_document) as server:
        expected = connect(server, max_failures=0.5).rerank_batch(["a", "b"], first)
        reranker = connect(server, max_failures=0.5)
        server.script.append("hang")
        task = asyncio.create_task(reranker.arerank_batch(["a", "b"], first))
        await asyncio.to_thread(wait_for, lambda: len(server.requests) == 10)
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await reranker.arerank_batch(["a", "b"], first) == expected
        assert await reranker.arerank("a", first[0], top_n=1) == expected[0][:1]


async def test_async_failures_are_errors_too():
    with LLMServer("no idea") as server:
        with pytest.raises(GradingError) as caught:
            await connect(server).arerank("q", hits_of("a", "b"))
        assert ids(caught.value.hits[0]) == ["d0", "d1"]


def test_prompt_reaches_the_server():
    prompt = GradePrompt("Q={query} D={document} Reply 'Score: N'.", marker="Score:")
    with LLMServer("Score: 5") as server:
        reranker = connect(server, prompt=prompt, temperature=0.6, max_tokens=7, seed=42)
        assert reranker.rerank("{document}", hits_of("{query}"))[0].scores["grade"] == 5
        assert server.requests[0]["messages"][0]["content"] == "Q={document} D={query} Reply 'Score: N'."
        sent = {name: server.requests[0][name] for name in ("temperature", "max_tokens", "seed")}
        assert sent == {"temperature": 0.6, "max_tokens": 7, "seed": 42}


def test_built_in_and_plain_prompts():
    with LLMServer() as server:
        for prompt in ("general", "math", "code", "{query}-{document}-Grade: N"):
            connect(server, prompt=prompt).rerank("q", hits_of("d"))
        assert server.said() == [*(GRADE_PROMPTS[name].fill("q", "d") for name in ("general", "math", "code")),
                                 "q-d-Grade: N"]  # fmt: skip


def test_empty_lists():
    with LLMServer() as server:
        assert connect(server).rerank_batch([], []) == []
        assert connect(server).rerank_batch(["q", "r"], [[], []]) == [[], []]
        assert server.requests == []


@pytest.mark.parametrize(
    "options",
    [
        {"weight": 1.5},
        {"weight": float("nan")},
        {"max_failures": -0.1},
        {"concurrency": 0},
        {"max_tokens": 0},
        {"temperature": -1},
        {"prompt": "poetry"},
        {"prompt": "only {query} Grade: N"},
        {"prompt": "{query} {document}, please"},
    ],
)
def test_bad_options(options):
    with pytest.raises(InputError):
        LLMReranker(OpenAIChat("http://localhost:1", "m"), **options)


def test_bad_input_sends_nothing():
    with LLMServer() as server:
        reranker = connect(server)
        for queries, hits in (("q", [hits_of("d")]), (["q"], []), (["\ud800"], [hits_of("d")]), ([3], [hits_of("d")])):
            with pytest.raises(InputError):
                reranker.rerank_batch(queries, hits)
        with pytest.raises(InputError, match="score"):
            reranker.rerank("q", hits_of("d", scores=[float("nan")]))
        assert server.requests == []
    with pytest.raises(InputError, match="ChatModel"):
        LLMReranker("http://localhost:8000")


grades = st.lists(st.tuples(st.none() | st.integers(0, 5), st.floats(-10, 10)), max_size=12)


@given(grades, st.sampled_from([0.0, 0.3, 0.5, 1.0]))
def test_placing(rows, weight):
    rows = sorted(rows, key=lambda row: -row[1])
    hits = hits_of(*["x"] * len(rows), scores=[score for _, score in rows] or None)
    ranked = placed(hits, [grade for grade, _ in rows], weight)
    assert sorted(ids(ranked)) == sorted(ids(hits))
    assert [hit.rank for hit in ranked] == list(range(1, len(rows) + 1))
    # Those without a grade stand where they stood.
    for position, (grade, _) in enumerate(rows):
        if grade is None:
            assert ranked[position].document.id == f"d{position}"
            assert "grade" not in ranked[position].scores
    # The graded ones are sorted by their final score, equal ones in first-stage order.
    final = {f"d{index}": weight * grade / 5 + (1 - weight) * score for index, (grade, score) in enumerate(rows)
             if grade is not None}  # fmt: skip
    graded = [hit for hit in ranked if hit.document.id in final]
    assert [hit.score for hit in graded] == pytest.approx([final[hit.document.id] for hit in graded])
    assert graded == sorted(graded, key=lambda hit: (-hit.score, int(hit.document.id[1:])))
    # Scores say the same as ranks.
    scores = [hit.score for hit in ranked]
    assert scores == sorted(scores, reverse=True)


def test_scores_of_ungraded_documents_are_evenly_spaced():
    first = hits_of(*"abcdef", scores=[1.0, 0.9, 0.8, 0.7, 0.6, 0.5])
    ranked = placed(first, [None, 5, None, None, 0, None], 0.5)
    assert ids(ranked) == ["d0", "d1", "d2", "d3", "d4", "d5"]
    # Between 0.5 + 0.5 * 1.0 and 0.95; between 0.95 and 0.3; between 0.3 and 0.5 * 0.5.
    assert [hit.score for hit in ranked] == pytest.approx([0.975, 0.95, 0.95 - 0.65 / 3, 0.95 - 1.3 / 3, 0.3, 0.275])


def ndcg_at_10(ranked: list[str], relevant: set[str]) -> float:
    gains = [1 / math.log2(position + 2) for position in range(10)]
    gained = sum(gain for gain, name in zip(gains, ranked, strict=False) if name in relevant)
    return gained / sum(gains[: len(relevant)])


def test_published_grades_and_cosines_score_what_was_published(shared_data):
    """RaDeR's own grades over raw cosines, on the split that its authors published both for."""
    folder = shared_data / "bright-golden" / "theoremqa_theorems_gte"
    graded = json.loads((folder / "reranker_scores.json").read_bytes())
    cosines = json.loads((folder / "retriever_scores.json").read_bytes())
    relevant_ids: dict[str, set[str]] = {}
    for line in (folder / "qrels.tsv").read_text().splitlines()[1:]:
        query, document, relevance = line.split("\t")
        if int(relevance) > 0:
            relevant_ids.setdefault(query, set()).add(document)
    figures = []
    for query, relevant in relevant_ids.items():
        names = sorted(graded[query], key=lambda name: -cosines[query][name])
        first = [Hit(Document(name, ""), cosines[query][name], index + 1) for index, name in enumerate(names)]
        ranked = placed(first, [round(graded[query][name] * 5) for name in names], 0.5)
        figures.append(ndcg_at_10(ids(ranked), relevant))
    published = json.loads((folder / "published.json").read_bytes())["NDCG@10"]
    assert sum(figures) / len(figures) == pytest.approx(published, abs=5e-6)

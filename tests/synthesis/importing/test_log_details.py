"""What logs say beside searches: citations, opened documents, web searches, prompts, feedback, what is not known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rader_synthesis.importing import Corpus, ImportReport, PromptDocuments, Scale, importer_class
from rader_synthesis.labelling import label_by_citation, label_by_opened

from rader_plugins.documents import Document
from rader_plugins.errors import InputError
from rader_plugins.trajectories import Considered, Step, Trajectory

ASK = {"role": "user", "content": "How long can a payment be reversed?"}
DOCUMENTS = [{"id": "kb-1", "text": "Thirty days."}, {"id": "kb-2", "text": "Plans grant seats."}]


def read(kind: str, tmp_path: Path, *rows: Any, report: ImportReport | None = None, **options: Any) -> list[Trajectory]:
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return list(importer_class(kind)(**options).read(path, report))


def answered(*items: Any, text: str = "Thirty days.", **block: Any) -> dict[str, Any]:
    """A response of OpenAI's whose last message has this text."""
    message = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text, **block}]}
    return {"id": "r", "input": [ASK], "output": [*items, message]}


def call(name: str, arguments: Any, result: Any, id: str = "c") -> list[dict[str, Any]]:
    """A call in chat completions, and its result."""
    function = {"name": name, "arguments": json.dumps(arguments)}
    content = result if isinstance(result, str) else json.dumps(result)
    return [
        {"role": "assistant", "content": None, "tool_calls": [{"id": id, "type": "function", "function": function}]},
        {"role": "tool", "tool_call_id": id, "content": content},
    ]


def considered(trajectory: Trajectory) -> list[Considered]:
    return [document for step in trajectory.retrievals for document in step.considered]


def labels(trajectory: Trajectory) -> dict[str, bool | None]:
    return {document.id: document.relevant for document in considered(trajectory)}


def test_files_that_the_interface_cites_are_relevant(tmp_path: Path) -> None:
    results = [
        {"file_id": "f1", "filename": "refunds.md", "score": 0.8, "text": "Thirty days."},
        {"file_id": "f1", "filename": "refunds.md", "score": 0.7, "text": "Credit notes later."},
        {"file_id": "f2", "filename": "seats.md", "score": 0.2, "text": "Plans grant seats."},
    ]
    search = {"type": "file_search_call", "id": "fs", "queries": ["reversal"], "results": results}
    citation = {"type": "file_citation", "file_id": "f1", "filename": "refunds.md", "index": 4}
    [trajectory] = read("openai", tmp_path, answered(search, annotations=[citation]))
    documents = considered(trajectory)
    assert len({document.id for document in documents}) == 3  # parts of one file are told apart
    assert [(document.relevant, document.labelled_by) for document in documents] == [
        (True, "citation"), (None, ""), (None, ""),
    ]  # fmt: skip
    assert documents[0].score == 0.8


def test_of_a_cited_file_the_part_that_the_answer_speaks_of_is_relevant_and_no_other_part_is_rejected(
    tmp_path: Path,
) -> None:
    texts = ["Guests need no account.", "Paid sums return for thirty days.", "Seats are paid each month."]
    results = [{"file_id": "f1", "filename": "plans.md", "text": text} for text in texts]
    other = {"file_id": "f2", "filename": "export.md", "text": "Tables are exported."}
    search = {"type": "file_search_call", "id": "fs", "queries": ["x"], "results": [*results, other]}
    citation = {"type": "file_citation", "file_id": "f1", "filename": "plans.md", "index": 4}
    answer = "They return within thirty days."
    rows = answered(search, text=answer, annotations=[citation])
    [trajectory] = read("openai", tmp_path, rows)
    assert [document.relevant for document in considered(label_by_citation(trajectory))] == [None, True, None, False]


def test_a_file_search_without_results_takes_cited_files_from_the_corpus(tmp_path: Path) -> None:
    search = {"type": "file_search_call", "id": "fs", "queries": ["reversal"], "results": None}
    citation = {"type": "file_citation", "file_id": "f1", "filename": "refunds.md", "index": 4}
    report = ImportReport()
    corpus = Corpus([Document("f1", "Thirty days.")])
    [trajectory] = read("openai", tmp_path, answered(search, annotations=[citation]), corpus=corpus, report=report)
    assert [(document.id, document.text, document.relevant) for document in considered(trajectory)] == [
        ("f1", "Thirty days.", True)
    ]
    assert any("file_search_call.results" in note for note in report.notes)


def test_web_searches_know_their_pages_by_sources_and_citations(tmp_path: Path) -> None:
    action = {"type": "search", "query": "reversal", "sources": [{"type": "url", "url": "https://a.example/1"}]}
    search = {"type": "web_search_call", "id": "ws", "status": "completed", "action": action}
    citation = {
        "type": "url_citation",
        "url": "https://b.example/2",
        "title": "Rules",
        "start_index": 0,
        "end_index": 3,
    }
    opened = {"type": "web_search_call", "id": "wo", "action": {"type": "open_page", "url": "https://a.example/1"}}
    [trajectory] = read("openai", tmp_path, answered(search, opened, annotations=[citation]))
    assert [step.kind for step in trajectory.steps] == ["query", "retrieval", "open", "answer"]
    assert [(page.id, page.relevant, page.opened) for page in considered(trajectory)] == [
        ("https://a.example/1", None, True), ("https://b.example/2", True, False)
    ]  # fmt: skip
    corpus = Corpus([Document("https://b.example/2", "What the rules say.")])
    [trajectory] = read("openai", tmp_path, answered(search, annotations=[citation]), corpus=corpus)
    assert considered(trajectory)[1].text == "What the rules say."


@pytest.mark.parametrize(
    "items",
    [
        [{"type": "mcp_call", "id": "m", "name": "search", "server_label": "kb", "arguments": '{"query": "q"}',
          "output": json.dumps(DOCUMENTS)}],
        [{"type": "mcp_call", "id": "m", "name": "ask", "arguments": '{"query": "q"}',
          "output": json.dumps({"content": [{"type": "text", "text": json.dumps({"results": DOCUMENTS})}]})}],
        [{"type": "custom_tool_call", "call_id": "c", "name": "search_docs", "input": "q"},
         {"type": "custom_tool_call_output", "call_id": "c", "output": json.dumps(DOCUMENTS)}],
    ],
)  # fmt: skip
def test_other_tool_items_of_responses_are_searches(tmp_path: Path, items: list[Any]) -> None:
    [trajectory] = read("openai", tmp_path, answered(*items))
    assert [step.kind for step in trajectory.steps] == ["query", "retrieval", "answer"]
    assert trajectory.steps[0].text == "q"
    assert list(labels(trajectory)) == ["kb-1", "kb-2"]


def test_what_is_not_understood_is_counted_by_type_and_tools_are_named(tmp_path: Path) -> None:
    report = ImportReport()
    row = answered({"type": "image_generation_call", "id": "i"}, {"type": "image_generation_call", "id": "j"})
    row["input"] = [{"role": "user", "content": [{"type": "input_text", "text": "q"}, {"type": "input_image"}]}]
    row["output"][-1:] = [*call("forecast", {"place": "here"}, {"sun": 1}), row["output"][-1]]
    assert read("openai", tmp_path, row, report=report) == []
    assert report.unknown == {"item image_generation_call": 2, "content input_image": 1}
    assert report.skipped == {"nothing retrieved": 1}
    [hint] = report.hints()
    assert "forecast (1)" in hint
    assert "--tool forecast" in hint


def test_blocks_of_anthropic_bring_documents_and_exact_citations(tmp_path: Path) -> None:
    def found(source: str, title: str, text: str) -> dict[str, Any]:
        return {"type": "search_result", "source": source, "title": title, "content": [{"type": "text", "text": text}]}

    blocks = [found("kb-1", "Refunds", "Thirty days."), found("kb-2", "Seats", "Plans grant seats.")]
    location = {"type": "search_result_location", "source": "kb-1", "title": "Refunds", "cited_text": "Thirty days.",
                "search_result_index": 0, "start_block_index": 0, "end_block_index": 1}  # fmt: skip
    messages = [
        ASK,
        {"role": "assistant", "content": [{"type": "tool_use", "id": "u", "name": "kb", "input": {"query": "q"}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "u", "content": blocks}]},
        {"role": "assistant", "content": [{"type": "text", "text": "It is "},
                                          {"type": "text", "text": "thirty days", "citations": [location]},
                                          {"type": "text", "text": "."}]},
    ]  # fmt: skip
    [trajectory] = read("anthropic", tmp_path, {"messages": messages})
    assert trajectory.answer == "It is thirty days."
    assert labels(trajectory) == {"kb-1": True, "kb-2": None}


def test_remarks_of_the_program_beside_results_are_no_questions(tmp_path: Path) -> None:
    use = {"type": "tool_use", "id": "u", "name": "search", "input": {"query": "q"}}
    result = {"type": "tool_result", "tool_use_id": "u", "content": json.dumps(DOCUMENTS)}
    remark = {"type": "text", "text": "<system-reminder>Be brief.</system-reminder>"}
    messages = [ASK, {"role": "assistant", "content": [use]}, {"role": "user", "content": [result, remark]}]
    [trajectory] = read("anthropic", tmp_path, {"messages": [*messages, {"role": "assistant", "content": "Thirty."}]})
    assert [step.kind for step in trajectory.steps] == ["query", "retrieval", "thought", "answer"]


def test_calls_without_results_are_counted(tmp_path: Path) -> None:
    report = ImportReport()
    assert read("openai", tmp_path, [ASK, call("search", "q", DOCUMENTS)[0]], report=report) == []
    assert report.notes == {"call of a search tool without a result": 1}


def test_web_search_and_documents_of_anthropic(tmp_path: Path) -> None:
    pages = [{"type": "web_search_result", "url": f"https://e.example/{n}", "title": f"Page {n}", "page_age": None}
             for n in (1, 2)]  # fmt: skip
    cited = {"type": "web_search_result_location", "url": "https://e.example/2", "title": "Page 2", "cited_text": "So."}
    content = [
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "reversal"}},
        {"type": "web_search_tool_result", "tool_use_id": "s", "content": pages},
        {"type": "text", "text": "So.", "citations": [cited]},
    ]
    [trajectory] = read("anthropic", tmp_path, {"messages": [ASK, {"role": "assistant", "content": content}]})
    assert labels(trajectory) == {"https://e.example/1": None, "https://e.example/2": True}
    source = {"type": "text", "media_type": "text/plain", "data": "Thirty days. Then a note."}
    document = {"type": "document", "source": source, "title": "Refunds", "citations": {"enabled": True}}
    question = {"role": "user", "content": [document, {"type": "text", "text": "How long?"}]}
    location = {"type": "char_location", "document_index": 0, "document_title": "Refunds", "cited_text": "Thirty days."}
    answer = {"role": "assistant", "content": [{"type": "text", "text": "Thirty.", "citations": [location]}]}
    [trajectory] = read("anthropic", tmp_path, {"messages": [question, answer]})
    assert (trajectory.question, [candidate.relevant for candidate in considered(trajectory)]) == ("How long?", [True])


def test_numbers_that_results_carry_are_citations_unless_two_searches_share_them(tmp_path: Path) -> None:
    results = "[1] Thirty days.\n[2] Plans grant seats."
    answer = {"role": "assistant", "content": "Thirty days [1], see also 【9】."}
    [trajectory] = read("openai", tmp_path, [ASK, *call("search", {"query": "q"}, results), answer])
    assert [(document.text, document.relevant) for document in considered(trajectory)] == [
        ("Thirty days.", True),
        ("Plans grant seats.", None),
    ]
    assert all(document.id.startswith("text:") for document in considered(trajectory))
    other = "[1] Something else.\n[2] And more."
    twice = [ASK, *call("search", {"query": "q"}, results), *call("search", {"query": "p"}, other, "d"), answer]
    report = ImportReport()
    [trajectory] = read("openai", tmp_path, twice, report=report)
    assert {document.relevant for document in considered(trajectory)} == {None}
    assert report.notes == {"number cited that several searches gave to different documents": 1}


def test_ids_that_only_count_do_not_make_documents_of_two_searches_one(tmp_path: Path) -> None:
    first = '<document id="1">Thirty days.</document><document id="2">Plans.</document>'
    second = '<document index="1"><source>a.md</source><document_content>Other.</document_content></document>'
    [trajectory] = read(
        "openai",
        tmp_path,
        [ASK, *call("ask", "q", first), *call("ask", "p", second, "d"), {"role": "assistant", "content": "So."}],
    )
    assert len({document.id for document in considered(trajectory)}) == 3
    assert [document.text for document in considered(trajectory)] == ["Thirty days.", "Plans.", "Other."]


def test_what_was_opened_and_passed_over(tmp_path: Path) -> None:
    pages = [{"url": f"https://e.example/{n}", "title": f"Page {n}", "snippet": f"Snippet {n}."} for n in range(4)]
    thought = {"role": "assistant", "reasoning_content": "This helps. " * 60, "content": None}
    messages = [
        ASK,
        *call("web_search", {"query": "reversal"}, pages, "a"),
        *call("open_page", {"url": "https://e.example/0"}, "Nothing here.", "b"),
        *call("fetch", {"id": "https://e.example/2"}, "The whole page.", "c"),
        thought,
        {"role": "assistant", "content": "Thirty days."},
    ]
    [trajectory] = read("openai", tmp_path, messages)
    assert [step.kind for step in trajectory.steps] == ["query", "retrieval", "open", "open", "thought", "answer"]
    assert [(step.document_id, step.text) for step in trajectory.steps if step.kind == "open"] == [
        ("https://e.example/0", "Nothing here."), ("https://e.example/2", "The whole page.")
    ]  # fmt: skip
    documents = considered(trajectory)
    assert [document.opened for document in documents] == [True, False, True, False]
    assert documents[0].weight < 1 < documents[2].weight  # no reasoning followed the first, much the second
    assert list(labels(label_by_opened(trajectory)).values()) == [True, False, True, None]


def test_opening_without_any_reasoning_in_the_log_says_nothing_of_weight(tmp_path: Path) -> None:
    pages = [{"id": "a", "text": "One."}, {"id": "b", "text": "Two."}]
    messages = [ASK, *call("search", "q", pages, "a"), *call("get_document", {"doc_id": "b"}, "All of two.", "b")]
    [trajectory] = read("openai", tmp_path, [*messages, {"role": "assistant", "content": "Two."}])
    assert [(document.opened, document.weight) for document in considered(trajectory)] == [(False, 1.0), (True, 1.0)]


def test_thoughts_in_tags_are_thoughts(tmp_path: Path) -> None:
    answer = "<think>kb-2 does not help.</think>Thirty days [kb-1]."
    unopened = {"role": "assistant", "content": "So it is.</think>\n\nThirty days."}
    [trajectory] = read(
        "openai", tmp_path, [ASK, *call("search", "q", DOCUMENTS), {"role": "assistant", "content": answer}]
    )
    assert [(step.kind, step.text) for step in trajectory.steps[2:]] == [
        ("thought", "kb-2 does not help."), ("answer", "Thirty days [kb-1].")
    ]  # fmt: skip
    [trajectory] = read("openai", tmp_path, [ASK, *call("search", "q", DOCUMENTS), unopened])
    assert [step.text for step in trajectory.steps[2:]] == ["So it is.", "Thirty days."]


@pytest.mark.parametrize(
    ("feedback", "reward"),
    [
        ({"reward": 0.5}, 0.5),
        ({"correct": False}, 0.0),
        ({"feedback": {"thumbs": "up"}}, 1.0),
        ({"feedback": {"thumbs_down": True}}, 0.0),
        ({"feedback": "👎"}, 0.0),
        ({"thumbs_up": True}, 1.0),
        ({"metadata": {"feedback": "thumbs_down"}}, 0.0),
        ({"metadata": {"feedback": "thumbs_down"}, "correct": True}, 1.0),
        ({"rating": "negative"}, 0.0),
        ({"scores": [{"value": 1.0, "dataType": "NUMERIC"}, {"value": 0, "dataType": "BOOLEAN"}]}, 0.5),
        ({"scores": [{"name": "a", "stringValue": "good", "dataType": "CATEGORICAL"}]}, 1.0),
        ({"feedback_stats": {"user_score": {"n": 2, "avg": 0.5}}}, 0.5),
        ({"annotations": [{"name": "x", "result": {"label": "thumbs-down", "score": None}}]}, 0.0),
        ({}, None),
    ],
)  # fmt: skip
def test_feedback_in_its_many_shapes(tmp_path: Path, feedback: dict[str, Any], reward: float | None) -> None:
    messages = [ASK, *call("search", "q", DOCUMENTS), {"role": "assistant", "content": "So."}]
    [trajectory] = read("openai", tmp_path, {"messages": messages, **feedback})
    assert trajectory.reward == reward


def test_ratings_need_their_scale(tmp_path: Path) -> None:
    messages = [ASK, *call("search", "q", DOCUMENTS), {"role": "assistant", "content": "So."}]
    rows = [{"messages": [{**ASK, "content": f"Case {n}"}, *messages[1:]], "rating": n} for n in (1, 2, 5)]
    for options in ({}, {"skip_faulty": True}):  # of all rows, and not the fault of one
        with pytest.raises(InputError, match="--scale 1-5"):
            read("openai", tmp_path, *rows, **options)
    assert [turn.reward for turn in read("openai", tmp_path, *rows, scale=Scale.parse("1-5"))] == [0.0, 0.25, 1.0]
    assert [turn.reward for turn in read("openai", tmp_path, *rows, scale=Scale.parse("5-1"))] == [1.0, 0.75, 0.0]


def test_fields_that_look_like_feedback_and_were_not_used_are_named(tmp_path: Path) -> None:
    messages = [ASK, *call("search", "q", DOCUMENTS), {"role": "assistant", "content": "So."}]
    report = ImportReport()
    read(
        "openai",
        tmp_path,
        {"messages": messages, "csat_stars": 4, "metadata": {"user_vote": 1}, "reward": 1},
        report=report,
    )
    assert report.ignored == {"csat_stars": 1, "metadata.user_vote": 1}
    assert "csat_stars" in report.hints()[-1]


def test_the_reward_goes_to_the_last_turn_that_searched(tmp_path: Path) -> None:
    thanks = [{"role": "user", "content": "Thanks!"}, {"role": "assistant", "content": "You are welcome."}]
    messages = [ASK, *call("search", "q", DOCUMENTS), {"role": "assistant", "content": "So."}, *thanks]
    [trajectory] = read("openai", tmp_path, {"messages": messages, "reward": 1.0, "gold_answer": "30"})
    assert (trajectory.question, trajectory.reward, trajectory.gold_answer) == (ASK["content"], 1.0, "30")


def test_the_same_follow_up_of_two_conversations_is_two_questions(tmp_path: Path) -> None:
    def conversation(plan: str) -> list[Any]:
        first = [{"role": "user", "content": f"What is the {plan} plan?"}, {"role": "assistant", "content": "Nine."}]
        return [*first, {"role": "user", "content": "And per year?"}, *call("search", plan, DOCUMENTS)]

    monthly, team = read("openai", tmp_path, conversation("monthly"), conversation("team"))
    assert monthly.problem_id != team.problem_id
    assert "monthly" in monthly.question
    assert monthly.question.endswith("And per year?")
    report = ImportReport()
    assert read("openai", tmp_path, conversation("monthly"), report=report, follow_ups="leave-out") == []
    assert sum("follow-up" in reason for reason in report.skipped) == 1


TEMPLATES = {
    "llama-index": "Context information is below.\n---------------------\n{documents}\n---------------------\nGiven "
    "the context information and not prior knowledge, answer the query.\nQuery: How long?\nAnswer: ",
    "langchain": "You are an assistant for answering.\nQuestion: How long? \nContext: {documents} \nAnswer:",
    "context first": "Context:\n{documents}\n\nQuestion: How long?",
    "tags": "Answer from these.\n<documents>\n{documents}\n</documents>\n\nHow long?",
}


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=list(TEMPLATES))
def test_documents_in_a_prompt_are_found(tmp_path: Path, template: str) -> None:
    prompt = template.format(documents="Payments can be reversed for thirty days.\n\nPlans grant seats.")
    answer = {"role": "assistant", "content": "Thirty days."}
    [trajectory] = read("openai", tmp_path, [{"role": "user", "content": prompt}, answer])
    assert trajectory.question == "How long?"
    assert [document.text for document in considered(trajectory)] == [
        "Payments can be reversed for thirty days.",
        "Plans grant seats.",
    ]


def test_documents_in_a_prompt_are_found_by_the_corpus_and_by_a_pattern(tmp_path: Path) -> None:
    corpus = Corpus([
        Document("d1", "Refunds Payments can be reversed for thirty days.", {"title": "Refunds"}),
        Document("d2", "Plans grant as many seats as they say."),
        Document("d3", "This is about something else."),
    ])  # fmt: skip
    prompt = (
        "Be brief.\n\nPlans grant as many  seats as they say.\n\nPayments can be reversed for thirty days.\n\nHow long?"
    )
    answer = {"role": "assistant", "content": "Thirty days."}
    for messages in (
        [{"role": "user", "content": prompt}, answer],
        [
            {"role": "system", "content": prompt.replace("How long?", "")},
            {"role": "user", "content": "How long?"},
            answer,
        ],
    ):
        [trajectory] = read("openai", tmp_path, messages, corpus=corpus)
        assert trajectory.question == "How long?"
        assert sorted(document.id for document in considered(trajectory)) == ["d1", "d2"]
    own = PromptDocuments(r"(?s)KNOWN>>(?P<documents>.*)<<ASK (?P<question>.*)")
    [trajectory] = read(
        "openai", tmp_path, [{"role": "user", "content": "KNOWN>>One.\n\nTwo.<<ASK How?"}, answer], prompts=own
    )
    assert (trajectory.question, len(considered(trajectory))) == ("How?", 2)
    with pytest.raises(InputError, match="needs the groups"):
        PromptDocuments("x")


def test_a_part_of_a_document_is_that_document_or_stays_a_part(tmp_path: Path) -> None:
    full_text = (
        "What holds for refunds was settled by the board in spring.\n\nQuestions go to the owner of the workspace."
    )
    documents = [Document("kb-1", full_text), Document("kb-2", "Entirely other matters are treated in this one here.")]
    messages = [ASK, *call("search", "q", full_text), {"role": "assistant", "content": "So."}]
    report = ImportReport()
    [trajectory] = read("openai", tmp_path, messages, corpus=Corpus(documents), report=report)
    assert [(document.id, document.text) for document in considered(trajectory)] == [("kb-1", full_text)]
    assert report.notes == {"part of a document of the corpus, taken for that document": 2}
    [unmerged] = read("openai", tmp_path, messages, corpus=Corpus(documents, fragments="keep"))
    assert len(considered(unmerged)) == 2


def test_a_reranker_puts_the_search_into_its_order(tmp_path: Path) -> None:
    def span(id: str, kind: str, attributes: dict[str, Any], parent: str | None = "root") -> dict[str, Any]:
        context = {"trace_id": "t", "span_id": id}
        return {"context": context, "parent_id": parent, "span_kind": kind, "attributes": attributes, "start_time": id}

    def documents(prefix: str, *ids: str) -> dict[str, Any]:
        flat = {f"{prefix}.{n}.document.id": id for n, id in enumerate(ids)}
        return flat | {f"{prefix}.{n}.document.content": f"Text of {id}." for n, id in enumerate(ids)}

    report = ImportReport()
    [trajectory] = read(
        "openinference", tmp_path,
        span("a", "CHAIN", {"input.value": "How long?", "output.value": "Thirty days."}, None),
        span("b", "RETRIEVER", {"input.value": "reversal", **documents("retrieval.documents", "x", "y", "z")}, "a"),
        span("c", "RERANKER", {"reranker.query": "reversal", **documents("reranker.output_documents", "z", "x")}, "a"),
        report=report,
    )  # fmt: skip
    assert [document.id for document in considered(trajectory)] == ["z", "x", "y"]
    assert report.notes == {"search put in the order of its reranker": 1}


def test_spans_without_texts_take_them_from_the_corpus(tmp_path: Path) -> None:
    attributes = {
        "gen_ai.operation.name": "retrieval",
        "gen_ai.retrieval.query.text": "reversal",
        "gen_ai.retrieval.documents": json.dumps([{"id": "d1", "score": 0.9}, {"id": "d2", "score": 0.1}]),
    }
    corpus = Corpus([Document("d1", "Thirty days."), Document("d2", "Seats.")])
    report = ImportReport()
    span = {"traceId": "t", "spanId": "s", "name": "retrieval", "attributes": attributes}
    [trajectory] = read("otel", tmp_path, span, corpus=corpus, report=report)
    assert [(document.text, document.score) for document in considered(trajectory)] == [
        ("Thirty days.", 0.9),
        ("Seats.", 0.1),
    ]
    assert trajectory.question == "reversal"
    assert any("--corpus" in note for note in report.notes)


def test_a_search_within_a_tool_counts_once_and_one_within_a_search_not_at_all(tmp_path: Path) -> None:
    def run(id: str, parent: str | None, kind: str, inputs: Any, outputs: Any) -> dict[str, Any]:
        row = {"id": id, "trace_id": "t", "parent_run_id": parent, "run_type": kind, "start_time": id, "name": kind}
        return {**row, "inputs": inputs, "outputs": outputs}

    retrieved = {"documents": [{"page_content": "Thirty days.", "metadata": {"source": "a.md"}}]}
    [trajectory] = read(
        "langsmith", tmp_path,
        run("1", None, "chain", {"question": "How long?"}, {"answer": "Thirty days."}),
        run("2", "1", "tool", {"query": "reversal"}, {"output": "Thirty days."}),
        run("3", "2", "retriever", {"query": "reversal"}, retrieved),
        run("4", "3", "retriever", {"query": "payment reversal"}, retrieved),
    )  # fmt: skip
    assert [(step.kind, step.text) for step in trajectory.steps] == [
        ("query", "reversal"), ("retrieval", ""), ("answer", "Thirty days.")
    ]  # fmt: skip
    assert considered(trajectory)[0].id.startswith("a.md#")


def test_react_texts_of_other_makers(tmp_path: Path) -> None:
    text = (
        "Question: How long?\nThought: I should look.\nAction: Search\nAction Input: reversal\n"
        "Observation: Thirty days.\nThought: I now know.\nFinal Answer: Thirty days"
    )
    [trajectory] = read("react", tmp_path, {"text": text})
    assert [(step.kind, step.text) for step in trajectory.steps] == [
        ("thought", "I should look."), ("query", "reversal"), ("retrieval", ""),
        ("thought", "I now know."), ("answer", "Thirty days"),
    ]  # fmt: skip
    assert trajectory.question == "How long?"


def test_hermes_tags_of_sharegpt(tmp_path: Path) -> None:
    called, returned = {"name": "search", "arguments": {"query": "q"}}, {"name": "search", "content": DOCUMENTS}
    turns = [
        {"from": "human", "value": "How long?"},
        {"from": "gpt", "value": f"Let me look.\n<tool_call>\n{json.dumps(called)}\n</tool_call>"},
        {"from": "tool", "value": f"<tool_response>\n{json.dumps(returned)}\n</tool_response>"},
        {"from": "gpt", "value": "Thirty days."},
    ]  # fmt: skip
    [trajectory] = read("sharegpt", tmp_path, {"conversations": turns})
    assert [step.kind for step in trajectory.steps] == ["thought", "query", "retrieval", "answer"]
    assert list(labels(trajectory)) == ["kb-1", "kb-2"]


def test_files_that_a_coding_agent_found_and_read(tmp_path: Path) -> None:
    def line(kind: str, content: Any, **more: Any) -> dict[str, Any]:
        return {"type": kind, "sessionId": "s", "message": {"role": kind, "content": content}, **more}

    def use(id: str, name: str, given: Any) -> dict[str, Any]:
        return line("assistant", [{"type": "tool_use", "id": id, "name": name, "input": given}])

    def returned(id: str, text: str, **more: Any) -> dict[str, Any]:
        return line("user", [{"type": "tool_result", "tool_use_id": id, "content": text}], **more)

    files = ["src/a.py", "src/b.py", "src/c.py"]
    [trajectory] = read(
        "agent-sessions", tmp_path,
        line("user", "Where are refunds made?"),
        use("1", "Grep", {"pattern": "refund"}),
        returned("1", "Found 3 files\n" + "\n".join(files), toolUseResult={"filenames": files, "numFiles": 3}),
        use("2", "Read", {"file_path": "src/b.py"}),
        returned("2", "def refund(): ..."),
        line("assistant", [{"type": "text", "text": "In src/b.py."}]),
    )  # fmt: skip
    assert [(file.id, file.opened, file.text) for file in considered(trajectory)] == [
        ("src/a.py", False, ""), ("src/b.py", True, "def refund(): ..."), ("src/c.py", False, "")
    ]  # fmt: skip


def test_messages_one_a_row_are_put_together_by_their_conversation(tmp_path: Path) -> None:
    def rows(name: str) -> list[dict[str, Any]]:
        messages = [ASK, *call("search", name, DOCUMENTS), {"role": "assistant", "content": f"So, {name}."}]
        return [{"conversation_id": name, "reward": None, **message} for message in messages[:-1]] + [
            {"conversation_id": name, "reward": 1, **messages[-1]}
        ]

    mixed = [row for pair in zip(rows("one"), rows("two"), strict=True) for row in pair]
    trajectories = read("openai", tmp_path, *mixed)
    assert [(trajectory.id, trajectory.answer, trajectory.reward) for trajectory in trajectories] == [
        ("one", "So, one.", 1.0),
        ("two", "So, two.", 1.0),
    ]
    named = [{"ticket" if key == "conversation_id" else key: value for key, value in row.items()} for row in mixed]
    assert [trajectory.id for trajectory in read("openai", tmp_path, *named, group_by="ticket")] == ["one", "two"]


def test_a_function_may_see_all_rows_of_a_trace(tmp_path: Path) -> None:
    def convert(rows: list[dict[str, Any]]) -> Trajectory:
        steps = (Step("query", rows[1]["asked"]), Step("retrieval", considered=(Considered("a", rows[2]["got"]),)))
        return Trajectory(rows[0]["trace"], "p", rows[0]["question"], steps, reward=rows[0]["stars"])

    def rows(name: str) -> list[dict[str, Any]]:
        return [
            {"trace": name, "question": f"{name}?", "stars": 4},
            {"trace": name, "asked": "q"},
            {"trace": name, "got": "x"},
        ]

    mixed = [row for pair in zip(rows("one"), rows("two"), strict=True) for row in pair]
    options: dict[str, Any] = {"function": convert, "group_by": "trace"}
    trajectories = read("function", tmp_path, *mixed, scale=Scale.parse("1-5"), **options)
    assert [(trajectory.id, trajectory.question, trajectory.reward) for trajectory in trajectories] == [
        ("one", "one?", 0.75),
        ("two", "two?", 0.75),
    ]
    with pytest.raises(InputError, match="--scale"):
        read("function", tmp_path, *mixed, **options)
    with pytest.raises(InputError, match="row 1 has no 'other'"):
        read("function", tmp_path, *mixed, function=convert, group_by="other")


def test_a_trace_that_was_exported_twice_counts_once(tmp_path: Path) -> None:
    from tests.synthesis.importing.one_conversation import FORMATS

    for kind in ("langsmith", "langfuse", "openinference", "otel"):
        report = ImportReport()
        [trajectory] = read(kind, tmp_path, *FORMATS[kind](), *FORMATS[kind](), report=report)
        assert [step.kind for step in trajectory.steps] == ["thought", "query", "retrieval", "answer"], kind
        assert report.notes["span that is there twice"] >= 4


def test_traces_of_one_session_are_one_conversation_whatever_their_order(tmp_path: Path) -> None:
    def trace(id: str, start: str, session: str, question: str) -> list[dict[str, Any]]:
        documents = [{"id": "kb-1", "text": "Thirty days."}]
        return [
            {"id": id, "sessionId": session, "timestamp": start, "input": question, "output": f"Answer {id}."},
            {
                "id": f"{id}-o",
                "traceId": id,
                "type": "RETRIEVER",
                "input": "q",
                "output": documents,
                "startTime": start,
            },
        ]

    rows = [
        *trace("t3", "2026-01-03", "s", "And per year?"),
        *trace("t1", "2026-01-01", "s", "What is the plan?"),
        *trace("t2", "2026-01-02", "other", "And per year?"),
    ]
    trajectories = {trajectory.id: trajectory for trajectory in read("langfuse", tmp_path, *rows)}
    assert trajectories["t3"].question == "User: What is the plan?\nAssistant: Answer t1.\nUser: And per year?"
    assert trajectories["t2"].question == "And per year?"
    assert trajectories["t3"].problem_id != trajectories["t2"].problem_id


def test_a_trace_that_was_given_its_history_is_a_follow_up(tmp_path: Path) -> None:
    history = [{"type": "human", "content": "What is the plan?"}, {"type": "ai", "content": "Nine."}]
    outputs = {"documents": [{"page_content": "Thirty days.", "metadata": {"id": "kb-1"}}]}
    inputs = {"input": "And per year?", "chat_history": history}
    rows = [
        {
            "id": "1",
            "trace_id": "1",
            "run_type": "chain",
            "name": "rag",
            "inputs": inputs,
            "outputs": {"output": "So."},
        },
        {"id": "2", "trace_id": "1", "parent_run_id": "1", "run_type": "retriever", "inputs": "q", "outputs": outputs},
    ]
    [trajectory] = read("langsmith", tmp_path, *rows)
    assert trajectory.question == "User: What is the plan?\nAssistant: Nine.\nUser: And per year?"
    assert trajectory.answer == "So."


def test_a_step_that_is_called_a_search_and_returned_documents_is_one(tmp_path: Path) -> None:
    def run(id: str, kind: str, name: str, inputs: Any, outputs: Any) -> dict[str, Any]:
        row = {"id": id, "trace_id": "1", "parent_run_id": "1" if id != "1" else None, "run_type": kind}
        return {**row, "inputs": inputs, "outputs": outputs, "start_time": id, "name": name}

    retrieved = {"context": [{"page_content": "Thirty days.", "metadata": {"id": "kb-1"}}]}
    [trajectory] = read(
        "langsmith", tmp_path,
        run("1", "chain", "graph", {"question": "How long?"}, {"answer": "Thirty days."}),
        run("2", "chain", "retrieve", {"question": "How long?"}, retrieved),
        run("3", "chain", "format_docs", {"question": "How long?"}, {"text": "Thirty days."}),
    )  # fmt: skip
    assert [(step.kind, step.text) for step in trajectory.steps] == [
        ("query", "How long?"), ("retrieval", ""), ("answer", "Thirty days.")
    ]  # fmt: skip


@pytest.mark.parametrize(
    "nothing", ["No results found.", "none", "Could not find q. Similar: [a, b].", "[]", "Error: timeout"]
)
def test_a_search_that_says_that_it_found_nothing_has_no_documents(tmp_path: Path, nothing: str) -> None:
    messages = [
        ASK,
        *call("search", "q", DOCUMENTS),
        *call("search", "p", nothing, "d"),
        {"role": "assistant", "content": "So."},
    ]
    [trajectory] = read("openai", tmp_path, messages)
    assert [len(step.considered) for step in trajectory.retrievals] == [2, 0]


def test_of_several_scores_those_that_are_named_count(tmp_path: Path) -> None:
    messages = [ASK, *call("search", "q", DOCUMENTS), {"role": "assistant", "content": "So."}]
    scores = [{"name": "latency", "value": 7.5}, {"name": "user", "value": 4}]
    scale = replace(Scale.parse("0-5"), names=frozenset(["user"]))
    assert read("openai", tmp_path, {"messages": messages, "scores": scores}, scale=scale)[0].reward == 0.8


@pytest.mark.parametrize(
    "messages",
    [
        [  # Bedrock
            {"role": "user", "content": [{"text": "How long?"}]},
            {"role": "assistant", "content": [{"toolUse": {"toolUseId": "t", "name": "kb", "input": {"query": "q"}}}]},
            {"role": "user", "content": [{"toolResult": {"toolUseId": "t", "content": [{"json": DOCUMENTS}]}}]},
            {"role": "assistant", "content": [{"text": "Thirty days."}]},
        ],
        [  # Gemini
            {"role": "user", "parts": [{"text": "How long?"}]},
            {"role": "model", "parts": [{"functionCall": {"name": "search", "args": {"query": "q"}}}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "search", "response": {"results": DOCUMENTS}}}]},
            {"role": "model", "parts": [{"text": "Thirty days."}]},
        ],
        [  # Vercel's AI SDK
            {"role": "user", "content": "How long?"},
            {"role": "assistant",
             "content": [{"type": "tool-call", "toolCallId": "t", "toolName": "search", "input": {"query": "q"}}]},
            {"role": "tool", "content": [{"type": "tool-result", "toolCallId": "t", "toolName": "search",
                                          "output": {"type": "json", "value": DOCUMENTS}}]},
            {"role": "assistant", "content": [{"type": "text", "text": "Thirty days."}]},
        ],
    ],
    ids=["bedrock", "gemini", "vercel"],
)  # fmt: skip
def test_further_ways_of_writing_messages(tmp_path: Path, messages: list[Any]) -> None:
    [trajectory] = read("openai", tmp_path, {"messages": messages})
    assert [(step.kind, step.text) for step in trajectory.steps] == [
        ("query", "q"), ("retrieval", ""), ("answer", "Thirty days.")
    ]  # fmt: skip
    assert list(labels(trajectory)) == ["kb-1", "kb-2"]

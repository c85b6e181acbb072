"""One run's events, live or replayed from a log, become the right trajectory."""

from __future__ import annotations

from rader_plugins.recording import RecordingLimits, RunAssembly
from rader_plugins.trajectories import Considered, Trajectory

DOCUMENTS = [Considered("a", "one"), Considered("b", "two")]


def assembly(question: str | None = "the question", limits: RecordingLimits | None = None) -> RunAssembly:
    run = RunAssembly("run", question, source="test", limits=limits)
    run.start("root")
    return run


def shape(run: RunAssembly) -> list[tuple[str, str]]:
    trajectory = run.trajectory()
    assert isinstance(trajectory, Trajectory)
    return [(step.kind, step.text) for step in trajectory.steps]


def search(run: RunAssembly, id: str, query: str, parent: str = "root", error: str | None = None) -> None:
    run.start(id, parent, "retriever", query)
    if error is None:
        run.retrieved(id, DOCUMENTS)
    run.finish(id, error=error)


def test_a_search_that_failed_and_was_made_again_is_one_query() -> None:
    run = assembly()
    search(run, "first", "q", error="timeout")
    search(run, "second", "q")
    search(run, "other", "never answered", error="timeout")
    run.finish("root", answer="six")
    assert shape(run) == [("query", "q"), ("retrieval", ""), ("query", "never answered"), ("answer", "six")]
    assert run.trajectory().metadata["failed_searches"] == 2  # type: ignore[union-attr]


def test_a_remark_with_calls_of_tools_is_no_answer() -> None:
    for answers, expected in ((True, "I think it is six."), (False, None)):
        run = assembly()
        search(run, "search", "q")
        run.start("model", "root", "llm")
        run.thought("model", "I think it is six.", answers=answers)
        run.finish("model")
        run.finish("root")
        trajectory = run.trajectory()
        assert trajectory is not None
        assert trajectory.answer == expected
    run = assembly()
    run.start("model", "root", "llm")
    run.thought("model", "said")
    run.finish("root", answer="")
    assert shape(run) == [("thought", "said")]


def test_a_model_that_is_cut_off_by_the_end_of_its_run_said_what_it_wrote() -> None:
    run = assembly()
    search(run, "search", "q")
    run.start("model", "root", "llm")
    for part in ("six ", "gue"):
        run.write("model", part)
    run.finish("root")
    assert shape(run)[-1] == ("answer", "six gue")


def test_a_chain_that_searched_by_itself_is_a_retrieval_unless_a_retriever_did_it() -> None:
    run = assembly()
    run.start("node", "root")
    run.retrieved("node", DOCUMENTS, "asked")
    run.finish("node")
    run.start("step", "root")
    search(run, "search", "rewritten", parent="step")
    run.retrieved("step", DOCUMENTS, "asked again")
    run.retrieved("root", DOCUMENTS, "everything")
    run.finish("root", answer="six")
    assert [text for kind, text in shape(run) if kind == "query"] == ["asked", "rewritten"]


def test_hidden_nodes_and_what_runs_below_them_are_no_steps() -> None:
    run = assembly()
    run.start("grader", "root", "llm", hidden=True)
    run.thought("grader", "Grade: 4")
    run.start("below", "grader", "retriever", "q")
    run.retrieved("below", DOCUMENTS)
    run.finish("root", answer="six")
    assert shape(run) == [("answer", "six")]


def test_without_limits_nothing_is_cut_and_what_is_left_out_is_counted() -> None:
    run = assembly()
    for number in range(300):
        run.start(str(number), "root", "tool")
        run.tool_result(str(number), f"tool({number})", "x" * 30_000 if number else None, unread=not number)
        run.finish(str(number))
    run.finish("root", answer="six")
    trajectory = run.trajectory({"more": 1})
    assert trajectory is not None
    assert len(trajectory.steps) == 301
    assert trajectory.metadata == {"unread": 1, "more": 1}
    assert trajectory.steps[0].text == "tool(0)"


def test_searches_of_chains_count_towards_the_limit() -> None:
    run = assembly(limits=RecordingLimits(steps=2))
    for number in range(5):
        run.start(str(number), "root")
        run.retrieved(str(number), DOCUMENTS, "q")
    run.finish("root", answer="six")
    trajectory = run.trajectory()
    assert trajectory is not None
    assert (len(trajectory.retrievals), trajectory.metadata["truncated"]) == (2, True)


def test_an_attempt_that_failed_and_was_made_again_searched_once() -> None:
    run = RunAssembly("run", "Q", source="test")
    run.start("root")
    for attempt in ("first", "second"):
        run.start(attempt, "root")
        for query, document in (("same", "a"), ("other", attempt)):
            search = f"{attempt}-{query}"
            run.start(search, attempt, "retriever", query)
            run.retrieved(search, [Considered(document, "text")])
            run.finish(search)
        run.finish(attempt, error="ValueError: the model wrote no JSON" if attempt == "first" else None)
    run.finish("root", answer="six")
    trajectory = run.trajectory()
    assert trajectory is not None
    # What the failed attempt found otherwise is its own, and stays.
    assert [step.text for step in trajectory.steps if step.kind == "query"] == ["other", "same", "other"]
    assert "failed_searches" not in trajectory.metadata

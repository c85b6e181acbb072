"""The whole search against a scripted model over HTTP: trees that were worked out by hand."""

from __future__ import annotations

from collections import Counter

import pytest
from rader_synthesis.actions import ON_THE_PATH, TOO_LONG, Actions, partial_solution
from rader_synthesis.calls import Calls, Summaries
from rader_synthesis.config import SearchConfig
from rader_synthesis.grading import Grading
from rader_synthesis.packs import load_pack
from rader_synthesis.paths import trajectories
from rader_synthesis.retrieval import RetrievalFront
from rader_synthesis.search import search
from rader_synthesis.tree import Node, Tree

from rader_plugins.answers import load_checker
from rader_plugins.llm import ContextOverflowError
from tests.synthesis.scripted import Library, Script, action_of, asked, client, documents_in, server

QUESTION = "How many corners has a cube?"


async def grow(served, library, config, gold="8", **options):
    pack = load_pack("math")
    with client(served, **options) as llm:
        tree = Tree.start("p", QUESTION, gold)
        actions = Actions(
            Calls(llm, pack, config, tree),
            Grading(load_checker("math"), QUESTION, gold),
            RetrievalFront(library),
            Summaries(Calls(llm, pack, config, None)),
            config,
            QUESTION,
        )
        return await search(tree, actions, config)


def at(tree: Tree, place: str) -> Node:
    return next(node for node in tree.nodes if node.place == place)


def below(tree: Tree, place: str) -> list[str]:
    return [child.kind for child in tree.children(at(tree, place))]


def box(answer: str) -> str:
    return f"It follows. The answer is \\boxed{{{answer}}}."


TABLE = {
    "step": {"": [box("9"), "Count them."], "1": ["Go on.", "Go on."], "3.0": ["Use it.", box("8")]},
    "complete": {
        "": [box("5"), box("8"), box("5"), box("8")],
        "1.2": [box("8")] * 4,
        "3.0.0.2.0": ["No idea.", box("7"), box("8"), box("8")],
    },
    "query": {"": "find five", "1": "find nothing good", "3.0.0": "find again"},
    "reflect": {
        # T, F, T, T, F: the published code keeps the first alone and records the second as a negative four times.
        "3/0": "Reason 0.\nRelevant: True",
        "3/1": "Reason 1.\nRelevant: False",
        "3/2": "Reason 2.\nRelevant: True",
        "3/3": "Reason 3.\nRelevant: True",
        "3/4": "Reason 4.\nRelevant: False",
        "1.2/0": "Off topic.\nRelevant: False",
        "1.2/1": "I cannot say.",
        "3.0.0.2/1": "New.\nRelevant: True",
    },
}
LIBRARY = {"find five": "abcdef", "find nothing good": "xy", "find again": "ag"}


@pytest.fixture
async def grown(picks):
    """Six rollouts; the random picks of each, and what UCT says where it decides."""
    picks(
        *(3, 0, 0, 2, 0, 2),  # 1: query, document a, a thought, a query again, document g, a solution: right
        2,  # 2: of the unvisited 0, 1, 2: the solution, which is wrong
        0,  # 3: of the unvisited 0, 1: a thought that answers, wrong
        *(0, 2, 2),  # 4: the unvisited 1; its query, for which nothing is kept; a solution without documents: right
        # 5: 1 and 3 have 1 + 2 sqrt(ln 4) = 3.35, 0 and 2 have 2.35; the first of equals is 1.
        *(1, 2, 0, 2),  # Of the unvisited 1.0, 1.1: the second; its query, document z, a solution: wrong
        # 6: 3 has 1 + 2 sqrt(ln 5) = 3.54, 1 has 1/2 + 2 sqrt(ln 5 / 2) = 2.29, 0 and 2 have 2.54.
        *(0, 2),  # Of the unvisited 3.1, 3.2: document c; a solution: wrong
    )
    library = Library(LIBRARY, otherwise="zw")
    with server(Script(TABLE)) as served:
        tree = await grow(served, library, SearchConfig(rollouts=6))
    return tree, served, library


async def test_every_node_is_where_it_was_worked_out_to_be(grown):
    tree, _, _ = grown
    shape = {node.place: below(tree, node.place) for node in tree.nodes if tree.children(node)}
    assert shape == {
        "": ["ost", "ost", "crs", "qg"],
        "3": ["rt", "rt", "rt"],
        "3.0": ["ost", "ost", "crs"],
        "3.0.0": ["ost", "ost", "qg"],
        "3.0.0.2": ["rt"],
        "3.0.0.2.0": ["ost", "ost", "crs"],
        "1": ["ost", "ost", "qg"],
        "1.2": ["ost", "ost", "crs"],
        "1.1": ["ost", "ost", "qg"],
        "1.1.2": ["rt", "rt"],
        "1.1.2.0": ["ost", "ost", "crs"],
        "3.1": ["ost", "ost", "crs"],
    }
    visited = {node.place: (node.n, node.q) for node in tree.nodes if node.n}
    assert visited == {
        "": (6, 2.0), "0": (1, 0.0), "1": (2, 1.0), "2": (1, 0.0), "3": (2, 1.0),
        "3.0": (1, 1.0), "3.0.0": (1, 1.0), "3.0.0.2": (1, 1.0), "3.0.0.2.0": (1, 1.0), "3.0.0.2.0.2": (1, 1.0),
        "1.2": (1, 1.0), "1.2.2": (1, 1.0),
        "1.1": (1, 0.0), "1.1.2": (1, 0.0), "1.1.2.0": (1, 0.0), "1.1.2.0.2": (1, 0.0),
        "3.1": (1, 0.0), "3.1.2": (1, 0.0),
    }  # fmt: skip
    assert [at(tree, "1.0").text, at(tree, "1.1").text] == ["Go on.", "Go on."]  # equal siblings stay two
    terminal = {node.place for node in tree.nodes if node.terminal}
    assert terminal == {
        "0", "2", "3.0.1", "3.0.2", "3.0.0.2.0.0", "3.0.0.2.0.1", "3.0.0.2.0.2", "1.2.2", "1.1.2.0.2", "3.1.2"
    }  # fmt: skip


async def test_reflection_labels_are_kept_exactly(grown):
    tree, _, _ = grown
    labels = [
        (document.id, document.relevant, document.reason, document.score, document.labelled_by)
        for document in at(tree, "3").considered
    ]
    assert labels == [
        ("a", True, "Reason 0.", 1.0, "reflection"),
        ("b", False, "Reason 1.", 0.9, "reflection"),
        ("c", True, "Reason 2.", 0.8, "reflection"),
        ("d", True, "Reason 3.", 0.7, "reflection"),
        ("e", False, "Reason 4.", 0.6, "reflection"),
    ]  # and not f: the sixth was not asked for
    assert [node.document_id for node in tree.children(at(tree, "3"))] == ["a", "c", "d"]
    # Neither a node nor a negative: the reflection on y could not be read.
    assert [(document.id, document.relevant, document.labelled_by) for document in at(tree, "1.2").considered] == [
        ("x", False, "reflection"),
        ("y", None, ""),
    ]
    assert at(tree, "1.2").considered[1].reason == "Unreadable reflection: I cannot say."
    assert tree.counts["unreadable_reflections"] == 1
    assert tree.counts["documents_rejected"] == 3
    assert tree.counts["documents_kept"] == 3 + 1 + 2


async def test_no_document_twice_on_a_path(grown):
    tree, served, _ = grown
    second_search = at(tree, "3.0.0.2").considered
    assert [(document.id, document.relevant, document.reason) for document in second_search] == [
        ("a", None, ON_THE_PATH),
        ("g", True, "New."),
    ]
    assert [node.document_id for node in tree.children(at(tree, "3.0.0.2"))] == ["g"]
    reflections = Counter(documents_in(asked(body))[0] for body in served.requests if action_of(body) == "reflect")
    assert reflections == Counter("abcdexygzw")


async def test_the_reward_is_that_of_the_chosen_completion(grown):
    tree, _, _ = grown
    tie = at(tree, "2")  # 5, 8, 5, 8: the first of the most frequent wins, though the last one is right
    assert (tie.answers, tie.answer, tie.reward) == (("5", "8", "5", "8"), "5", 0.0)
    assert tie.text == box("5")
    majority = at(tree, "3.0.0.2.0.2")
    assert (majority.answers, majority.answer, majority.reward, majority.text) == (
        (None, "7", "8", "8"),
        "8",
        1.0,
        box("8"),
    )


async def test_trajectories_and_which_are_for_training(grown):
    tree, _, _ = grown
    paths = {path.id: path for path in trajectories(tree)}
    endings = {id: (path.metadata["place"], path.reward, path.metadata["ended"]) for id, path in paths.items()}
    assert endings == {
        "p#1": ("0", 0.0, "thought"),
        "p#3": ("2", 0.0, "complete"),
        "p#17": ("3.0.0.2.0.2", 1.0, "complete"),
        "p#23": ("1.2.2", 1.0, "complete"),
        "p#31": ("1.1.2.0.2", 0.0, "complete"),
        "p#34": ("3.1.2", 0.0, "complete"),
    }
    # Right and with a document that was kept; p#23 is right, but went on without one.
    assert [id for id, path in paths.items() if path.metadata["training"]] == ["p#17"]
    right = paths["p#17"]
    assert (right.question, right.answer, right.gold_answer, right.source) == (QUESTION, "8", "8", "mcts")
    steps = [(step.kind, step.text, step.document_id) for step in right.steps]
    assert steps == [
        ("query", "find five", None),
        ("retrieval", "In plain language.", "a"),
        ("thought", "Use it.", None),
        ("query", "find again", None),
        ("retrieval", "In plain language.", "g"),
        ("answer", box("8"), None),
    ]
    assert [document.id for document in right.steps[1].considered if document.relevant is False] == ["b", "e"]
    without = [(step.kind, step.document_id, len(step.considered)) for step in paths["p#23"].steps]
    assert without == [("thought", None, 0), ("query", None, 0), ("retrieval", None, 2), ("answer", None, 0)]
    assert paths["p#1"].steps == paths["p#1"].steps[:1]
    assert paths["p#1"].steps[0].kind == "answer"


async def test_prompts_hold_no_query_and_no_document_that_is_not_on_the_path(grown):
    _, served, _ = grown
    for body in served.requests:
        text = asked(body)
        assert "find" not in text
        assert len(documents_in(text)) == (action_of(body) in ("reflect", "summarise"))
    second = next(
        asked(body) for body in served.requests if action_of(body) == "reflect" and documents_in(asked(body)) == ["g"]
    )
    assert second == (
        f"Problem: {QUESTION}\nSteps so far:\nStep 1: A known result that may help: In plain language.\n"
        "Step 2: Use it.\nDocument: Text of g.\nReason:"
    )


async def test_each_kept_document_is_summarised_once_and_a_rejected_one_never(grown):
    _, served, library = grown
    asked_for = [documents_in(asked(body))[0] for body in served.requests if action_of(body) == "summarise"]
    assert sorted(asked_for) == sorted("acdgzw")
    assert library.batches == [["find five"], ["find again"], ["find nothing good"], ["a theorem"]]


async def test_sampling_is_the_paper_s(grown):
    _, served, _ = grown
    for body in served.requests:
        assert (body["temperature"], body["top_p"], body["top_k"]) == (0.8, 0.95, 40)
    assert {(action_of(body), body["max_tokens"]) for body in served.requests} == {
        ("step", 256), ("complete", 1024), ("query", 128), ("reflect", 200), ("summarise", 512)
    }  # fmt: skip
    assert {action_of(body) for body in served.requests if body.get("stop") == ["\n"]} == {"step", "query", "summarise"}


@pytest.mark.parametrize("depth", [2, 4, 5, 6])
async def test_depth_and_queries_per_path_are_bounded(depth):
    """Thoughts that never end: every rule holds on the whole tree, whatever the dice say."""
    config = SearchConfig(rollouts=20, depth=depth, seed=depth)
    with server(Script({}, seed=depth)) as served:
        tree = await grow(served, Library(otherwise="abcde"), config)
    assert max(node.depth for node in tree.nodes) == depth
    for node in tree.nodes:
        path = tree.path(node)
        queries = sum(step.kind == "qg" for step in path)
        documents = [step.document_id for step in path if step.kind == "rt"]
        assert queries <= depth // 2
        assert len(documents) == len(set(documents))
        assert node.terminal == (node.kind == "crs" or node.depth == depth)
        assert (node.reward is not None) == node.terminal
        children = below(tree, node.place)
        if node.terminal:
            assert children == []
        elif children:
            may_ask = ["qg"] * (queries < depth // 2)
            expected = {
                "root": ["ost", "ost", "crs", *may_ask],
                "ost": ["ost", "ost", *may_ask],
                "qg": ["rt"] * (5 - len(documents)),
                "rt": ["ost", "ost", "crs"],
            }
            assert children == expected[node.kind]
    assert {node.kind for node in tree.nodes} == {"root", "ost", "crs", "qg"} | ({"rt"} if depth > 1 else set())
    assert tree.root.n == 20
    assert any(path.metadata["ended"] == "depth" for path in trajectories(tree))


async def test_what_says_nothing_is_no_node_and_a_thought_without_children_is_completed():
    script = Script({"step": {"": ["", "Think."]}}, step="  ", query="", complete="I do not know.")
    with server(script) as served:
        tree = await grow(served, Library(), SearchConfig(rollouts=6))
    assert below(tree, "") == ["ost", "crs"]
    assert below(tree, "0") == ["crs"]
    assert {node.answer for node in tree.nodes} == {None}
    assert not tree.solved
    assert (tree.counts["empty_thoughts"], tree.counts["empty_queries"]) == (3, 2)
    assert tree.counts["solutions_without_answer"] == 2


async def test_a_server_that_says_nothing_at_all_still_gives_a_tree():
    with server("!empty") as served:
        tree = await grow(served, Library(), SearchConfig(rollouts=3))
    assert [node.kind for node in tree.nodes] == ["root", "crs"]
    assert [node.text for node in tree.nodes] == [QUESTION, ""]
    assert tree.root.n == 3


async def test_a_query_that_finds_nothing_goes_on_without_documents(picks):
    picks(3, 2)
    with server(Script({})) as served:
        tree = await grow(served, Library(), SearchConfig(rollouts=1))
    assert at(tree, "3").considered == ()
    assert below(tree, "3") == ["ost", "ost", "crs"]


async def test_an_empty_summary_leaves_the_document_itself(picks):
    picks(3, 0, 2)
    with server(Script({}, summarise=" ")) as served:
        tree = await grow(served, Library(otherwise="a"), SearchConfig(rollouts=1))
    assert at(tree, "3.0").text == "Text of a."


async def test_a_thought_that_names_no_answer_is_not_final(picks):
    picks(0, 0)
    script = Script({"step": {"": ["The answer is", "x"], "0": [box("8"), "x"]}})
    with server(script) as served:
        tree = await grow(served, Library(), SearchConfig(rollouts=1))
    assert not at(tree, "0").terminal
    assert (at(tree, "0.0").terminal, at(tree, "0.0").reward) == (True, 1.0)


async def test_thinking_out_loud_is_left_out():
    script = Script({}, step="<think>Hm.\nWell.</think>A thought.", complete="<think>for ever and ever")
    with server(script) as served:
        tree = await grow(served, Library(), SearchConfig(rollouts=1))
    assert at(tree, "0").text == "A thought."
    assert at(tree, "2").text == ""


async def test_half_a_character_does_not_end_the_search():
    with server(Script({}, step="A thought \ud83d")) as served:
        tree = await grow(served, Library(), SearchConfig(rollouts=2))
    assert at(tree, "0").text == "A thought ?"


def no_room(body):
    """A model whose context ends with the second step."""
    if "Step 2:" in asked(body) and action_of(body) == "complete":
        return "!context"
    return "It fits.\nRelevant: True" if action_of(body) == "reflect" else "A text."


async def test_a_path_that_outgrows_the_context_ends_there():
    with server(no_room) as served:
        tree = await grow(served, Library(otherwise="ab"), SearchConfig(rollouts=12))
    terminal_nodes = [node for node in tree.nodes if node.terminal and node.kind == "rt"]
    assert terminal_nodes
    assert all(node.reward == 0.0 and not tree.children(node) for node in terminal_nodes)
    assert all(len(partial_solution(tree, node)) > 1 or node.depth == 6 for node in terminal_nodes)
    assert tree.counts["context_overflows"] >= len([node for node in terminal_nodes if node.depth < 6]) > 0
    assert tree.root.n == 12


async def test_a_question_that_does_not_fit_is_an_error():
    with server("!context") as served, pytest.raises(ContextOverflowError):
        await grow(served, Library(), SearchConfig(rollouts=1))


async def test_a_document_that_does_not_fit_is_not_judged(picks):
    picks(3, 0, 2)

    def long_second(body):
        if action_of(body) == "reflect" and documents_in(asked(body)) == ["b"]:
            return "!context"
        return "Fits.\nRelevant: True" if action_of(body) == "reflect" else "A text."

    with server(long_second) as served:
        tree = await grow(served, Library(otherwise="abc"), SearchConfig(rollouts=1))
    assert [(document.id, document.relevant) for document in at(tree, "3").considered] == [
        ("a", True),
        ("b", None),
        ("c", True),
    ]
    assert at(tree, "3").considered[1].reason == TOO_LONG


async def test_base_models_get_one_text(picks):
    picks(2)

    def answer(body):
        assert "messages" not in body
        return " A thought." if body["prompt"].endswith("Step 1:") else " So it is. The answer is \\boxed{8}."

    with server(answer) as served:
        tree = await grow(served, Library(), SearchConfig(rollouts=1, style="completion"))
    assert [at(tree, number).text for number in "02"] == ["A thought.", box("8").replace("It follows", "So it is")]
    assert {tuple(body["stop"]) for body in served.requests} == {("\n", "\nProblem:"), ("\nProblem:",)}


async def test_an_endless_answer_is_cut_and_counted():
    with server(lambda body: "!endless" if action_of(body) == "complete" else "A thought.") as served:
        tree = await grow(served, Library(), SearchConfig(rollouts=1))
    assert tree.counts["cut_answers"] >= 4
    assert at(tree, "2").answer is None

"""The loop over the tree, on trees that were computed by hand."""

from __future__ import annotations

import asyncio
import json

import pytest
from rader_synthesis.config import SearchConfig
from rader_synthesis.search import derived_seed, search, select, uct
from rader_synthesis.tree import Node, Tree

from rader_plugins.errors import InputError
from rader_plugins.trajectories import Considered


class Branches:
    """Gives each node the children that a table says: (kind, reward); a reward makes it terminal."""

    def __init__(self, **table: list) -> None:
        self.table = {name.strip("_").replace("_", "."): children for name, children in table.items()}
        self.expanded: list[str] = []

    async def expand(self, tree: Tree, node: Node) -> None:
        self.expanded.append(node.place)
        for kind, reward in self.table[node.place or "root"]:
            tree.add(node.id, kind, "text", terminal=reward is not None, reward=reward)


def values(tree: Tree) -> dict[str, tuple[int, float]]:
    return {node.place or "root": (node.n, node.q) for node in tree.nodes}


async def test_visits_and_values_after_each_rollout(picks, monkeypatch):
    """Worked out with UCT = Q/N + 2 sqrt(ln N_parent / N); the figures stand in the comments."""
    branches = Branches(root=[("ost", None), ("crs", 0.0)], _0=[("crs", 1.0), ("crs", 0.0)])
    rng = picks(0, 1, 0, 0)
    after = []
    record = Tree.record

    def watched(self, leaf, selected):
        record(self, leaf, selected)
        after.append((leaf.place, self.nodes[selected].place, values(self)))

    monkeypatch.setattr(Tree, "record", watched)
    tree = await search(Tree.start("p", "?", "1"), branches, SearchConfig(rollouts=8))
    expected = [
        # leaf, where selection ended, root, 0, 1 (solution), 0.0 (right), 0.1 (wrong)
        ("0.1", "", (1, 0), (1, 0), (0, 0), (0, 0), (1, 0)),  # random walk: picks 0, then 0.1
        ("1", "1", (2, 0), (1, 0), (1, 0), (0, 0), (1, 0)),  # unvisited first
        ("0.0", "0.0", (3, 1), (2, 1), (1, 0), (1, 1), (1, 0)),  # 1.665 = 1.665: the first of equals; unvisited
        ("1", "1", (4, 1), (2, 1), (2, 0), (1, 1), (1, 0)),  # 1.982 < 2.096
        ("0.0", "0.0", (5, 2), (3, 2), (2, 0), (2, 2), (1, 0)),  # 2.165 > 1.665; 2.665 > 1.665
        ("0.0", "0.0", (6, 3), (4, 3), (2, 0), (3, 3), (1, 0)),  # 2.132 > 1.794; 2.482 > 2.096
        ("0.0", "0.0", (7, 4), (5, 4), (2, 0), (4, 4), (1, 0)),  # 2.089 > 1.893; 2.3596 > 2.3548
        ("0.1", "0.1", (8, 4), (6, 4), (2, 0), (4, 4), (2, 0)),  # 2.048 > 1.973; 2.269 < 2.537
    ]
    order = ["root", "0", "1", "0.0", "0.1"]
    assert after == [(leaf, leaf_place, dict(zip(order, row, strict=True))) for leaf, leaf_place, *row in expected]
    assert rng.offered == [["0", "1"], ["0.0", "0.1"], ["1"], ["0.0"]]
    assert branches.expanded == ["", "0"]  # once each
    assert [tree.nodes[rollout.leaf].place for rollout in tree.rollouts] == [row[0] for row in expected]
    assert tree.solved


async def test_simulation_keeps_what_it_expanded_and_walks_at_random_even_over_visited_children(picks):
    branches = Branches(
        root=[("ost", None), ("ost", None)], _0=[("ost", None)], _0_0=[("crs", 0.0)], _1=[("crs", 0.0), ("crs", 1.0)]
    )
    rng = picks(0, 0, 0, 0, 1)
    tree = await search(Tree.start("p", "?", "1"), branches, SearchConfig(rollouts=2))
    assert rng.offered == [["0", "1"], ["0.0"], ["0.0.0"], ["1"], ["1.0", "1.1"]]
    assert branches.expanded == ["", "0", "0.0", "1"]
    assert [node.place for node in tree.nodes] == ["", "0", "1", "0.0", "0.0.0", "1.0", "1.1"]
    assert [node.place for node in tree.leaves()] == ["0.0.0", "1.1"]


async def test_all_rollouts_are_made_even_if_the_first_is_right():
    tree = await search(Tree.start("p", "?", "1"), Branches(root=[("crs", 1.0)]), SearchConfig())
    assert len(tree.rollouts) == 16
    assert (tree.root.n, tree.root.q) == (16, 16.0)


async def test_a_search_in_which_all_is_known_lets_others_work_and_can_be_interrupted():
    tree = Tree.start("p", "?", "1")
    searching = asyncio.create_task(search(tree, Branches(root=[("crs", 1.0)]), SearchConfig(rollouts=10_000)))
    await asyncio.sleep(0)
    searching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await searching
    assert len(tree.rollouts) < 10_000


def test_rollouts_without_number_are_refused():
    with pytest.raises(InputError, match="at most 10,000"):
        SearchConfig(rollouts=2**31)


async def test_the_seed_decides_and_each_problem_has_its_own_dice():
    def walk(seed: int, problem: str):
        branches = Branches(root=[("crs", 0.0)] * 8)
        return search(Tree.start(problem, "?", "1"), branches, SearchConfig(rollouts=8, seed=seed))

    def order(tree):
        return [rollout.leaf for rollout in tree.rollouts]

    first = order(await walk(1, "p"))
    assert sorted(first) == list(range(1, 9))  # each unvisited child once
    assert order(await walk(1, "p")) == first
    assert order(await walk(2, "p")) != first
    assert order(await walk(1, "q")) != first


def test_uct_by_hand():
    parent, node = Node(0, None, "root", "", n=10), Node(1, 0, "ost", "", n=4, q=3.0)
    assert uct(node, parent, 2.0) == pytest.approx(0.75 + 2 * 0.7587136)  # sqrt(ln 10 / 4)
    assert uct(node, parent, 0.0) == 0.75


def test_selection_ends_at_a_terminal_node_and_at_a_leaf(picks):
    tree = Tree.start("p", "?", "1")
    assert select(tree, 2.0, picks()) is tree.root
    leaf = tree.add(0, "crs", "", terminal=True, reward=1.0)
    tree.record(leaf, 1)
    assert select(tree, 2.0, picks()) is leaf


def test_exploration_schedules():
    assert [SearchConfig().weight(rollout) for rollout in (0, 15)] == [2.0, 2.0]
    linear = SearchConfig(rollouts=10, exploration_schedule="linear")
    assert [linear.weight(rollout) for rollout in (0, 5)] == pytest.approx([2.0, 1.1])
    exponential = SearchConfig(rollouts=10, exploration_schedule="exponential")
    assert [exponential.weight(rollout) for rollout in (0, 10)] == pytest.approx([2.0, 0.2])


def test_seeds_differ_by_every_part():
    parts = [(0, "p", "0.1", "step"), (1, "p", "0.1", "step"), (0, "q", "0.1", "step"), (0, "p", "0.1", "query")]
    seeds = {derived_seed(*part) for part in parts}
    assert len(seeds) == 4
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert derived_seed("a", "b") != derived_seed("ab")


def test_a_tree_survives_its_file():
    tree = Tree.start("p", "question?", "8")
    thought = tree.add(0, "ost", "a thought ∑")
    query = tree.add(thought.id, "qg", "a query")
    query.considered = (
        Considered("d1", "text 1", 0.5, True, "helps", "reflection"),
        Considered("d2", "text 2", 0.25, False, "does not", "reflection", "Title"),
        Considered("d3", "text 3", None, None, "Unreadable reflection: hm"),
    )
    document = tree.add(query.id, "rt", "in plain words", document_id="d1")
    solution = tree.add(document.id, "crs", "8", terminal=True, answer="8", reward=1.0, answers=("8", None, "8", "7"))
    tree.add(0, "qg", "never searched for")
    tree.record(solution, thought.id)
    tree.count("step_calls", 3)
    row = json.loads(json.dumps(tree.row()))
    reread = Tree.from_row(row)
    assert reread == tree
    assert reread.row() == tree.row()
    assert [node.place for node in reread.path(reread.nodes[4])] == ["", "0", "0.0", "0.0.0", "0.0.0.0"]
    assert row["documents"] == {
        "d1": {"text": "text 1"}, "d2": {"text": "text 2", "title": "Title"}, "d3": {"text": "text 3"}
    }  # fmt: skip
    assert reread.children(reread.root)[1].considered is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda row: row.update(schema="rader-tree/2"), "rader-tree/2"),
        (lambda row: row.pop("nodes"), "damaged: KeyError: 'nodes'"),
        (lambda row: row["nodes"][1].update(parent=5), "node 1 does not belong"),
        (lambda row: row["nodes"][1].update(kind="odd"), "node 1 does not belong"),
        (lambda row: row["nodes"][1].update(surprise=1), "surprise"),
        (lambda row: row["nodes"].clear(), "no nodes"),
    ],
)
def test_a_damaged_tree_is_refused(change, message):
    tree = Tree.start("p", "?", "8")
    tree.add(0, "ost", "thought")
    row = tree.row()
    change(row)
    with pytest.raises(InputError, match=message):
        Tree.from_row(row, "the file")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rollouts": 0}, "rollouts"),
        ({"depth": 1.5}, "depth"),
        ({"documents": True}, "documents"),
        ({"top_p": 0}, "top_p"),
        ({"top_k": -1}, "top_k"),
        ({"temperature": -1}, "temperature"),
        ({"exploration": float("nan")}, "exploration"),
        ({"exploration_schedule": "sine"}, "constant, linear, exponential"),
        ({"style": "poem"}, "chat, completion"),
        ({"rollout": 3}, "does not know 'rollout'"),
    ],
)
def test_bad_parameters_are_refused_by_name(options, message):
    with pytest.raises(InputError, match=message):
        SearchConfig.from_dict(options, "F.toml")


def test_the_defaults_are_the_paper_s():
    assert SearchConfig().as_dict() == {
        "rollouts": 16, "depth": 6, "steps": 2, "queries": 1, "queries_per_path": None, "documents": 5,
        "completions": 4, "exploration": 2.0, "exploration_schedule": "constant", "temperature": 0.8, "top_p": 0.95,
        "top_k": 40, "style": "chat", "seed": 0,
    }  # fmt: skip
    assert SearchConfig().max_queries == 3
    assert SearchConfig(depth=5).max_queries == 2
    assert SearchConfig(queries_per_path=0).max_queries == 0

"""The search tree as data: nodes in the order in which they were made, and the rollouts that went through them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, cast, get_args

from rader_plugins.errors import InputError
from rader_plugins.trajectories import Considered

__all__ = ["TREE_SCHEMA", "Node", "NodeKind", "Rollout", "Tree"]

TREE_SCHEMA = "rader-tree/1"
NodeKind = Literal["root", "ost", "crs", "qg", "rt"]


@dataclass
class Node:
    """One node of a search tree.

    Args:
        id: Position of the node in :attr:`Tree.nodes`.
        parent: Id of the parent; None for the root.
        kind: ``root`` (the question), ``ost`` (one-step thought), ``crs`` (complete the remaining steps), ``qg`` (a
            query was written) or ``rt`` (a retrieved document was kept).
        text: The thought, the solution, the query, or the document in plain language; the question at the root.
        place: Numbers of the branches taken from the root, such as ``0.2``; names the node in seeds.
        depth: Edges from the root.
        terminal: A walk ends here.
        answer: The final answer that the text holds, if any.
        reward: Reward of a terminal node: 1.0 if the answer is right, else 0.0.
        document_id: Id of the document that an ``rt`` node holds.
        considered: Documents that came back to the query of a ``qg`` node, best first, with label and reason. None
            before the query was searched for.
        answers: Answers of all completions of a ``crs`` node, in order; ``text`` is the chosen one.
        n, q: Visits, and the sum of their rewards.
    """

    id: int
    parent: int | None
    kind: NodeKind
    text: str
    place: str = ""
    depth: int = 0
    terminal: bool = False
    answer: str | None = None
    reward: float | None = None
    document_id: str | None = None
    considered: tuple[Considered, ...] | None = None
    answers: tuple[str | None, ...] = ()
    n: int = 0
    q: float = 0.0


@dataclass(frozen=True)
class Rollout:
    """One walk: the leaf that it ended in, where simulation took over from selection, and what it earned."""

    leaf: int
    selected: int
    reward: float


@dataclass
class Tree:
    """The tree of one problem.

    Args:
        problem_id: Id of the problem.
        question: Question of the problem.
        gold_answer: The right answer, by which nodes are rewarded.
        nodes: The root first; a child comes after its parent.
        rollouts: The rollouts, in their order.
        counts: What happened, by name: calls per action, empty thoughts, unreadable reflections, ...

    Example:
        >>> tree = Tree.start("p", "1 + 1 = ?", "2")
        >>> tree.add(0, "crs", "It is 2.", terminal=True, answer="2", reward=1.0).place
        '0'
        >>> tree.record(tree.nodes[1], selected=1)
        >>> tree.nodes[0].n, tree.nodes[0].q
        (1, 1.0)
    """

    problem_id: str
    question: str
    gold_answer: str
    nodes: list[Node]
    rollouts: list[Rollout] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._children: dict[int, list[Node]] = {}
        for node in self.nodes[1:]:
            self._children.setdefault(cast(int, node.parent), []).append(node)

    @classmethod
    def start(cls, problem_id: str, question: str, gold_answer: str) -> Tree:
        """Return a tree that holds its root alone."""
        return cls(problem_id, question, gold_answer, [Node(0, None, "root", question)])

    @property
    def root(self) -> Node:
        """The node of the question."""
        return self.nodes[0]

    def children(self, node: Node) -> Sequence[Node]:
        """Return the children of a node, in the order in which they were made; none before it was expanded."""
        return self._children.get(node.id, ())

    def add(self, parent: int, kind: NodeKind, text: str, **fields: Any) -> Node:
        """Add a child and return it."""
        parent_node = self.nodes[parent]
        siblings = self._children.setdefault(parent, [])
        place = f"{parent_node.place}.{len(siblings)}" if parent_node.place else str(len(siblings))
        node = Node(len(self.nodes), parent, kind, text, place, parent_node.depth + 1, **fields)
        self.nodes.append(node)
        siblings.append(node)
        return node

    def path(self, node: Node) -> list[Node]:
        """Return the nodes from the root to ``node``, both included."""
        path = [node]
        while path[-1].parent is not None:
            path.append(self.nodes[path[-1].parent])
        return path[::-1]

    def record(self, leaf: Node, selected: int) -> None:
        """End a rollout: add its reward and its visit to every node on the path (backpropagation)."""
        reward = leaf.reward or 0.0
        for node in self.path(leaf):
            node.n += 1
            node.q += reward
        self.rollouts.append(Rollout(leaf.id, selected, reward))

    def count(self, name: str, number: int = 1) -> None:
        """Add to a count."""
        self.counts[name] = self.counts.get(name, 0) + number

    def leaves(self) -> list[Node]:
        """Return the terminal nodes that a rollout reached, in the order in which they were made."""
        return [node for node in self.nodes if node.terminal and node.n]

    @property
    def solved(self) -> bool:
        """Whether a rollout reached the right answer."""
        return any(rollout.reward > 0 for rollout in self.rollouts)

    def row(self) -> dict[str, Any]:
        """Return the JSON object of the file format. The texts of documents stand once, under ``documents``."""
        documents: dict[str, dict[str, str]] = {}
        nodes = []
        for node in self.nodes:
            row = {name: value for name, value in vars(node).items() if name not in _DROPPED or value not in _EMPTY}
            if node.considered is not None:
                row["considered"] = [_label(document) for document in node.considered]
                for document in node.considered:
                    documents[document.id] = {
                        "text": document.text,
                        **({"title": document.title} if document.title else {}),
                    }
            nodes.append(row)
        return {
            "schema": TREE_SCHEMA,
            "problem_id": self.problem_id,
            "question": self.question,
            "gold_answer": self.gold_answer,
            "solved": self.solved,
            "nodes": nodes,
            "rollouts": [asdict(rollout) for rollout in self.rollouts],
            "documents": documents,
            "counts": dict(sorted(self.counts.items())),
        }

    @classmethod
    def from_row(cls, row: Mapping[str, Any], where: str = "the tree") -> Tree:
        """Read a row.

        Raises:
            InputError: It is of another schema, or its nodes do not make a tree.
        """
        if row.get("schema") != TREE_SCHEMA:
            raise InputError(f"{where} has the schema {row.get('schema')!r}, not {TREE_SCHEMA!r}.")
        try:
            documents = row["documents"]
            nodes = [_read_node(node, documents) for node in row["nodes"]]
            rollouts = [Rollout(**rollout) for rollout in row["rollouts"]]
            tree = cls(row["problem_id"], row["question"], row["gold_answer"], nodes, rollouts, dict(row["counts"]))
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{where} is damaged: {type(error).__name__}: {error}.") from None
        _check_shape(nodes, where)
        return tree


# Left out where they say nothing.
_DROPPED = frozenset(["answer", "reward", "document_id", "considered", "answers"])
_EMPTY: tuple[object, ...] = (None, ())


def _label(document: Considered) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": document.id,
        "score": document.score,
        "relevant": document.relevant,
        "reason": document.reason,
    }
    return row | ({"labelled_by": document.labelled_by} if document.labelled_by else {})


def _read_node(row: Mapping[str, Any], documents: Mapping[str, Mapping[str, Any]]) -> Node:
    fields = dict(row)
    if "considered" in fields:
        fields["considered"] = tuple(
            Considered(**document, **documents[document["id"]]) for document in fields["considered"]
        )
    if "answers" in fields:
        fields["answers"] = tuple(fields["answers"])
    return Node(**fields)


def _check_shape(nodes: Sequence[Node], where: str) -> None:
    for position, node in enumerate(nodes):
        is_root = position == 0
        has_parent = isinstance(node.parent, int) and 0 <= node.parent < position
        if node.id != position or node.kind not in get_args(NodeKind) or is_root == has_parent:
            raise InputError(f"{where} is damaged: node {position} does not belong there.")
    if not nodes:
        raise InputError(f"{where} is damaged: it has no nodes.")

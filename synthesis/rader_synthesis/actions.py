"""The actions of the search: one-step thought, complete the rest, query, retrieve with self-reflection."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from rader_plugins.documents import Hit
from rader_plugins.llm import ContextOverflowError, RequestRefusedError
from rader_plugins.trajectories import Considered
from rader_synthesis.calls import Calls, Summaries, together
from rader_synthesis.config import SearchConfig
from rader_synthesis.grading import Grading
from rader_synthesis.packs import PromptPack, step_values
from rader_synthesis.reflection import parse_reflection
from rader_synthesis.retrieval import RetrievalFront
from rader_synthesis.tree import Node, NodeKind, Tree

__all__ = ["Actions", "FILTERED", "ON_THE_PATH", "TOO_LONG", "partial_solution"]

ON_THE_PATH = "It is on the path already."
"""The reason of a document that was not judged since the path holds it."""
TOO_LONG = "It does not fit into the model's context."
"""The reason of a document that could not be judged for its length."""

FILTERED = "The provider's content filter refuses it."
"""The reason of a document that could not be judged for its content."""

_Found = Sequence[Callable[[], Node]]


class Actions:
    """Gives the nodes of one problem their children; see DESIGN: children as in the published code.

    The root gets ``steps`` thoughts, one completed solution and the queries; a thought gets thoughts and queries (a
    completed solution where there would be nothing); a query gets a node for every document that reflection keeps,
    else what a retrieved document gets: thoughts and a completed solution. Siblings with equal texts stay apart: they
    are independent samples, and merging them would change the odds of a random walk.

    Args:
        calls: The calls of the language model.
        grading: The judge of answers.
        front: The search for documents.
        summaries: Documents in plain language, shared by all problems of a run.
        config: Parameters of the tree search.
        question: The question as prompts show it, with its choices if it has any.
    """

    def __init__(
        self,
        calls: Calls,
        grading: Grading,
        front: RetrievalFront,
        summaries: Summaries,
        config: SearchConfig,
        question: str,
    ) -> None:
        self._calls = calls
        self._pack: PromptPack = calls.pack
        self._grading = grading
        self._front = front
        self._summaries = summaries
        self._config = config
        self._question = question

    async def expand(self, tree: Tree, node: Node) -> None:
        """Add the children of a node; at least one.

        Where the partial solution no longer fits into the model's context the walk is at its end, as at the depth
        limit: the node becomes terminal, without a reward.

        Raises:
            ContextOverflowError: The question alone does not fit.
        """
        try:
            await self._expand(tree, node)
        except ContextOverflowError:
            if node.kind == "root":
                raise
            tree.count("context_overflows")
            node.terminal, node.reward = True, 0.0

    async def _expand(self, tree: Tree, node: Node) -> None:
        if node.kind == "qg" and (relevant := await self._retrieve(tree, node)):
            for document, summary in relevant:
                self._add(tree, node, "rt", summary, document_id=document.id)
            return
        if node.kind in ("root", "ost"):
            work = [self._thoughts(tree, node)]
            if node.kind == "root":
                work.append(self._solution(tree, node))
            if sum(ancestor.kind == "qg" for ancestor in tree.path(node)) < self._config.max_queries:
                work.append(self._queries(tree, node))
        else:
            work = [self._thoughts(tree, node), self._solution(tree, node)]
        additions = await together(*work)
        if not any(additions):
            additions = [await self._solution(tree, node)]
        for adding in additions:
            for add in adding:
                add()

    async def _thoughts(self, tree: Tree, node: Node) -> _Found:
        if not self._config.steps:
            return []
        texts = await self._calls.ask(
            "step", self._values(tree, node), [tree.problem_id, node.place], n=self._config.steps
        )
        thoughts = []
        for text in filter(None, texts):
            answer = self._grading.extract(text) if self._pack.is_final(text) else None
            reward = None if answer is None else await self._grading.reward(answer)
            thoughts.append(self._adding(tree, node, "ost", text, answer=answer, reward=reward))
        tree.count("empty_thoughts", len(texts) - len(thoughts))
        return thoughts

    async def _solution(self, tree: Tree, node: Node) -> _Found:
        texts = await self._calls.ask(
            "complete", self._values(tree, node), [tree.problem_id, node.place], n=self._config.completions
        )
        answers = [self._grading.extract(text) for text in texts]
        best = await self._grading.most_frequent(answers)
        # Of the chosen completion, and of no other.
        reward = await self._grading.reward(answers[best])
        tree.count("solutions_without_answer", answers[best] is None)
        fields = {"answer": answers[best], "reward": reward, "answers": tuple(answers)}
        return [self._adding(tree, node, "crs", texts[best], **fields)]

    async def _queries(self, tree: Tree, node: Node) -> _Found:
        if not self._config.queries:
            return []
        texts = await self._calls.ask(
            "query", self._values(tree, node), [tree.problem_id, node.place], n=self._config.queries
        )
        tree.count("empty_queries", sum(not text for text in texts))
        return [self._adding(tree, node, "qg", text) for text in texts if text]

    async def _retrieve(self, tree: Tree, node: Node) -> list[tuple[Considered, str]]:
        """Search for a query, have each document judged, and return those that are kept, with their summaries."""
        tree.count("searches")
        hits = await self._front.search(node.text, self._config.documents)
        # The query itself is no part of the partial solution, nor is what it found.
        values = self._values(tree, node)
        on_path = {ancestor.document_id for ancestor in tree.path(node)} - {None}
        where = [tree.problem_id, node.place]

        async def judge(position: int, hit: Hit) -> Considered:
            if hit.document.id in on_path:
                return _considered(hit, None, ON_THE_PATH)
            text = self._pack.shown(hit.document.text)
            try:
                (answer,) = await self._calls.ask("reflect", {**values, "document": text}, [*where, position])
            except ContextOverflowError:
                label, reason = None, TOO_LONG
            except RequestRefusedError as error:
                if error.kind != "filter":
                    raise
                label, reason = None, FILTERED
                tree.count("filtered_reflections")
            else:
                label, reason = parse_reflection(answer)
            if label is None:
                tree.count("unreadable_reflections")
            return _considered(hit, label, reason)

        node.considered = tuple(await together(*(judge(position, hit) for position, hit in enumerate(hits))))
        relevant = [document for document in node.considered if document.relevant]
        summaries: list[Coroutine[Any, Any, str]] = [
            self._summaries.of(document.id, self._pack.shown(document.text)) for document in relevant
        ]
        tree.count("documents_kept", len(relevant))
        tree.count("documents_rejected", sum(document.relevant is False for document in node.considered))
        return list(zip(relevant, await together(*summaries), strict=True))

    def _values(self, tree: Tree, node: Node) -> dict[str, str]:
        return {"question": self._question, **step_values(partial_solution(tree, node), self._pack)}

    def _adding(self, tree: Tree, node: Node, kind: NodeKind, text: str, **fields: Any) -> Callable[[], Node]:
        return lambda: self._add(tree, node, kind, text, **fields)

    def _add(self, tree: Tree, node: Node, kind: NodeKind, text: str, **fields: Any) -> Node:
        terminal = kind == "crs" or fields.get("answer") is not None or node.depth + 1 >= self._config.depth
        if terminal and fields.get("reward") is None:
            fields["reward"] = 0.0
        return tree.add(node.id, kind, text, terminal=terminal, **fields)


def partial_solution(tree: Tree, node: Node) -> list[str | tuple[str, str]]:
    """Return the thoughts and the kept documents down to a node, without queries."""
    steps: list[str | tuple[str, str]] = []
    for ancestor in tree.path(node):
        if ancestor.kind == "ost":
            steps.append(ancestor.text)
        elif ancestor.kind == "rt":
            steps.append(("document", ancestor.text))
    return steps


def _considered(hit: Hit, label: bool | None, reason: str) -> Considered:
    return Considered(
        id=hit.document.id,
        text=hit.document.text,
        score=round(hit.score, 6),
        relevant=label,
        reason=reason,
        labelled_by="" if label is None else "reflection",
    )

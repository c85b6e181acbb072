"""Importer of proof trees over a corpus of facts, such as EntailmentBank's."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rader_plugins.errors import InputError
from rader_plugins.trajectories import Considered, Step, Trajectory
from rader_synthesis.importing.base import Corpus, ImportReport, Row, RowImporter, first_text, settle_steps

__all__ = ["Proofs"]

_PART = re.compile(r"^(sent|int)(\d+)$")


@dataclass(frozen=True)
class _ProofStep:
    premises: tuple[str, ...]
    conclusion: str
    text: str


class Proofs(RowImporter):
    """Reads proof trees, whose leaves are facts of a corpus: human reasoning with the documents that it needs.

    A row has ``question``, ``answer``, ``hypothesis`` (what is proved), ``facts`` (texts of the leaves, ``sent1`` the
    first), ``fact_ids`` (their documents; null where the corpus has none) and ``proof``:
    ``sent1 & sent3 -> int1: leo is a constellation containing stars; int1 & sent2 -> hypothesis;``.

    A step of the proof becomes a query (what the step sets out to prove), a retrieval of its leaves (relevant,
    labelled by ``proof``), leaves without a document as a thought, and its conclusion as a thought. So what stands
    before a retrieval is what was known when its facts were needed. A leaf that was retrieved before is not retrieved
    again. Candidates that did not take part in a proof can be added to ``considered`` later, for every retrieval
    keeps its query.

    Args:
        corpus: Gives the facts the texts that they have there; a fact that it does not hold is an error.
        keep_all: Also keep proofs none of whose facts has a document.
        skip_faulty: Count rows that cannot be used, instead of ending at the first.

    Example:
        >>> Proofs().source
        'import:proofs'
    """

    kind = "proofs"
    summary = "proof trees over a corpus of facts, such as EntailmentBank's"

    def __init__(self, *, corpus: Corpus | None = None, keep_all: bool = False, skip_faulty: bool = False) -> None:
        super().__init__(keep_all=keep_all, skip_faulty=skip_faulty)
        self.corpus = corpus

    @classmethod
    def recognizes(cls, value: Any) -> float:
        """Whether a row has a proof and its facts."""
        return 1.0 if isinstance(value, Mapping) and {"proof", "facts", "fact_ids"} <= value.keys() else 0.0

    def convert(self, row: Row, report: ImportReport) -> Iterable[Trajectory]:
        """Return the one trajectory of a proof."""
        where, record = row.where, row.value()
        if not isinstance(record, Mapping):
            raise InputError(f"{where} must be an object, not {type(record).__name__}.")
        question = first_text(record, ("question",), where)
        answer = first_text(record, ("answer",), where)
        if not question or not answer:
            raise InputError(f"{where} needs a 'question' and an 'answer'.")
        facts = self._facts(record, where)
        name = first_text(record, ("id", "_id"), where) or row.name
        steps = [*_steps(_parse(record, where), facts, report, where), Step("answer", answer)]
        yield Trajectory(
            id=name,
            problem_id=name,
            question=question,
            steps=settle_steps(steps, self.corpus, report),
            answer=answer,
            gold_answer=answer,
            reward=1.0,
            source=self.source,
        )

    def _facts(self, record: Mapping[str, Any], where: str) -> list[Considered | str]:
        """Return the leaves: documents, or texts where the corpus has none."""
        texts, ids = record.get("facts"), record.get("fact_ids")
        if not isinstance(texts, list) or not isinstance(ids, list) or len(texts) != len(ids):
            raise InputError(f"{where}: 'facts' and 'fact_ids' must be lists of one length.")
        facts: list[Considered | str] = []
        for text, id in zip(texts, ids, strict=True):
            if not isinstance(text, str) or not (id is None or isinstance(id, str)):
                raise InputError(f"{where}: every fact is a text, its id a text or null.")
            if id is not None and self.corpus is not None and self.corpus.get(id) is None:
                raise InputError(f"{where}: the corpus has no document {id!r}. Is it the corpus of these proofs?")
            facts.append(text if id is None else Considered(id, text, None, True, "a premise of this step", "proof"))
        return facts


def _parse(record: Mapping[str, Any], where: str) -> list[_ProofStep]:
    proof = record.get("proof")
    hypothesis = record.get("hypothesis")
    if not isinstance(proof, str) or not isinstance(hypothesis, str):
        raise InputError(f"{where}: 'proof' and 'hypothesis' must be texts.")
    steps = []
    for part in proof.removeprefix("$proof$ =").split(";"):
        if not part.strip():
            continue
        premises_text, arrow, right = part.partition("->")
        conclusion, _, text = right.partition(":")
        premises = tuple(premise.strip() for premise in premises_text.split("&"))
        if not arrow or not all(_PART.match(premise) for premise in premises):
            raise InputError(f"{where}: {part.strip()!r} is not a step such as 'sent1 & int2 -> int3: text'.")
        steps.append(_ProofStep(premises, conclusion.strip(), text.strip() or hypothesis))
    if not steps:
        raise InputError(f"{where}: the proof has no steps.")
    return steps


def _steps(
    proof: Sequence[_ProofStep], facts: Sequence[Considered | str], report: ImportReport, where: str
) -> Iterable[Step]:
    proved: set[str] = set()
    for step in proof:
        leaves: list[Considered] = []
        unmatched: list[str] = []
        for premise in step.premises:
            if premise in proved:
                continue
            proved.add(premise)
            if premise.startswith("int"):
                raise InputError(f"{where}: {premise!r} is used before a step proves it.")
            number = int(premise.removeprefix("sent"))
            if not 1 <= number <= len(facts):
                raise InputError(f"{where}: there is no fact {premise!r}; the row has {len(facts)}.")
            fact = facts[number - 1]
            if isinstance(fact, str):
                unmatched.append(fact)
                report.notes["leaf without a document, kept as a thought"] += 1
            elif all(fact.id != leaf.id for leaf in leaves):
                leaves.append(fact)
        proved.add(step.conclusion)
        if leaves:
            yield Step("query", step.text)
            yield Step(
                "retrieval",
                "\n".join(leaf.text for leaf in leaves),
                leaves[0].id if len(leaves) == 1 else None,
                tuple(leaves),
            )
        if unmatched:
            yield Step("thought", "\n".join(unmatched))
        yield Step("thought", step.text)

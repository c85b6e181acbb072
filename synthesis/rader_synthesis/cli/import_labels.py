"""Who labels the documents of imported trajectories: options of ``rader import``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rader_plugins.errors import InputError
from rader_synthesis.cli.asking_options import Style

if TYPE_CHECKING:
    from rader_plugins.llm import ChatModel
    from rader_plugins.trajectories import Trajectory
    from rader_synthesis.labelling import LabelReport

__all__ = ["NO_LABELLING", "Label", "Labelling"]


class Label(str, Enum):
    """Who labels documents that nobody has judged."""

    none = "none"
    citation = "citation"
    opened = "opened"
    answer = "answer"
    reflection = "reflection"


@dataclass(frozen=True)
class Labelling:
    """Who labels what nobody has judged, and who judges answers."""

    label: Annotated[Label, typer.Option("--label", help="Who labels the documents that have no label yet.")] = (
        Label.none
    )
    top: Annotated[
        int | None,
        typer.Option(
            "--top",
            min=1,
            help="With --label answer: documents of a search that count as used. Default: 1.",
            metavar="N",
        ),
    ] = None
    min_reward: Annotated[
        float,
        typer.Option("--min-reward", min=0.0, max=1.0, help="From which reward on an answer is right.", metavar="X"),
    ] = 1.0
    checker: Annotated[
        str | None,
        typer.Option(
            "--checker", metavar="NAME", help="Judge the final answers anew: math, numeric, choice, exact, judge."
        ),
    ] = None
    standalone_llm: Annotated[
        bool, typer.Option("--standalone-llm", help="Let the model rewrite follow-ups into questions that stand alone.")
    ] = False
    prompts: Annotated[
        str | None,
        typer.Option(
            "--prompts", metavar="PACK", help="For reflection: math, science, generic (default), or a folder."
        ),
    ] = None
    style: Annotated[
        Style | None, typer.Option("--style", help="Send the examples as turns (chat, default) or as one text.")
    ] = None

    @property
    def asks(self) -> bool:
        """Whether a language model is needed."""
        return self.label is Label.reflection or self.checker == "judge" or self.standalone_llm

    def check(self) -> None:
        """Refuse options that would have no effect.

        Raises:
            InputError: One goes with another way of labelling.
        """
        if self.top is not None and self.label is not Label.answer:
            raise InputError("--top goes with --label answer.")
        if (self.prompts is not None or self.style is not None) and self.label is not Label.reflection:
            raise InputError("--prompts and --style go with --label reflection.")

    def labelled(
        self,
        trajectories: Iterable[Trajectory],
        llm: ChatModel | None,
        concurrency: int,
        report: LabelReport,
        notes: Counter[str],
    ) -> Iterable[Trajectory]:
        """Yield trajectories with questions that stand alone, judged answers and labels, as far as each is wanted.

        Args:
            trajectories: The trajectories as they were imported.
            llm: What is asked, where :attr:`asks`.
            concurrency: How many requests are under way at once.
            report: The report that counts the labels.
            notes: Counts what became of follow-ups.
        """
        if self.standalone_llm and llm is not None:
            from rader_synthesis.followups import standalone_questions

            trajectories = standalone_questions(trajectories, llm, concurrency=concurrency, notes=notes)
        if self.checker is not None:
            from rader_plugins.answers import load_checker
            from rader_synthesis.labelling import judge_answers

            options = {"llm": llm} if self.checker == "judge" else {}
            trajectories = judge_answers(trajectories, load_checker(self.checker, **options))
        return self._label(trajectories, llm, concurrency, report)

    def _label(
        self, trajectories: Iterable[Trajectory], llm: ChatModel | None, concurrency: int, report: LabelReport
    ) -> Iterable[Trajectory]:
        from rader_synthesis import labelling

        if self.label is Label.citation:
            return (labelling.label_by_citation(trajectory, report) for trajectory in trajectories)
        if self.label is Label.opened:
            return (labelling.label_by_opened(trajectory, report) for trajectory in trajectories)
        if self.label is Label.answer:
            return (
                labelling.label_by_answer(trajectory, report, top=self.top or 1, min_reward=self.min_reward)
                for trajectory in trajectories
            )
        if self.label is Label.reflection and llm is not None:
            style: Any = (self.style or Style.chat).value
            reflector = labelling.PackReflector(llm, self.prompts or "generic", style=style)
            return labelling.label_by_reflection(trajectories, reflector, concurrency=concurrency, report=report)
        return trajectories


NO_LABELLING = Labelling()

"""Prompt packs: a folder with one file per action, rendered as chat turns or as one text."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, get_args

from rader_plugins.errors import InputError
from rader_plugins.files import fingerprint, read_toml
from rader_plugins.llm import Message
from rader_plugins.llm.templates import check_template, fill_template

__all__ = ["PACKS", "Action", "ActionPrompt", "Example", "PromptPack", "load_pack", "load_prompt", "step_values"]

Action = Literal["step", "complete", "query", "reflect", "summarise"]
PACKS = ("math", "science", "generic")
"""The packs that come with the library."""

_PLACES: Mapping[str, tuple[str, ...]] = {
    "step": ("question", "steps"),
    "complete": ("question", "steps"),
    "query": ("question", "steps"),
    "reflect": ("question", "steps", "document"),
    "summarise": ("document",),
}
_PROMPT_KEYS = {"system", "user", "max_tokens", "stop", "temperature", "examples"}
_PACK_KEYS = {"final_answer", "step", "document", "no_steps", "cut_documents_at"}


@dataclass(frozen=True)
class Example:
    """One worked example of an action: what stands in the places of the template, and the answer."""

    values: Mapping[str, str]
    output: str


@dataclass(frozen=True)
class ActionPrompt:
    """The prompt of one action.

    Args:
        system: What the task is.
        user: Template of a turn; its last line is the cue that the answer continues.
        examples: Shown before the question, through the same template.
        max_tokens: Most tokens of an answer.
        stop: Strings that end it.
        temperature: Sampling temperature; 0 is greedy, None takes that of the search.
    """

    system: str
    user: str
    examples: tuple[Example, ...]
    max_tokens: int
    stop: tuple[str, ...] = ()
    temperature: float | None = None

    def messages(self, values: Mapping[str, str]) -> list[Message]:
        """Return the conversation: system, the examples as turns, and the question."""
        turns: list[Message] = [{"role": "system", "content": self.system}]
        for example in self.examples:
            turns.append({"role": "user", "content": fill_template(self.user, example.values)})
            turns.append({"role": "assistant", "content": example.output})
        return [*turns, {"role": "user", "content": fill_template(self.user, values)}]

    def text(self, values: Mapping[str, str]) -> str:
        """Return the same as one text, which ends with the cue."""
        blocks = [self.system]
        for example in self.examples:
            turn = fill_template(self.user, example.values)
            blocks.append(f"{turn}{' ' if turn.endswith(':') else chr(10)}{example.output}")
        return "\n\n".join([*blocks, fill_template(self.user, values)])

    @property
    def next_example(self) -> str | None:
        """What a model that was given :meth:`text` begins another example with, on a line of its own."""
        head = self.user.split("{", 1)[0].split("\n", 1)[0].strip()
        return f"\n{head}" if head else None

    def clean(self, answer: str, values: Mapping[str, str]) -> str:
        """Return an answer without blanks around it and without the cue, which some models repeat."""
        cue = fill_template(self.user, values).rpartition("\n")[2].strip()
        answer = answer.strip()
        if cue.endswith(":") and answer.lower().startswith(cue.lower()):
            answer = answer[len(cue) :].strip()
        return answer


@dataclass(frozen=True)
class PromptPack:
    """The prompts of all actions, and how a partial solution is written down.

    Args:
        name: Name of the pack.
        prompts: Prompt of each action.
        final_answer: A thought with one of these in it, whatever its case, holds the final answer.
        step: How a thought is written, with ``{number}`` and ``{text}``.
        document: How a retrieved document is written among the thoughts, with the same places.
        no_steps: What stands for a solution without steps.
        cut_documents_at: A document is shown up to the first of these (ProofWiki's pages go on with the proof).
    """

    name: str
    prompts: Mapping[Action, ActionPrompt]
    final_answer: tuple[str, ...]
    step: str
    document: str
    no_steps: str
    cut_documents_at: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """Of all texts."""
        prompts = {
            name: [
                prompt.system,
                prompt.user,
                [[dict(example.values), example.output] for example in prompt.examples],
                [prompt.max_tokens, list(prompt.stop), prompt.temperature],
            ]
            for name, prompt in self.prompts.items()
        }
        layout = [list(self.final_answer), self.step, self.document, self.no_steps, list(self.cut_documents_at)]
        return fingerprint([prompts, layout])

    def is_final(self, text: str) -> bool:
        """Whether a thought holds the final answer."""
        lowered = text.lower()
        return any(mark.lower() in lowered for mark in self.final_answer)

    def shown(self, document: str) -> str:
        """Return what a prompt shows of a document: one paragraph, up to where the pack cuts."""
        ends = [position for mark in self.cut_documents_at if (position := document.find(mark)) >= 0]
        return " ".join(document[: min(ends, default=None)].split())

    def steps(self, steps: Sequence[tuple[str, str]]) -> str:
        """Write down a partial solution.

        Args:
            steps: Pairs of a kind (``thought`` or ``document``) and a text.
        """
        lines = [
            fill_template(self.document if kind == "document" else self.step, {"number": str(number), "text": text})
            for number, (kind, text) in enumerate(steps, start=1)
        ]
        return "\n".join(lines) or self.no_steps


def load_pack(source: str | os.PathLike[str]) -> PromptPack:
    """Load a prompt pack and check all of it.

    Args:
        source: ``math``, ``science``, ``generic``, or a folder with ``pack.toml`` and one file per action
            (``step.toml``, ``complete.toml``, ``query.toml``, ``reflect.toml``, ``summarise.toml``).

    Raises:
        InputError: A file is missing, no TOML, or lacks something; the message names file and key.

    Example:
        >>> load_pack("math").is_final("So the sum is \\\\boxed{8}.")
        True
    """
    folder = Path(source)
    if isinstance(source, str) and source in PACKS:
        folder = Path(str(files("rader_synthesis").joinpath(f"prompts/{source}")))
    elif not folder.is_dir():
        raise InputError(f"There is no prompt pack {os.fspath(source)!r}: name {', '.join(PACKS)} or a folder.")
    missing = [f"{name}.toml" for name in ("pack", *get_args(Action)) if not (folder / f"{name}.toml").is_file()]
    if missing:
        raise InputError(f"The prompt pack {folder} lacks {', '.join(missing)}.")
    head = _Table(read_toml(folder / "pack.toml"), str(folder / "pack.toml"), _PACK_KEYS)
    templates = {}
    for key in ("step", "document"):
        with head.naming(key):
            templates[key] = check_template(head.text(key), ("text",))
    pack = PromptPack(
        name=folder.name,
        prompts={},
        final_answer=head.texts("final_answer", needed=True),
        no_steps=head.text("no_steps"),
        cut_documents_at=head.texts("cut_documents_at"),
        **templates,
    )
    prompts = {action: load_prompt(folder / f"{action}.toml", _PLACES[action], pack) for action in get_args(Action)}
    return replace(pack, prompts=prompts)


def load_prompt(path: Path, places: Sequence[str], pack: PromptPack) -> ActionPrompt:
    """Load one prompt file and check all of it.

    Args:
        path: The prompt file, in TOML.
        places: What its template must have places for: ``question``, ``steps``, ``document``.
        pack: How the steps of its examples are written down.

    Raises:
        InputError: It lacks something; the message names file and key.
    """
    table = _Table(read_toml(path), str(path), _PROMPT_KEYS)
    user = table.text("user")
    with table.naming("user"):
        check_template(user, places)
    max_tokens = table.values.get("max_tokens")
    if not isinstance(max_tokens, int) or isinstance(max_tokens, bool) or max_tokens < 1:
        raise InputError(f"{path}: 'max_tokens' must be a whole number of at least 1, so that every answer ends.")
    temperature = table.values.get("temperature")
    if temperature is not None and (not isinstance(temperature, int | float) or not temperature >= 0):
        raise InputError(f"{path}: 'temperature' must be a number of at least 0.")
    rows = table.values.get("examples")
    if not isinstance(rows, list) or not rows:
        raise InputError(f"{path} has no [[examples]]: small models do not follow a format that they were not shown.")
    examples = tuple(
        _example(row, f"{path}, example {number}", places, pack) for number, row in enumerate(rows, start=1)
    )
    return ActionPrompt(table.text("system"), user, examples, max_tokens, table.texts("stop"), temperature)


def _example(row: Any, where: str, places: Sequence[str], pack: PromptPack) -> Example:
    table = _Table(row, where, {*places, "output"})
    values = {name: table.text(name) for name in places if name != "steps"}
    if "steps" in places:
        values |= step_values(table.texts("steps"), pack)
    return Example(values, table.text("output"))


def step_values(steps: Sequence[str | tuple[str, str]], pack: PromptPack) -> dict[str, str]:
    """Return what stands for ``{steps}`` and ``{number}``. A text alone is a thought."""
    pairs = [("thought", step) if isinstance(step, str) else step for step in steps]
    return {"steps": pack.steps(pairs), "number": str(len(pairs) + 1)}


class _Table:
    """A TOML table whose keys are checked; messages name its file."""

    def __init__(self, values: Any, where: str, known: set[str]) -> None:
        if not isinstance(values, Mapping):
            raise InputError(f"{where} must be a table.")
        if unknown := sorted(set(values) - known):
            raise InputError(
                f"{where} has the unknown {', '.join(map(repr, unknown))}; known: {', '.join(sorted(known))}."
            )
        self.values = values
        self.where = where

    def text(self, key: str) -> str:
        value = self.values.get(key)
        if not isinstance(value, str) or not value.strip():
            raise InputError(f"{self.where}: {key!r} must be a text.")
        return value.strip()

    def texts(self, key: str, *, needed: bool = False) -> tuple[str, ...]:
        value = self.values.get(key, [])
        if not isinstance(value, list) or not all(isinstance(text, str) and text for text in value):
            raise InputError(f"{self.where}: {key!r} must be a list of texts.")
        if needed and not value:
            raise InputError(f"{self.where}: {key!r} must hold at least one text.")
        return tuple(value)

    @contextlib.contextmanager
    def naming(self, key: str) -> Iterator[None]:
        try:
            yield
        except InputError as error:
            raise InputError(f"{self.where}, {key!r}: {error}") from None

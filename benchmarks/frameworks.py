"""Hybrid retrieval inside LangChain and LlamaIndex against what users of these frameworks put together today.

The peers are LangChain's `EnsembleRetriever` over its `BM25Retriever` and FAISS, and LlamaIndex's
`QueryFusionRetriever` over its `BM25Retriever` and `VectorStoreIndex`. Both get the same encoder object as ours.
"""

from __future__ import annotations

import importlib.util
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from common import Report, Row, alternate, arguments, latencies, milliseconds, questions, timed, varied_pages

from rader_plugins import Encoder, load_encoder

_NEEDED = {
    "langchain": ("langchain_classic", "langchain_community", "rank_bm25", "langchain_rader"),
    "llama_index": ("llama_index.retrievers.bm25", "llama_index.retrievers.rader"),
}
_INSTALL = "pip install langchain-classic langchain-community rank-bm25 llama-index-retrievers-bm25"
_PACKAGES = {
    "langchain": ("langchain-core", "langchain-classic", "langchain-community", "rank-bm25", "faiss-cpu"),
    "llama_index": ("llama-index-core", "llama-index-retrievers-bm25", "bm25s"),
}

Build = Callable[[], Any]


def langchain(texts: Sequence[str], encoder: Encoder, k: int) -> tuple[Build, Build]:
    """Return what builds our retriever and the ensemble, both in memory."""
    from langchain_classic.retrievers import EnsembleRetriever
    from langchain_community.retrievers import BM25Retriever
    from langchain_community.vectorstores import FAISS
    from langchain_core.documents import Document
    from langchain_rader import RaderEmbeddings, RaderRetriever

    documents = [Document(id=f"d{at}", page_content=text) for at, text in enumerate(texts)]
    embeddings = RaderEmbeddings(model=encoder)

    def peer() -> Any:
        words = BM25Retriever.from_documents(documents, k=k)
        vectors = FAISS.from_documents(documents, embeddings).as_retriever(search_kwargs={"k": k})
        return EnsembleRetriever(retrievers=[words, vectors], weights=[0.5, 0.5])

    return lambda: RaderRetriever.from_documents(documents, model=encoder, k=k), peer


def llama_index(texts: Sequence[str], encoder: Encoder, k: int) -> tuple[Build, Build]:
    """Return what builds our retriever and the fusion retriever, both in memory."""
    from llama_index.core import VectorStoreIndex
    from llama_index.core.llms.mock import MockLLM
    from llama_index.core.retrievers import QueryFusionRetriever
    from llama_index.core.retrievers.fusion_retriever import FUSION_MODES
    from llama_index.core.schema import TextNode
    from llama_index.embeddings.rader import RaderEmbedding
    from llama_index.retrievers.bm25 import BM25Retriever  # type: ignore[import-untyped]
    from llama_index.retrievers.rader import RaderRetriever

    embedding = RaderEmbedding(model=encoder)

    def nodes() -> list[Any]:  # new ones each time: an index writes the embeddings into them
        return [TextNode(id_=f"d{at}", text=text) for at, text in enumerate(texts)]

    def peer() -> Any:
        given = nodes()
        index = VectorStoreIndex(given, embed_model=embedding)
        words = BM25Retriever.from_defaults(nodes=given, similarity_top_k=k)
        return QueryFusionRetriever(
            [words, index.as_retriever(similarity_top_k=k)],
            llm=MockLLM(),  # asked only where further queries are to be written
            num_queries=1,
            mode=FUSION_MODES.RECIPROCAL_RANK,
            similarity_top_k=k,
            use_async=False,
        )

    return lambda: RaderRetriever.from_defaults(nodes=nodes(), model=encoder, similarity_top_k=k), peer


def measure(report: Report, framework: str, peer_name: str, builds: tuple[Build, Build], options: Any) -> None:
    ours, peer = builds
    alternating = alternate({"ours": ours, "peer": peer}, options.rounds, warm_up=False)
    seconds = {name: statistics.median(values) for name, values in alternating.items()}
    title = f"{framework}: indexing {options.documents:,} documents"
    report.add(Row(title, seconds["ours"], "s", seconds["peer"], peer_name))
    method = "invoke" if framework == "LangChain" else "retrieve"
    contenders = {"ours": getattr(ours(), method), "peer": getattr(peer(), method)}
    queries = questions()[: options.queries]
    took = latencies(contenders, queries)
    title = f"{framework}: hybrid query, its encoding included"
    report.add(Row(title, milliseconds(took["ours"]), "ms", milliseconds(took["peer"]), peer_name))
    report.notes[f"{framework}: seconds of each indexing"] = alternating
    report.notes[f"{framework}: results of the first query"] = {
        name: len(call(queries[0])) for name, call in contenders.items()
    }


def installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--documents", type=int, default=2000)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3, help="of indexing")
    parser.add_argument("-k", type=int, default=10)
    parser.add_argument("--only", choices=sorted(_NEEDED))
    options = parser.parse_args()
    chosen = [options.only] if options.only else list(_NEEDED)
    if missing := [name for framework in chosen for name in _NEEDED[framework] if not installed(name)]:
        raise SystemExit(f"Not installed: {', '.join(missing)}. {_INSTALL}")

    report = Report("frameworks", options, [name for framework in chosen for name in _PACKAGES[framework]])
    encoder = load_encoder("mini", device="cpu", show_progress=False)
    texts = varied_pages(options.documents, options.seed)
    encoding: list[float] = []
    for _ in range(options.rounds):
        encoding.append(timed(lambda: encoder.encode_documents(texts))[0])
    single = [timed(lambda: encoder.encode_queries([query]))[0] for query in questions()[: options.queries]]  # noqa: B023
    if "langchain" in chosen:
        peer = "EnsembleRetriever of BM25Retriever and FAISS"
        measure(report, "LangChain", peer, langchain(texts, encoder, options.k), options)
    if "llama_index" in chosen:
        peer = "QueryFusionRetriever of BM25Retriever and VectorStoreIndex"
        measure(report, "LlamaIndex", peer, llama_index(texts, encoder, options.k), options)
    report.notes["encoding alone, part of both sides"] = (
        f"all documents {statistics.median(encoding):.2f} s, one query {milliseconds(single):.2f} ms"
    )
    report.write(options.json)


if __name__ == "__main__":
    main()

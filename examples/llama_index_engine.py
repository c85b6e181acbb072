"""A query engine of LlamaIndex that answers over an index in Milvus, PostgreSQL or Qdrant: the URL alone says which.

    pip install 'rader-plugins[llama-index,local,mini,milvus,postgres,qdrant]' llama-index-llms-openai
    OPENAI_API_KEY=... python examples/llama_index_engine.py milvus://127.0.0.1:19530/handbook
    OPENAI_API_KEY=... python examples/llama_index_engine.py 'postgresql://user@host/db?table=handbook' 'A question?'

The first run makes the index; later ones, and any number of them at once, encode nothing. A folder in place of the URL
works as well.
"""

from __future__ import annotations

import sys
from typing import Any

from llama_index.core.llms import LLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import TextNode
from llama_index.retrievers.rader import RaderRetriever

QUESTION = "How many guests must I invite so that three of them know each other or three do not?"
HANDBOOK = {
    "ramsey": ("Ramsey: among any six people three know each other or three do not.", 1930),
    "pigeonhole": ("Pigeonhole principle: with more objects than boxes, two objects share a box.", 1834),
    "inclusion": ("Inclusion and exclusion: a union has the sum of the sizes minus that of the intersection.", 1854),
}


def make_query_engine(url: str, llm: LLM, **options: Any) -> RetrieverQueryEngine:
    """Return a query engine.

    Args:
        url: Of the index, made if there is none.
        llm: Any LLM of LlamaIndex.
        **options: Of :class:`RaderRetriever`, such as ``filters``.
    """
    nodes = [TextNode(id_=id, text=text, metadata={"year": year}) for id, (text, year) in HANDBOOK.items()]
    retriever = RaderRetriever.from_defaults(nodes=nodes, model="mini", path=url, similarity_top_k=2, **options)
    return RetrieverQueryEngine.from_args(retriever, llm=llm)


def main() -> None:
    """Answer the question of the command line."""
    from llama_index.llms.openai import OpenAI

    url, *words = sys.argv[1:] or sys.exit(__doc__)
    response = make_query_engine(url, OpenAI(model="gpt-4o-mini")).query(" ".join(words) or QUESTION)
    print(response)
    for scored in response.source_nodes:
        print(f"  {scored.node.node_id}: {scored.score:.2f}")


if __name__ == "__main__":
    main()

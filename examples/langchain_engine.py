"""A chain of LangChain that answers over an index in Milvus, PostgreSQL or Qdrant: the URL alone says which.

    pip install 'rader-plugins[langchain,local,mini,milvus,postgres,qdrant]' langchain-openai
    OPENAI_API_KEY=... python examples/langchain_engine.py milvus://127.0.0.1:19530/handbook
    OPENAI_API_KEY=... python examples/langchain_engine.py 'postgresql://user@host/db?table=handbook' 'A question?'

`OPENAI_BASE_URL` names another server of the same interface. The first run makes the index; later ones, and any number
of them at once, encode nothing. A folder in place of the URL works as well.
"""

from __future__ import annotations

import sys
from typing import Any

from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnablePassthrough
from langchain_rader import RaderRetriever

QUESTION = "How many guests must I invite so that three of them know each other or three do not?"
PROMPT = "Use this:\n\n{context}\n\nQuestion: {question}\nAnswer in one sentence, and name the document in brackets."
HANDBOOK = {
    "ramsey": ("Ramsey: among any six people three know each other or three do not.", 1930),
    "pigeonhole": ("Pigeonhole principle: with more objects than boxes, two objects share a box.", 1834),
    "inclusion": ("Inclusion and exclusion: a union has the sum of the sizes minus that of the intersection.", 1854),
}


def make_chain(url: str, llm: BaseChatModel, **options: Any) -> Runnable[str, dict[str, Any]]:
    """Return a chain from a question to a dict of ``answer`` and ``documents``.

    Args:
        url: Of the index, made if there is none.
        llm: Any chat model.
        **options: Of :class:`RaderRetriever`, such as ``filter``.
    """
    documents = [Document(text, id=id, metadata={"source": id, "year": year}) for id, (text, year) in HANDBOOK.items()]
    retriever = RaderRetriever.from_documents(documents, model="mini", path=url, k=2, **options)
    answer = (
        RunnablePassthrough.assign(context=lambda values: context_of(values["documents"]))
        | ChatPromptTemplate.from_template(PROMPT)
        | llm
        | StrOutputParser()
    )
    return {"documents": retriever, "question": RunnablePassthrough()} | RunnablePassthrough.assign(answer=answer)


def context_of(documents: list[Document]) -> str:
    """Return what the prompt says of documents."""
    return "\n".join(f"[{document.id}] {document.page_content}" for document in documents)


def main() -> None:
    """Answer the question of the command line."""
    from langchain_openai import ChatOpenAI

    url, *words = sys.argv[1:] or sys.exit(__doc__)
    chain = make_chain(url, ChatOpenAI(model="gpt-4o-mini"))
    result = chain.invoke(" ".join(words) or QUESTION)
    print(result["answer"])
    for document in result["documents"]:
        print(f"  {document.id}: {document.metadata['score']:.2f}")


if __name__ == "__main__":
    main()

"""RaDeR for LangChain: an embedding model, a retriever, a reranker and a vector store on :mod:`rader_plugins`.

Three lines from documents to a chain:

    from langchain_rader import RaderRetriever
    retriever = RaderRetriever.from_documents(documents, model="mini")
    chain = {"context": retriever, "question": RunnablePassthrough()} | prompt | llm
"""

from rader_plugins.errors import import_extra

import_extra("langchain_core", "langchain")  # before anything below imports it and fails without a remedy

from langchain_rader._rag import RagRunnable  # noqa: E402
from langchain_rader.chat import LangChainChat  # noqa: E402
from langchain_rader.embeddings import RaderEmbeddings  # noqa: E402
from langchain_rader.evaluation import searchable  # noqa: E402
from langchain_rader.query_constructor import RaderTranslator  # noqa: E402
from langchain_rader.recorder import RecordedRun, TrajectoryRecorder  # noqa: E402
from langchain_rader.rerankers import RaderReranker  # noqa: E402
from langchain_rader.retrievers import RaderRetriever  # noqa: E402
from langchain_rader.vectorstores import RaderVectorStore  # noqa: E402

__all__ = [
    "LangChainChat",
    "RaderEmbeddings",
    "RaderReranker",
    "RaderRetriever",
    "RaderTranslator",
    "RaderVectorStore",
    "RagRunnable",
    "RecordedRun",
    "TrajectoryRecorder",
    "searchable",
]

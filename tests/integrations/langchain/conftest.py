from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from importlib.resources import files

import pytest
from langchain_core.documents import Document
from langchain_rader import RaderEmbeddings

from rader_plugins import Document as CoreDocument
from rader_plugins import Encoder, RaderIndex, Recipe, load_encoder
from rader_plugins.files import read_jsonl
from rader_plugins.recipes import get_recipe


@pytest.fixture(scope="session")
def mini() -> Encoder:
    return load_encoder("mini")


@pytest.fixture(scope="session")
def prefixed() -> Recipe:
    """The mini model under templates that tell queries from documents."""
    return dataclasses.replace(
        get_recipe("mini"),
        name="prefixed",
        query_template="query: {instruction}{text}",
        document_template="document: {text}",
    )


@pytest.fixture(scope="session")
def embeddings(mini: Encoder) -> RaderEmbeddings:
    return RaderEmbeddings(model=mini)


@pytest.fixture(scope="session")
def principles() -> list[Document]:
    """The first 24 documents of the bundled corpus."""
    corpus = files("rader_plugins") / "data" / "principles" / "corpus.jsonl"
    return [
        Document(
            id=row["_id"],
            page_content=f"{row['title']}: {row['text']}",
            metadata={**row["metadata"], "number": number},
        )
        for number, row in enumerate(itertools.islice(read_jsonl(str(corpus)), 24))
    ]


@pytest.fixture(scope="session")
def principles_index(mini: Encoder, principles: list[Document]) -> Iterator[RaderIndex]:
    """A shared index; tests must not write to it."""
    index = RaderIndex.create(None, encoder=mini)
    index.add([CoreDocument(str(item.id), item.page_content, item.metadata) for item in principles])
    yield index
    index.close()

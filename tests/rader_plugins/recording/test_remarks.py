"""Remarks of tools that are no documents."""

from __future__ import annotations

import pytest

from rader_plugins.recording.remarks import says_failed, says_nothing_found
from rader_plugins.recording.results import read_documents

NOTHING = [
    "No results found.", "no relevant documents in the knowledge base", "[]", "Keine passenden Ergebnisse.",
    "Aucun résultat trouvé.", "No se encontraron resultados.", "Nenhum documento encontrado.", "Ничего не найдено",
    "没有找到相关结果。", "查無資料", "該当する文書は見つかりませんでした。", "검색 결과가 없습니다.", "لا توجد نتائج",
    "ไม่พบข้อมูล",
]  # fmt: skip
FAILED = [
    "Error: boom", "HTTP 503 Service Unavailable", "404 Not Found", "Request failed with status code 429",
    "Rate limit exceeded, try again in 20 s.", "Traceback (most recent call last):\n  File x\nKeyError: 'a'",
    "httpx.ConnectError: no route", "Timed out.", "[Error] no index",
]  # fmt: skip
DOCUMENTS = [
    "Errors are shown in the log.", "No documents are needed for a refund under 50 dollars.",
    "Ergebnisse stehen im Archiv.",
    "Timeout settings: thirty seconds.", "如果没有收据，请联系客服。", "None of the plans includes telephone support.",
    "The request has to name a reason, and a failed payment is one.",
]  # fmt: skip


@pytest.mark.parametrize("text", NOTHING)
def test_a_search_that_found_nothing(text: str) -> None:
    assert says_nothing_found(text)
    assert not read_documents(text)


@pytest.mark.parametrize("text", FAILED)
def test_a_call_that_failed(text: str) -> None:
    assert says_failed(text)
    assert not read_documents(text)


@pytest.mark.parametrize("text", DOCUMENTS)
def test_what_is_no_remark(text: str) -> None:
    assert not says_failed(text)
    assert not says_nothing_found(text)
    assert read_documents(text)

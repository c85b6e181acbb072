"""Remarks of tools that are no documents: that nothing was found, or that the call failed."""

from __future__ import annotations

import re

__all__ = ["says_failed", "says_nothing_found"]

_LONGEST = 200
_LONGEST_ELSEWHERE = 60  # of a remark that is told by words which may stand anywhere in it
_NOTHING = re.compile(
    r"(?:none|null|n/a|\[\]|\{\}|(?:nothing|none|not) (?:was )?found.*|(?:could|can)(?: ?not|n't) find .*|"
    r"(?:sorry, )?(?:no|0|zero) (?:\w+ ){0,3}(?:results?|documents?|matches|hits|passages?|pages|articles|information|"
    r"entries)(?: (?:(?:was|were|could be) )?(?:found|matched|available|returned)\b.*|\W*| (?:for|in|on|about|with|"
    r"match(?:ing|ed|es)?|that|to)\b[^.\n]{0,80}[.!]?))\s*",
    re.IGNORECASE | re.DOTALL,
)
_NOTHING_ELSEWHERE = re.compile(
    r"\b(?:keine|keinerlei) (?:\w+ ){0,2}(?:ergebnisse|treffer|dokumente|eintr[äa]ge)\b|\bnichts (?:\w+ )?gefunden\b|"
    r"\bgeen (?:\w+ ){0,2}(?:resultaten|documenten)\b|\baucune? (?:\w+ )?(?:résultat|document|correspondance)|"
    r"\brien (?:n'a été )?trouvé\b|\bno se (?:han? )?encontr|\b(?:sin|ningún|ningun) (?:resultado|documento)|"
    r"\b(?:nenhum|sem) (?:resultado|documento)|\bnessun (?:risultato|documento)|\bbrak wyników|\bnie znaleziono\b|"
    r"ничего не найдено|не найдено|нет результатов|sonuç bulunamadı|không tìm thấy|không có kết quả|"
    r"(?:没有|没|未|沒有|沒|无法|無法)(?:能)?(?:找到|查到|检索到|檢索到|搜索到|搜尋到|发现)|"
    r"(?:没有|沒有|无|無|暂无|查无|查無)(?:任何|相关|相關|匹配|符合)*的?(?:结果|結果|文档|文檔|文件|内容|資料)|找不到|"
    r"見つかりません|見つからな|(?:結果|該当|文書)(?:は|が)?(?:ありません|なし)|결과가? ?없|찾을 수 없|찾지 못|"
    r"لا توجد (?:أي )?(?:نتائج|مستندات)|لم يتم العثور|कोई (?:\S+ )?(?:परिणाम|दस्तावेज़)|नहीं मिला|ไม่พบ",
    re.IGNORECASE,
)
_FAILED = re.compile(
    r"\[error\].*|(?:error|(?:search|tool|api|http|request|connection|server|internal) error) ?[:\-(].*|"
    r"<(?:tool_use_)?error>.*|(?:http(?:error)?|status(?: code)?)[ :]{1,2}[45]\d\d\b.*|"
    r"[45]\d\d (?:client error|server error|bad request|unauthorized|forbidden|not found|too many requests|"
    r"internal server error|bad gateway|service unavailable|gateway time-?out)\b.*|"
    r"(?:the )?(?:\w+ )?(?:request|search|tool|query|connection|call|fetch|operation) (?:has |was )?"
    r"(?:failed|timed out|aborted|cancelled|canceled|refused|denied)\b.*|"
    r"rate limit (?:exceeded|reached).*|too many requests\b.*|"
    r"(?:read |connect )?time(?:out|d out)(?:\W*| (?:while|after|of|when)\b.*|[:.!,].*)|"
    r"failed to (?:fetch|connect|load|retrieve|search|open)\b.*",
    re.IGNORECASE | re.DOTALL,
)
_EXCEPTION = re.compile(r"(?:\w+\.)*\w*(?:Error|Exception)(?:\(.*\)|: .*)", re.DOTALL)
_TRACEBACK = "Traceback (most recent call last)"


def says_nothing_found(text: str) -> bool:
    """Whether the whole of a text says that a search found nothing, in one of the world's larger languages.

    Example:
        >>> [says_nothing_found(text) for text in ("No results found.", "Keine Treffer.", "没有找到结果。", "No.")]
        [True, True, True, False]
    """
    text = text.strip()
    if len(text) <= _LONGEST and _NOTHING.fullmatch(text):
        return True
    return len(text) <= _LONGEST_ELSEWHERE and "\n" not in text and _NOTHING_ELSEWHERE.search(text) is not None


def says_failed(text: str) -> bool:
    """Whether the whole of a text says that a call failed: an error with its name, a status of HTTP, a traceback.

    Example:
        >>> says_failed("Request failed with status code 404"), says_failed("Errors are shown in the log.")
        (True, False)
    """
    text = text.strip()
    if text.startswith(_TRACEBACK):
        return True
    return len(text) <= _LONGEST and any(pattern.fullmatch(text) for pattern in (_FAILED, _EXCEPTION))

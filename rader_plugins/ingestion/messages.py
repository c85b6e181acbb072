"""Messages (e-mail), by Python's own parser: the text, whatever part of the message holds it, and what is not read."""

from __future__ import annotations

from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import MIMEPart
from typing import Any

from rader_plugins.ingestion.pages import page_text
from rader_plugins.ingestion.parts import Part, UnusableFileError, names_of
from rader_plugins.text_files import decode, detect_encoding

__all__ = ["read_message"]

_HEADS = ("Subject", "From", "To", "Date")
_MARK = b"\xef\xbb\xbf"
_DEEPEST = 20  # messages in messages


def read_message(raw: bytes) -> Part:
    """Return the heads of a message and its texts; of alternatives the plain one, if it says anything.

    Forwarded messages are read with it. Attachments are not, and are named.

    Raises:
        UnusableFileError: It is no message.
        MissingExtraError: It is a page, and the extra ``documents`` is not installed.
    """
    message = message_from_bytes(raw.removeprefix(_MARK), policy=policy.default)
    if not isinstance(message, MIMEPart) or not message.keys():
        raise UnusableFileError("no message: it has no headers")
    attached: list[str] = []
    text = _message_text(message, attached)
    missing = f"attachments are not read: {names_of(attached)}" if attached else ""
    return Part(text, markdown=False, missing=missing)


def _message_text(message: MIMEPart[Any, Any], attached: list[str], depth: int = 0) -> str:
    heads = [f"{name}: {value}" for name in _HEADS if (value := _head(message, name))]
    texts = [text for text in _texts(message, attached, depth) if text.strip()]
    return "\n".join(heads) + "\n\n" + "\n\n".join(texts)


def _head(message: MIMEPart[Any, Any], name: str) -> str:
    """Return a head; bytes beyond ASCII that stand in it as they are become what they are likely to mean."""
    plain = next((value for key, value in message.raw_items() if key.lower() == name.lower()), None)
    if isinstance(plain, str) and any("\udc80" <= character <= "\udcff" for character in plain):
        return " ".join(_decoded(plain.encode("utf-8", "surrogateescape")).split())
    return str(message[name] or "")


def _texts(part: MIMEPart[Any, Any], attached: list[str], depth: int) -> Iterator[str]:
    kind = part.get_content_type()
    if kind == "message/rfc822" and depth < _DEEPEST and isinstance(inner := part.get_payload(), list):
        for message in (message for message in inner if isinstance(message, MIMEPart)):
            yield _message_text(message, attached, depth + 1)
    elif kind == "multipart/alternative":
        yield _best(list(part.iter_parts()), attached, depth)
    elif part.is_multipart():
        for child in part.iter_parts():
            yield from _texts(child, attached, depth)
    elif kind.startswith("multipart/") or (kind in ("text/plain", "text/html") and not part.is_attachment()):
        yield _text(part)  # also of several parts that are announced and not there
    else:
        attached.append(part.get_filename() or kind)


def _best(parts: list[MIMEPart[Any, Any]], attached: list[str], depth: int) -> str:
    """Return the first of a few ways to say the same that says something: plain text before others."""
    best = ""
    for part in sorted(parts, key=lambda part: part.get_content_type() != "text/plain"):
        if not best.strip() or part.get_content_maintype() == "multipart":
            texts = "\n\n".join(_texts(part, attached, depth))
            best = best if best.strip() else texts
    return best


def _text(part: MIMEPart[Any, Any]) -> str:
    payload = part.get_payload(decode=True)
    raw = payload if isinstance(payload, bytes) else b""
    text = _decoded(raw, part.get_content_charset())
    if part.get_content_subtype() == "html" and "<" in text:
        return page_text(b'<meta charset="utf-8">' + text.encode("utf-8", "replace"))
    return text


def _decoded(raw: bytes, stated: str | None = None) -> str:
    for name in filter(None, (stated, detect_encoding(raw).name)):
        try:
            return raw.decode(name)
        except (LookupError, ValueError):
            continue
    return decode(raw, "utf-8")[0]

"""What an answer of a server holds: its JSON, however it came, and the status that it stands for."""

from __future__ import annotations

import email.utils
import json
import re
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx

__all__ = ["NO_STATUS", "RETRIED", "is_stream", "read_body", "retry_after", "status_of"]

RETRIED = {408, 425, 429, 500, 502, 503, 504, 529}
NO_STATUS = 0  # of an error in an answer of status 200 that has no number itself
_END = "[DONE]"


def is_stream(response: httpx.Response) -> bool:
    """Whether an answer is a stream of events."""
    is_declared = response.headers.get("content-type", "").startswith("text/event-stream")
    return is_declared or response.content[:6].startswith((b"data:", b": "))


def read_body(response: httpx.Response) -> Any:
    """Return the JSON of an answer; of one that streams although it was asked not to, what the events add up to.

    Raises:
        ValueError: It is no JSON, or a stream that broke off.
    """
    if not is_stream(response):
        return response.json()
    try:
        return _read_stream(response.text)
    except (AttributeError, TypeError):  # whatever the events hold, it is no answer
        raise ValueError("events that hold no answer") from None


def status_of(response: httpx.Response) -> tuple[int, str]:
    """Return the status that an answer stands for, and the server's own words unless all is well.

    Gateways hand on what went wrong behind them as an ``error`` in an answer of status 200, or in one of its choices.
    """
    try:
        body = read_body(response)
    except ValueError:
        body = None
    fields = body if isinstance(body, dict) else {}
    in_choice = _error_of_choice(fields.get("choices"))
    error = in_choice or fields.get("error")
    if response.is_success and not in_choice and not (error and not fields.get("choices") and not fields.get("data")):
        return 200, ""
    if not error and isinstance(fields.get("message"), str):  # older servers put it right into the answer
        error = fields
    details = error if isinstance(error, dict) else {}
    message = str(details.get("message") or error or (body if body is not None else response.text))
    codes = " ".join(
        str(details[name]) for name in ("code", "type") if details.get(name) and str(details[name]) not in message
    )
    if response.is_success:
        code = str(details.get("code") or details.get("status"))
        status = int(code) if re.fullmatch("[45][0-9][0-9]", code) else NO_STATUS
        if in_choice and status in RETRIED:  # it broke while it wrote: that was paid for
            status = NO_STATUS
    else:
        status = response.status_code
    return status, f"{message} ({codes})" if codes else message


def _error_of_choice(choices: object) -> Any:
    entries = choices if isinstance(choices, list) else []
    return next((entry["error"] for entry in entries if isinstance(entry, dict) and entry.get("error")), None)


def retry_after(response: httpx.Response) -> float | None:
    """Return how many seconds a server asks to wait."""
    value = response.headers.get("retry-after")
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError):
        return None


def _read_stream(text: str) -> dict[str, Any]:
    """Return the answer that the events of a chat or completion add up to, as if it had come at once.

    Raises:
        ValueError: It is no such stream, or one that broke off: a part of an answer is none.
    """
    events = [line[5:].strip() for line in text.split("\n") if line.startswith("data:")]
    chunks = [json.loads(event) for event in events if event not in ("", _END)]
    if not chunks or not all(isinstance(chunk, dict) for chunk in chunks):
        raise ValueError("no stream of JSON objects")
    answer: dict[str, Any] = {}
    choices: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        answer |= {name: value for name, value in chunk.items() if name != "choices" and value is not None}
        for delta in chunk.get("choices") or []:
            _add(choices.setdefault(int(delta.get("index") or 0), {"finish_reason": None}), delta)
    if "error" not in answer and (not choices or any(choice["finish_reason"] is None for choice in choices.values())):
        raise ValueError("the stream broke off")
    if choices and "error" not in answer:
        answer["choices"] = [{"index": number, **choices[number]} for number in sorted(choices)]
    return answer


def _add(choice: dict[str, Any], delta: dict[str, Any]) -> None:
    """Add what an event tells of a choice."""
    for name, value in delta.items():
        if name == "delta":
            _append(choice.setdefault("message", {}), value or {})
        elif name == "text":
            _append(choice, {"text": value})
        elif name != "index" and value is not None:
            choice[name] = value


def _append(fields: dict[str, Any], pieces: dict[str, Any]) -> None:
    for name, piece in pieces.items():
        if name == "role" or not isinstance(piece, str | list):
            fields.setdefault(name, piece)
        else:
            before = fields.get(name)
            fields[name] = piece if before is None else before + piece

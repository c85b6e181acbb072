"""What a server turned out not to take: parameters that it refuses are renamed or left out from then on.

Servers that speak the language of OpenAI's API differ in what they know: OpenAI refuses ``top_k`` and, for its newer
models, ``max_tokens`` and a temperature; Mistral calls a seed ``random_seed``; and a server that is to keep its model
from thinking may know one switch for that or another. Which it is stands in the refusal, so it is read there, once.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from rader_plugins import background
from rader_plugins.errors import RaderWarning

__all__ = ["Dialect", "thinking_fields"]

_REFUSES = re.compile(
    r"unsupported|not support|unrecogni[sz]ed|unknown|not permitted|forbidden|unexpected|not allowed|additional propert"
    r"|invalid (parameter|argument|field|param)|no such (parameter|argument|field)|cannot be set|does not accept",
    re.IGNORECASE,
)
# Parameters that a request can do without, and what is lost.
_OPTIONAL = {
    "top_k": "answers are sampled from all tokens",
    "top_p": "answers are sampled from all tokens",
    "seed": "answers cannot be repeated",
    "temperature": "the model samples at its own temperature",
    "stop": "answers are cut here, after they came",
    "stream": "",
    "encoding_format": "",
    "chat_template_kwargs": "",
    "reasoning_effort": "",
    "max_tokens": "answers may be long",
    "max_completion_tokens": "answers may be long",
    "random_seed": "answers cannot be repeated",
}
_SWITCHES = ("reasoning_effort", "chat_template_kwargs")
_ABOUT_THINKING = re.compile(r"\b(think|reason)", re.IGNORECASE)
_RENAMED = {"max_tokens": "max_completion_tokens", "seed": "random_seed"}
# Weaker values to try where a server knows a parameter and not its value.
_WEAKER = {"reasoning_effort": {"none": "minimal", "minimal": "low"}}


def thinking_fields(thinking: bool | None) -> dict[str, Any]:
    """Return the fields that switch a model's thinking on or off; a server that does not know one loses it."""
    if thinking is None:
        return {}
    switch: dict[str, Any] = {"chat_template_kwargs": {"enable_thinking": thinking}}  # vLLM, SGLang, llama.cpp
    return switch if thinking else {**switch, "reasoning_effort": "none"}  # OpenAI, Ollama, LiteLLM


class Dialect:
    """What one server does not take. Safe to use from several threads.

    Args:
        server: Address of the server, for warnings.
    """

    def __init__(self, server: str) -> None:
        self._server = server
        self._renamed: dict[str, str] = {}
        self._omitted: set[str] = set()
        self._values: dict[str, Any] = {}
        self._lock = background.Lock()

    def apply(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Return a request's fields as the server takes them."""
        fields = {self._renamed.get(name, name): value for name, value in payload.items()}
        return {name: self._values.get(name, value) for name, value in fields.items() if name not in self._omitted}

    def takes(self, name: str) -> bool:
        """Whether a parameter is sent, under any name."""
        return self._renamed.get(name, name) not in self._omitted

    def learn(self, sent: Mapping[str, Any], refusal: str) -> bool:
        """Read a refusal; return whether the request is worth sending again, changed.

        Args:
            sent: The fields that were sent.
            refusal: Text of the server's answer.
        """
        message, named = _read(refusal)
        if not _REFUSES.search(message):
            return False
        candidates = [name for name in named if name in sent] or [name for name in _mentioned(message) if name in sent]
        if not candidates and _ABOUT_THINKING.search(message):  # Ollama: '"llama3" does not support thinking'
            candidates = [name for name in _SWITCHES if name in sent]
        name = next((candidate for candidate in candidates if candidate in _OPTIONAL), None)
        if name is None:
            return False
        with self._lock:
            if name in self._omitted or name in self._renamed or self._values.get(name, sent[name]) != sent[name]:
                return True  # another thread was first
            new = _RENAMED.get(name)
            if new is not None and new not in self._omitted and (name == "max_tokens" or new in message):
                self._renamed[name] = new
                return True
            weaker = _WEAKER.get(name, {}).get(str(sent[name]))
            if weaker is not None and "value" in message.lower():
                self._values[name] = weaker
                return True
            self._omitted.add(name)
            switches = [switch for switch in _SWITCHES if switch in sent and switch not in self._omitted]
        loss = _OPTIONAL[name]
        if name in _SWITCHES and not switches:
            loss = "no switch for thinking is left, its model thinks or not as it does by itself"
        if loss:
            warnings.warn(
                f"{self._server} does not take {name!r}: it is left out from now on ({loss}).",
                RaderWarning,
                stacklevel=2,
            )
        return True


def _read(refusal: str) -> tuple[str, list[str]]:
    """Return the message of a refusal and the parameters that it names as such."""
    try:
        body = json.loads(refusal)
    except ValueError:
        return refusal, []
    error = body.get("error", body) if isinstance(body, dict) else body
    named = [str(error["param"])] if isinstance(error, dict) and error.get("param") else []
    details = error.get("detail") if isinstance(error, dict) else None
    messages = []
    for detail in details if isinstance(details, list) else []:
        if isinstance(detail, dict) and isinstance(where := detail.get("loc"), list) and where:
            named.append(str(where[-1]))
            messages.append(f"{detail.get('type', '')} {detail.get('msg', '')}")
    message = error.get("message") or error.get("detail") if isinstance(error, dict) else error
    code = f"{error.get('code', '')} {error.get('type', '')}" if isinstance(error, dict) else ""
    return " ".join([*messages, code, message if isinstance(message, str) else json.dumps(message)]), named


def _mentioned(message: str) -> Iterator[str]:
    pattern = "|".join(sorted(_OPTIONAL, key=len, reverse=True))
    for match in re.finditer(rf"(?<!\w)({pattern})(?!\w)", message):
        yield match.group()

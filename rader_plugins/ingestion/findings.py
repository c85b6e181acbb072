"""What was met while reading, by name: nothing is left out, mended or guessed without a word."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

__all__ = ["DANGLING", "KINDS", "Findings", "Kind", "printable"]

Kind = Literal[
    "unreadable", "faulty", "left_out", "needs_extra", "links", "hidden", "binary", "guessed", "mended", "empty",
    "unnamed", "repeated", "partial", "front_matter", "unstructured",
]  # fmt: skip
KINDS: tuple[Kind, ...] = get_args(Kind)
"""What may happen to a file or a row.

``unreadable``: could not be listed or read. ``faulty``: a row that holds no document, so that it is not known what it
should have held. ``left_out``: of another kind than was asked for. ``needs_extra``: of a
kind that the extra ``documents`` reads, which is not installed. ``links``: a linked folder that was not followed.
``hidden``: its name begins with a full stop. ``binary``: its content is no text, or in an encoding that cannot be
told. ``guessed``: read in an encoding that it does not state. ``mended``: characters became U+FFFD. ``empty``: it
holds no text. ``unnamed``: a row without the id that it should have. ``repeated``: a row with the id of an earlier row
of its file, which stays. ``partial``: a part of it is not in its text, such as the attachments of a message.
``front_matter``: it could not be read, and stays in the text. ``unstructured``: split without
regard to its structure, as what knows it is not installed.
"""

DANGLING = "leads nowhere"
_LOSSES: dict[Kind, str] = {
    "unreadable": "could not be read",
    "faulty": "faulty",
    "left_out": "of other kinds",
    "links": "not followed",
    "binary": "no text",
    "unnamed": "without an id",
    "repeated": "with the id of an earlier row",
    "partial": "without all that belongs to them",
}
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass
class Findings:
    """What was met while reading.

    Args:
        names: Kind -> name of the file or row -> detail, in the order of reading.
        replaced: Characters that became U+FFFD.
    """

    names: dict[Kind, dict[str, str]] = field(default_factory=dict)
    replaced: int = 0

    def add(self, kind: Kind, name: str, detail: str = "") -> None:
        """Note a file or row."""
        self.names.setdefault(kind, {})[printable(name)] = detail

    def count(self, kind: Kind) -> int:
        """Return how many files or rows of a kind there were."""
        return len(self.names.get(kind, ()))

    @property
    def incomplete(self) -> str | None:
        """Why documents may exist that were not seen; None where everything was."""
        kinds: tuple[Kind, ...] = ("unreadable", "faulty", "links")
        for kind in kinds:
            for name, detail in self.names.get(kind, {}).items():
                if kind != "links" or detail == DANGLING:
                    return f"{name}: {detail}"
        return None

    def losses(self, kinds: Iterable[Kind] = tuple(_LOSSES)) -> str | None:
        """Say what of some kinds is not among the documents, with a name of each; None where nothing is missing."""
        parts = []
        for kind in kinds:
            if names := self.names.get(kind):
                what = _LOSSES[kind]
                name, detail = next(iter(names.items()))
                parts.append(f"{len(names):,} {what}, such as {name}" + (f" ({detail})" if detail else ""))
        return "; ".join(parts) or None

    def update(self, other: Findings, kinds: Iterable[Kind]) -> None:
        """Take over what another reading met of some kinds."""
        for kind in kinds:
            for name, detail in other.names.get(kind, {}).items():
                self.names.setdefault(kind, {}).setdefault(name, detail)

    def take(self, other: Findings) -> None:
        """Take over all that was met elsewhere."""
        self.update(other, KINDS)
        self.replaced += other.replaced

    def under(self, origin: str) -> Findings:
        """Return the same with something before each name."""
        if not origin:
            return self
        names = {kind: {origin + name: detail for name, detail in of.items()} for kind, of in self.names.items()}
        return Findings(names, self.replaced)

    def clean(self, value: Any) -> Any:
        """Return a JSON value with its lone surrogates replaced by U+FFFD, keys included; count them."""
        if isinstance(value, str):
            value, surrogates = _SURROGATE.subn("\ufffd", value)
            self.replaced += surrogates
        elif isinstance(value, list):
            value = [self.clean(item) for item in value]
        elif isinstance(value, dict):
            value = {self.clean(key): self.clean(item) for key, item in value.items()}
        return value

    def to_dict(self, *, empty: bool = True) -> dict[str, dict[str, str]]:
        """Return all names with their details, by kind, as a JSON object; kinds without any only if ``empty``."""
        return {kind: dict(self.names.get(kind, {})) for kind in KINDS if empty or self.names.get(kind)}


def printable(name: str) -> str:
    """Return a name without lone surrogates, which stand for undecodable bytes of a file name."""
    return _SURROGATE.sub("\ufffd", name)

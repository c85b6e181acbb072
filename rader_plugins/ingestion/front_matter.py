"""Front matter: what stands between ``---`` (YAML) or ``+++`` (TOML) at the beginning of a Markdown file."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rader_plugins.documents import json_form

__all__ = ["FrontMatter", "split_front_matter"]

_FENCED = re.compile(r"\A\s*(---|\+\+\+)[ \t]*\r?\n(.*?)^\1[ \t]*(?:\r?\n|\Z)\s*", re.DOTALL | re.MULTILINE)
_LARGEST = 1 << 16


@dataclass(frozen=True)
class FrontMatter:
    """The beginning of a text, taken apart.

    Args:
        metadata: Fields that the front matter states.
        length: Characters that it takes, with the blank lines behind it; 0 where there is none.
        fault: Why it stays in the text; None where it was read, or where there is none.
    """

    metadata: Mapping[str, Any] = field(default_factory=dict)
    length: int = 0
    fault: str | None = None


def split_front_matter(text: str) -> FrontMatter:
    """Return what the front matter of a Markdown text states, and where the text proper begins."""
    match = _FENCED.match(text)
    if match is None or not match[2].strip():
        return FrontMatter()
    if len(match[2]) > _LARGEST:
        return FrontMatter(fault=f"longer than {_LARGEST:,} characters")
    try:
        values = _yaml(match[2]) if match[1] == "---" else _toml(match[2])
        if values is None or isinstance(values, str):
            return FrontMatter()  # a rule, text and another rule
        if not isinstance(values, Mapping):
            return FrontMatter(fault="no names with values")
        metadata = {str(name): json_form(_plain(value)) for name, value in values.items()}
    except (ValueError, RecursionError) as error:
        return FrontMatter(fault=" ".join(str(error).split())[:120])
    return FrontMatter(metadata, match.end())


def _yaml(text: str) -> Any:
    import yaml

    class Loader(yaml.SafeLoader):  # type: ignore[misc]  # of a library without types
        """Without aliases: a few lines of them stand for more than any memory holds."""

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise yaml.YAMLError("aliases are not read")
            return super().compose_node(parent, index)

    try:
        return yaml.load(text, Loader)  # noqa: S506 - made from SafeLoader
    except yaml.MarkedYAMLError as error:
        # The line of the front matter in the file: that of the fence before it is the first.
        line = f" in line {error.problem_mark.line + 2}" if error.problem_mark is not None else ""
        raise ValueError(f"no YAML{line}: {error.problem or error}") from None
    except yaml.YAMLError as error:
        raise ValueError(f"no YAML: {error}") from None
    except (LookupError, AttributeError) as error:  # by SafeLoader: '!!bool maybe', '!!int ""', '!!timestamp soon'
        raise ValueError(f"no YAML: a value is not of the type that it states ({error})") from None


def _toml(text: str) -> Any:
    toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    try:
        return toml.loads(text.replace("\r\n", "\n"))
    except ValueError as error:
        raise ValueError(f"no TOML: {error}") from None


def _plain(value: Any) -> Any:
    """Return a value of YAML with keys that JSON has."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | set | tuple) else value

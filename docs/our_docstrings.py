"""What the site does to our docstrings before they are read as Google's style: roles and examples."""

from __future__ import annotations

import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:class|func|meth|mod|attr|data|exc|obj):`(~?)([\w.]+)`")


# Google's style says "Example", griffe reads doctests only below the plural.
EXAMPLE = re.compile(r"^( *)Example:$", re.MULTILINE)


def as_link(match: re.Match[str]) -> str:
    """Return the HTML of a reference that may lead nowhere: mkdocs-autorefs then leaves the name alone."""
    short, path = match.groups()
    shown = path.rsplit(".", 1)[-1] if short else path
    return f'<autoref optional identifier="{path}"><code>{shown}</code></autoref>'


class OurDocstrings(griffe.Extension):
    """Makes links of roles such as ``:class:`name```, which the site shows as code where it has no such name."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrite one docstring."""
        if obj.docstring is not None:
            obj.docstring.value = EXAMPLE.sub(r"\1Examples:", ROLE.sub(as_link, obj.docstring.value))

"""What the site makes of the code when it is built: the pages of all commands and of all public names.

MkDocs calls the functions that begin with ``on_``; `make docs` needs no other script. README.md, whose links lead into
this folder, stays the page of the repository and is no page of the site.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import click
import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from rader_plugins.cli import build_app
from rader_plugins.cli.help_texts import help_row

# Title of a page -> modules on it -> those of their names that are meant for applications; () is all of `__all__`.
PAGES: dict[str, dict[str, tuple[str, ...]]] = {
    "Searching": {
        "rader_plugins.retrieval": ("RaderRetriever", "ReasoningQuery", "Passage", "passage_of", "fuse", "z_scores"),
        "rader_plugins.documents": ("Document", "Hit"),
        "rader_plugins.index": (),
        "rader_plugins.reranking": (),
        "rader_plugins.errors": (),
    },
    "Models": {"rader_plugins.encoding": (), "rader_plugins.recipes": (), "rader_plugins.llm": ()},
    "Evaluating": {"rader_plugins.evaluation": (), "rader_plugins.answers": ()},
    "LangChain": {"langchain_rader": ()},
    "LlamaIndex": {
        "llama_index.retrievers.rader": (),
        "llama_index.embeddings.rader": (),
        "llama_index.postprocessor.rader": (),
        "llama_index.vector_stores.rader": (),
    },
    "Recording and importing": {
        "rader_plugins.trajectories": (),
        "rader_plugins.recording": (
            "TrajectoryWriter", "RecordingLimits", "RecordedRun", "RunAssembly", "MergeReport", "merge_feedback",
            "read_recorded",
        ),
        "rader_synthesis.importing": (),
    },
    "Synthesis and training": {
        "rader_plugins.problems": (),
        "rader_synthesis.config": ("SearchConfig",),
        "rader_synthesis.run": ("synthesize",),
        "rader_plugins.query_kinds": ("QueryKind", "query_kind", "query_kinds"),
        "rader_plugins.samples": ("Sample", "Passage"),
        "rader_synthesis.sampling": (),
        "rader_training": (),
    },
    "Engines": {"rader_plugins.engines": ()},
}  # fmt: skip


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages of Python's names into the navigation, in place of the overview alone."""
    [reference] = [item["Reference"] for item in config.nav or [] if "Reference" in item]
    [python] = [item for item in reference if "Python" in item]
    python["Python"] = [python["Python"], *({title: page_of(title)} for title in PAGES)]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    texts = {"reference/commands.md": commands(), "reference/python.md": overview()}
    texts |= {page_of(title): names_page(title, modules) for title, modules in PAGES.items()}
    for path, text in texts.items():
        files.append(File.generated(config, path, content=text))
    return files


def page_of(title: str) -> str:
    """Return where the page of this title lies."""
    return f"reference/python/{title.lower().replace(' ', '-')}.md"


def commands() -> str:
    """Return the page of all commands, as their own --help says it."""
    lines = [
        "# All commands and options",
        "",
        "Made from the commands themselves when this site was built: the same as `--help`.",
        "[The `rader` command](../cli.md) says what is behind the options.",
        "",
    ]
    app: Any = typer.main.get_command(build_app())
    for name, command in leaves(app, "rader"):
        context = click.Context(command, info_name=name)
        rows = [row for param in command.get_params(context) for row in _option(param, context)]
        usage = " ".join(command.collect_usage_pieces(context))
        lines += [f"## {name}", "", _plain(command.help or ""), "", f"    {name} {usage}", ""]
        lines += ["| option | meaning |", "|---|---|", *rows, ""]
    return "\n".join(lines)


def leaves(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield the commands below one, with their full names."""
    if not hasattr(command, "list_commands"):
        yield name, command
        return
    context = click.Context(command)
    for inner in command.list_commands(context):
        yield from leaves(command.get_command(context, inner), f"{name} {inner}")


def _option(param: Any, context: click.Context) -> Iterator[str]:
    row = help_row(param, context)
    if row is None:
        return
    names, meaning = row
    yield f"| {_code(names)} | {_cell(meaning)} |"


def _code(text: str) -> str:
    return "<code>" + text.replace("<", "&lt;").replace("|", "&#124;").replace("*", "&#42;") + "</code>"


def _cell(text: str) -> str:
    text = " ".join(text.split())
    # What a command says is plain text: only its `code` is Markdown.
    parts = text.split("`")
    plain = [re.sub(r"([*_\[\]|<>])", lambda match: f"&#{ord(match[1])};", part) for part in parts[::2]]
    code = [f"`{part}`".replace("|", "\\|") for part in parts[1::2]]
    return "".join(a + b for a, b in zip(plain, [*code, ""], strict=True))


def _plain(text: str) -> str:
    return "\n\n".join(_cell(paragraph) for paragraph in inspect.cleandoc(text).split("\n\n"))


def overview() -> str:
    """Return the page that leads to the others."""
    package = import_module("rader_plugins")
    lines = [
        "# Python",
        "",
        "What `import rader_plugins` offers. Pages of this section have the modules behind it, and the adapters.",
        "",
        "| name | |",
        "|---|---|",
    ]
    for name in package.__all__:
        if not name.startswith("__"):
            summary = (inspect.getdoc(getattr(package, name)) or "").split("\n\n")[0]
            identifier = f"{package._HOMES[name]}.{name}"
            lines.append(f'| <autoref identifier="{identifier}"><code>{name}</code></autoref> | {_roles(summary)} |')
    return "\n".join(lines)


def _roles(text: str) -> str:
    return " ".join(re.sub(r":\w+:`~?([\w.]+)`", r"`\1`", text).replace("``", "`").split())


def names_page(title: str, modules: dict[str, tuple[str, ...]]) -> str:
    """Return a page of mkdocstrings' directives: a section for each module."""
    lines = [f"# {title}", ""]
    for module, names in modules.items():
        lines += [f"## {module}", ""]
        for name in names or public_names(module):
            lines += [f"::: {module}.{name}", ""]
    return "\n".join(lines)


def public_names(module: str) -> list[str]:
    """Return a module's `__all__`."""
    return list(import_module(module).__all__)

"""What commands write: results to the standard output, everything else to the standard error."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import typer

__all__ = [
    "cell_width",
    "clip",
    "clip_middle",
    "count",
    "emit_json",
    "fail",
    "facts",
    "fitted",
    "human_bytes",
    "note",
    "one_line",
    "progress",
    "room",
    "table",
    "wrap",
    "width",
]

_PIPE_WIDTH = 100
_UNLIMITED = 100_000
_CONTROLS = re.compile("[\x7f-\x9f\u2028\u2029]")
_MARK = re.compile("\x1b\\[[0-9]*m")
"""What switches bold letters on and off; it takes no columns."""
_LETTER = re.compile(rf"(?:{_MARK.pattern})*.[\u0300-\u036f]*(?:{_MARK.pattern})*")


def emit_json(value: object, *, indent: int | None = 2) -> None:
    """Write one JSON value to the standard output, as UTF-8 where the stream can, else with escapes."""
    encoding = (getattr(sys.stdout, "encoding", None) or "ascii").lower().replace("-", "")
    text = json.dumps(value, ensure_ascii=encoding != "utf8", allow_nan=False, indent=indent)
    # JSON escapes the control characters of ASCII; a terminal obeys those of Latin-1 as well.
    typer.echo(_CONTROLS.sub(lambda match: f"\\u{ord(match[0]):04x}", text))


def note(message: str) -> None:
    """Write one line to the standard error; on a terminal as many as it takes."""
    text = " ".join(message.split())
    if sys.stderr is not None and sys.stderr.isatty():
        sys.stderr.write("\n".join(wrap(text)) + "\n")  # through whatever shows a bar there, which goes on below
        sys.stderr.flush()
    else:
        typer.echo(text, err=True)


def fail(message: str) -> None:
    """Write an error as one line to the standard error."""
    note(f"Error: {message}")


def width() -> int:
    """Return the columns of the terminal (or ``COLUMNS``); 100 in a pipe."""
    return shutil.get_terminal_size((_PIPE_WIDTH, 24)).columns


def room() -> int:
    """Return the columns of the terminal that reads the output; 0, which is as many as are needed, in a pipe."""
    return width() if sys.stdout.isatty() else 0


def fitted(line: str) -> list[str]:
    """Return a line, wrapped where the terminal that reads it has too few columns."""
    return wrap(line) if 0 < room() < len(line) else [line]


def one_line(text: str) -> str:
    """Return the first line of a text that says something, without control characters.

    A document may hold escape sequences; a terminal would obey them.
    """
    line = next((line for line in text.splitlines() if line.strip()), "")
    return "".join(char if char.isprintable() else " " for char in line).strip()


def cell_width(text: str) -> int:
    """Return the columns that a text takes on a terminal."""
    from rich.cells import cell_len

    return cell_len(text)


def clip(text: str, columns: int) -> str:
    """Cut a text to so many columns, with an ellipsis where something is missing."""
    from rich.cells import set_cell_size

    return text if cell_width(text) <= columns else set_cell_size(text, columns - 1).rstrip() + "…"


def clip_middle(text: str, columns: int) -> str:
    """Cut a text to so many columns in its middle: names of files are told apart by both of their ends."""
    if cell_width(text) <= columns:
        return text
    from rich.cells import set_cell_size

    head = set_cell_size(text, columns // 2).rstrip()
    tail = set_cell_size(text[::-1], columns - columns // 2 - 1).rstrip()[::-1]
    return f"{head}…{tail}"


def count(number: int, noun: str) -> str:
    """Return ``1 document``, ``2 documents``."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def human_bytes(size: int) -> str:
    """Return a size such as ``3.4 MB``."""
    from rich.filesize import decimal

    return decimal(size)


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], *, right: str = "", columns: int = 0) -> list[str]:
    """Return the lines of a plain table.

    Args:
        headers: The headings, one per column.
        rows: Cells, each of one line.
        right: One character per column: ``r`` aligns it to the right.
        columns: Fold long cells so that the table is no wider than this; 0 lets it be as wide as it is.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for header, side in itertools.zip_longest(headers, right[: len(headers)]):
        grid.add_column(Text(header), justify="right" if side == "r" else "left", overflow="fold", no_wrap=not columns)
    for row in rows:
        grid.add_row(*map(Text, row))
    console = Console(file=io.StringIO(), width=columns or _UNLIMITED, color_system=None, legacy_windows=False)
    with console.capture() as capture:
        console.print(grid)
    return [line.rstrip() for line in capture.get().splitlines()]


def facts(pairs: Sequence[tuple[str, str]], *, indent: str = "") -> list[str]:
    """Return aligned ``name  value`` lines, long values wrapped."""
    margin = max((len(name) for name, _ in pairs), default=0) + 2
    lines = []
    for name, value in pairs:
        lines += wrap(value, first=indent + name.ljust(margin), rest=indent + " " * margin)
    return lines


def wrap(text: str, *, first: str = "", rest: str = "") -> list[str]:
    """Wrap a text to the width of the output, with a margin for its first line and for the others.

    Words stay whole, but for those of scripts that write without blanks between them. Marks of bold letters
    take no columns.
    """
    columns = max(40, min(width(), _PIPE_WIDTH))
    lines: list[str] = []
    line, taken, is_new = first, cell_width(first), True
    for gap, word in re.findall(r"(\s*)(\S+)", text):
        for piece in _pieces(word, columns - cell_width(rest)):
            size = cell_width(_MARK.sub("", piece))
            if not is_new and taken + len(gap) + size > columns:
                lines.append(line)
                line, taken, is_new = rest, cell_width(rest), True
            gap = "" if is_new else gap
            line, taken, is_new, gap = f"{line}{gap}{piece}", taken + len(gap) + size, False, ""
    return [*lines, line if not is_new else line.rstrip()]


def _pieces(word: str, columns: int) -> list[str]:
    """Return a word, or its letters where it does not fit and is written in letters of two columns."""
    plain = _MARK.sub("", word)
    size = cell_width(plain)
    return _LETTER.findall(word) if size > columns and size > 1.5 * len(plain) else [word]


@contextlib.contextmanager
def progress(label: str, total: int | None = None) -> Iterator[Callable[[int], Any]]:
    """Show a progress bar on the standard error if that is a terminal; yields a function that advances it."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield lambda steps: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total)
        yield lambda steps: bar.advance(task, steps)

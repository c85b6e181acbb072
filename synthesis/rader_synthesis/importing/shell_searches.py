"""Searches that a coding agent makes in a shell: which commands search files, which read one, what they printed."""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rader_synthesis.importing.rows import parsed_cell

__all__ = ["ShellCommand", "found_lines", "path_from", "printed", "shell_command"]

_SEARCHING = frozenset(("rg", "grep", "egrep", "fgrep", "ag", "ack"))
_READING = frozenset(("cat", "sed", "head", "tail", "nl", "bat", "less"))
_SHORTENING = frozenset(("head", "tail", "sort", "uniq", "sed", "cat"))
_WITH_VALUE = frozenset(
    (
        "-A", "-B", "-C", "-m", "-g", "-t", "-T", "-f", "-j", "--glob", "--iglob", "--type", "--type-not",
        "--max-count", "--max-depth", "--after-context", "--before-context", "--context", "--sort", "--color",
        "--max-columns", "--include", "--exclude", "--exclude-dir", "-n1", "-d",
    )
)  # fmt: skip
_PATTERN_OPTIONS = frozenset(("-e", "--regexp"))
_NO_SEARCH = frozenset(("--files", "-v", "--invert-match", "-c", "--count", "--version", "--help", "-L"))
_PATH = re.compile(r"(?:\.{0,2}/|[A-Za-z]:\\)?(?:[\w.@+\- ]+[/\\])*[\w.@+\-]+\.\w{1,8}")
_MATCH = re.compile(rf"({_PATH.pattern})(?:[:-]\d+)?[:-](.*)")
_SCRIPT = re.compile(r"[\d,$;p]+|\+?\d+[bkmBKM]?")
_OUTPUT = re.compile(r"\A(?:(?!Output:)[A-Z][\w ]*:? ?[^\n]*\n)*Output:\n")


@dataclass(frozen=True)
class ShellCommand:
    """What a command of a shell does with files.

    Args:
        pattern: What it searches files for; empty if it reads one.
        path: The file that it reads.
    """

    pattern: str = ""
    path: str = ""


def shell_command(arguments: Any) -> ShellCommand | None:
    """Return what a call of a shell searches for or reads; None if it does anything else, or more than that.

    Example:
        >>> shell_command({"command": ["bash", "-lc", "cd app && rg -n 'session timeout' src | head -20"]})
        ShellCommand(pattern='session timeout', path='')
        >>> shell_command({"cmd": "sed -n '1,40p' src/config.py"})
        ShellCommand(pattern='', path='src/config.py')
        >>> shell_command({"command": "rm -r src"})
    """
    arguments = parsed_cell(arguments)
    line = next((arguments[key] for key in ("command", "cmd") if arguments.get(key)), None) if isinstance(
        arguments, Mapping
    ) else None  # fmt: skip
    words = _words(line)
    if words[:1] == ["cd"] and "&&" in words:
        words = words[words.index("&&") + 1 :]
    stages: list[list[str]] = [[]]
    for word in words:
        if word == "|":
            stages.append([])
        elif word and set(word) <= set("&;|<>()"):
            return None
        else:
            stages[-1].append(word)
    if not all(stages) or any(stage[0] not in _SHORTENING for stage in stages[1:]):
        return None
    program, *rest = stages[0][1:] if stages[0][0] == "git" else stages[0]
    if program in _SEARCHING:
        pattern = _pattern(rest)
        return ShellCommand(pattern=pattern) if pattern else None
    files = [word for word in rest if not word.startswith("-") and not _SCRIPT.fullmatch(word)]
    if program in _READING and "-i" not in rest and len(files) == 1 and _PATH.fullmatch(files[0]):
        return ShellCommand(path=files[0])
    return None


def _words(line: Any) -> list[str]:
    if isinstance(line, list) and all(isinstance(word, str) for word in line):
        if len(line) == 3 and line[0].rsplit("/", 1)[-1] in ("bash", "sh", "zsh") and line[1].startswith("-"):
            line = line[2]
        else:
            return list(line)
    if not isinstance(line, str):
        return [""]
    try:
        lexer = shlex.shlex(line.strip(), posix=True, punctuation_chars=True)
        lexer.commenters = ""
        return list(lexer) or [""]
    except ValueError:
        return [""]


def _pattern(words: Sequence[str]) -> str:
    """Return the pattern among the words behind the name of a program that searches; empty if it does not search."""
    if _NO_SEARCH & set(words):
        return ""
    skip = False
    for position, word in enumerate(words):
        if skip:
            skip = False
        elif word in _PATTERN_OPTIONS:
            return words[position + 1] if position + 1 < len(words) else ""
        elif word in _WITH_VALUE:
            skip = True
        elif word == "--":
            continue
        elif not word.startswith("-"):
            return word
    return ""


def printed(content: Any) -> str:
    """Return what a command printed, of a result that may say its exit code and duration too."""
    content = parsed_cell(content)
    if isinstance(content, Mapping):
        content = next((content[key] for key in ("output", "stdout") if isinstance(content.get(key), str)), "")
    if isinstance(content, list):
        content = "\n".join(str(block.get("text") or "") for block in content if isinstance(block, Mapping))
    return _OUTPUT.sub("", content) if isinstance(content, str) else ""


def found_lines(text: str) -> dict[str, list[str]]:
    """Return the lines of each file in what a search of files printed: ``path:12:line``, ``path:line`` or ``path``.

    Example:
        >>> found_lines("src/a.py:3:x = 1\\nsrc/a.py:9:y = 2\\ndocs/b.md\\n--\\nFound 2 files")
        {'src/a.py': ['x = 1', 'y = 2'], 'docs/b.md': []}
    """
    files: dict[str, list[str]] = {}
    for line in text.splitlines():
        if _PATH.fullmatch(line.strip()):
            files.setdefault(line.strip(), [])
        elif (match := _MATCH.match(line)) is not None:
            files.setdefault(match[1], []).append(match[2].strip())
    return files


def path_from(folder: str, path: str) -> str:
    """Return a path as seen from a folder, so that one file has one name however it was written.

    Example:
        >>> path_from("/srv/app", "/srv/app/src/a.py"), path_from("/srv/app", "./src/a.py")
        ('src/a.py', 'src/a.py')
    """
    path = posixpath.normpath(path)
    return path[len(folder) + 1 :] if folder and path.startswith(f"{folder.rstrip('/')}/") else path

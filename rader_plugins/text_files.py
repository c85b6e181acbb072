"""Text files in whatever encoding they come: byte order marks, UTF-8, Windows-1252, and what is no text at all.

:func:`read_text` and :func:`read_lines` are for files that must be right (JSONL, ids, configurations): they obey byte
order marks and refuse what cannot be decoded. :func:`detect_encoding` serves folders of documents, which come from
anywhere: it looks at all bytes of a file and says how they are to be read, and how sure that is.
"""

from __future__ import annotations

import codecs
import os
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from rader_plugins.arguments import check_path, check_string
from rader_plugins.errors import InputError

__all__ = [
    "Encoding", "binary_kind", "check_encoding", "decode", "detect_encoding", "encoding_of_mark", "has_byte_lines",
    "read_lines", "read_text",
]  # fmt: skip

# The longest first: the mark of UTF-32 begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SIGNATURES = (
    (b"%PDF-", "PDF"),
    (b"PK\x03\x04", "ZIP (or DOCX, XLSX, EPUB)"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "old Microsoft Office"),
    (b"{\\rtf", "RTF"),
    (b"\x1f\x8b", "gzip"),
    (b"\x89PNG", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF8", "GIF"),
    (b"\x7fELF", "a program"),
    (b"SQLite format 3\x00", "SQLite"),
)
_JAPANESE_MAIL = "iso2022_jp_ext"  # all of its bytes are ASCII
_HZ = re.compile(rb"~\{(?:[!-w][!-~]){2,}~\}")
# Letters of Europe, which may stand within a word; of others, words, which begin one, unlike a plus sign in a digest.
_UTF_7 = re.compile(rb"\+[AB][A-Za-z0-9+/]{2,}|(?<![A-Za-z0-9+/])\+[A-Za-z0-9/+]{10,}")
_ALPHABETS = {"LATIN", "GREEK", "CYRILLIC"}
_FEW, _MANY = 2, 6  # letters of one alphabet, or of one other script: so many are no chance
_CONTROLS = bytes(code for code in range(32) if chr(code) not in "\t\n\r\f\v\x1a\x1b")
_MOST_CONTROLS = 0.01  # share of control characters from which on bytes are no text
_MOST_DAMAGED = 0.25  # damaged places in UTF-8, as a share of its intact characters beyond ASCII
_MOST_FOREIGN = 0.3  # share of bytes above 127 from which on Windows-1252 is no guess to rely on
_HIGH = bytes(range(128, 256))


@dataclass(frozen=True)
class Encoding:
    """How the bytes of a file are to be read.

    Attributes:
        name: A codec of Python; None where the bytes are no text, or in an encoding that cannot be told.
        certain: Whether the bytes say so themselves: a byte order mark, or flawless UTF-8.
        reason: Why ``name`` is None.
    """

    name: str | None
    certain: bool = True
    reason: str = ""


def check_encoding(name: str) -> str:
    """Return the name of an encoding for text if Python has it.

    Raises:
        InputError: It has not.
    """
    try:
        # rot13 and the like, which give no text, raise LookupError; idna and its like UnicodeError.
        b"\xffx".decode(check_string(name, "encoding"), "replace")
        has_byte_lines(name)
    except (LookupError, ValueError):
        raise InputError(
            f"The encoding {name!r} is unknown. Names are such as utf-8, cp1252, latin-1, utf-16-le, shift_jis."
        ) from None
    return name


def encoding_of_mark(head: bytes) -> str | None:
    """Return the encoding that a byte order mark at the beginning of a file names; None without one."""
    return next((name for mark, name in _MARKS if head.startswith(mark)), None)


def binary_kind(head: bytes) -> str | None:
    """Return what a file is by the signature at its beginning, if that is of no text; None otherwise."""
    return next((kind for signature, kind in _SIGNATURES if head.startswith(signature)), None)


def has_byte_lines(encoding: str) -> bool:
    """Whether a line ends at the byte of a line feed: not in UTF-16, UTF-32 and EBCDIC, nor before a mark is read."""
    return "\n".encode(encoding) == b"\n"


def _decodes(raw: bytes, encoding: str, errors: str = "strict") -> bool:
    try:
        raw.decode(encoding, errors)
    except UnicodeDecodeError:
        return False
    return True


def _is_cut_short(raw: bytes) -> bool:
    """Whether bytes are UTF-8 up to a last character that is not complete."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(raw)
    except UnicodeDecodeError:
        return False
    return True


def detect_encoding(raw: bytes) -> Encoding:
    """Say how the bytes of a file are to be read.

    A byte order mark decides; then flawless UTF-8. UTF-8 with damaged places stays UTF-8. What holds a few bytes above
    127, none of which form UTF-8, is taken for Windows-1252, halves of zeros for UTF-16, what switches to Japanese by
    escape sequences for ISO-2022-JP, and ASCII that is none for UTF-7 or HZ: these are guesses.

    Args:
        raw: The whole content of the file.
    """
    if mark := encoding_of_mark(raw):
        return Encoding(mark)
    if kind := binary_kind(raw):
        return Encoding(None, reason=f"binary content: {kind}")
    if b"\x1b$" in raw and _decodes(raw, _JAPANESE_MAIL):
        return Encoding(_JAPANESE_MAIL, certain=False)
    if b"\x00" in raw:
        return _without_mark(raw)
    if len(raw) - len(raw.translate(None, _CONTROLS)) > _MOST_CONTROLS * len(raw):
        return Encoding(None, reason="binary content: control characters")
    if raw.isascii() and (name := _seven_bit(raw)):
        return Encoding(name, certain=False)
    return Encoding("utf-8") if _decodes(raw, "utf-8") else _not_utf8(raw)


def _seven_bit(raw: bytes) -> str | None:
    """Return HZ or UTF-7 where ASCII is written in it, as far as that can be told from prose and code."""
    for name, pattern in (("hz", _HZ), ("utf-7", _UTF_7)):
        if pattern.search(raw) and _decodes(raw, name):
            foreign = [character for character in raw.decode(name) if character > "\x7f"]
            letters = [character for character in foreign if unicodedata.category(character)[0] in "LM"]
            # A key or digest decodes to letters of everywhere, which are mostly Chinese and Korean.
            scripts = {_script(letter) for letter in letters}
            least = _FEW if scripts <= _ALPHABETS else _MANY
            others = (character for character in foreign if unicodedata.category(character)[0] not in "LMNPZ")
            if len(scripts) == 1 and len(letters) >= least and not any(others):
                return name
    return None


def _script(letter: str) -> str:
    name = unicodedata.name(letter, "UNKNOWN").split()[0]
    return "CJK" if name in ("HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA") else name


def _without_mark(raw: bytes) -> Encoding:
    """UTF-16 whose letters are mostly Latin is zeros in every other byte."""
    for name, zeros, letters in (("utf-16-le", raw[1::2], raw[::2]), ("utf-16-be", raw[::2], raw[1::2])):
        if zeros.count(0) > 0.7 * len(zeros) and not letters.count(0) and _decodes(raw, name):
            plain = raw.decode(name).encode("latin-1", "ignore")
            if len(plain) - len(plain.translate(None, _CONTROLS)) > _MOST_CONTROLS * len(plain):
                break
            return Encoding(name, certain=False)
    return Encoding(None, reason="binary content: zero bytes")


def _not_utf8(raw: bytes) -> Encoding:
    text, replaced = decode(raw, "utf-8")
    intact = sum(character > "\x7f" for character in text) - replaced
    if replaced <= _MOST_DAMAGED * intact or (intact and _is_cut_short(raw)) or _decodes(raw, "utf-8", "surrogatepass"):
        return Encoding("utf-8", certain=False)
    high = len(raw) - len(raw.translate(None, _HIGH))
    if high <= _MOST_FOREIGN * len(raw) and _decodes(raw, "cp1252"):
        return Encoding("cp1252", certain=False)
    if high <= _MOST_CONTROLS * len(raw):
        return Encoding("utf-8", certain=False)
    return Encoding(None, reason="neither UTF-8 nor Windows-1252: name its encoding")


def decode(raw: bytes, encoding: str) -> tuple[str, int]:
    """Decode; return the text and how many places had to be replaced by U+FFFD."""
    try:
        return raw.decode(encoding), 0
    except UnicodeDecodeError:
        text = raw.decode(encoding, "replace")
        intact = raw.decode(encoding, "ignore").count("\ufffd")
        return text, text.count("\ufffd") - intact


def read_text(path: str | os.PathLike[str], encoding: str | None = None) -> str:
    """Return the content of a text file that is UTF-8, or says otherwise by a byte order mark.

    Line ends are left as they are.

    Args:
        path: The file to read.
        encoding: How it is encoded, if it is known.

    Raises:
        InputError: It is encoded otherwise; the message names file and line.
        OSError: It cannot be read.
    """
    raw = check_path(path, "path").read_bytes()
    try:
        return raw.decode(encoding or encoding_of_mark(raw) or "utf-8")
    except UnicodeDecodeError as error:
        raise _undecodable(path, raw.count(b"\n", 0, error.start) + 1, error, raw) from None


def read_lines(source: str | os.PathLike[str] | IO[bytes], encoding: str | None = None) -> Iterator[tuple[int, str]]:
    r"""Yield number and text of every line of a text file, without its end; only ``\n`` and ``\r\n`` end a line.

    Args:
        source: A file, or a stream of bytes such as ``sys.stdin.buffer``.
        encoding: How it is encoded, if it is known; otherwise its byte order mark decides, or it is UTF-8.

    Raises:
        InputError: It is encoded otherwise; the message names file and line.
        OSError: It cannot be read.
    """
    if isinstance(source, str | os.PathLike) or not hasattr(source, "readline"):
        with check_path(source, "path").open("rb") as stream:
            yield from _lines(stream, source, encoding)
    else:
        yield from _lines(source, getattr(source, "name", "The input"), encoding)


def _lines(stream: IO[bytes], name: object, encoding: str | None) -> Iterator[tuple[int, str]]:
    first = stream.readline()
    codec = encoding or encoding_of_mark(first) or "utf-8"
    if codecs.lookup(codec).name != "utf-8-sig" and not has_byte_lines(codec):
        content = first + stream.read()
        try:
            text = content.decode(codec)
        except UnicodeDecodeError as error:
            line = content[: error.start].decode(codec, "replace").count("\n") + 1
            raise _undecodable(name, line, error, b"") from None
        lines = text.split("\n")
        for number, line_text in enumerate(lines if lines[-1] else lines[:-1], start=1):
            yield number, line_text.rstrip("\r")
        return
    number, raw = 1, first
    while raw:
        try:
            yield number, raw.decode(codec).rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise _undecodable(name, number, error, raw) from None
        # The mark stands once: a later line that begins with these bytes means a character.
        codec = "utf-8" if codec == "utf-8-sig" else codec
        number, raw = number + 1, stream.readline()


def _undecodable(name: object, line: int, error: UnicodeDecodeError, raw: bytes) -> InputError:
    byte = f"byte 0x{error.object[error.start]:02x}: {error.reason}"
    guess = "Windows-1252" if raw and detect_encoding(raw).name == "cp1252" else "its encoding"
    return InputError(
        f"{name}, line {line} is not {error.encoding.upper()} ({byte}). Convert the file from {guess} to UTF-8, for "
        f"example with `iconv -f {'WINDOWS-1252' if guess != 'its encoding' else 'ENCODING'} -t UTF-8`."
    )

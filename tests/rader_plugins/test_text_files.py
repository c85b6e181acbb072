"""Text files in every encoding that users have."""

from __future__ import annotations

import io
import random
from pathlib import Path

import pytest

from rader_plugins.errors import InputError
from rader_plugins.files import read_jsonl, read_lines, read_text, read_toml
from rader_plugins.text_files import check_encoding, detect_encoding

GERMAN = "Straße und Café – „naiv“\nzweite Zeile\n"
WITH_MARK = ("utf-8-sig", "utf-16", "utf-32")


@pytest.mark.parametrize("encoding", ["utf-8", *WITH_MARK])
def test_every_reader_obeys_byte_order_marks(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(GERMAN.encode(encoding))
    assert read_text(path) == GERMAN
    assert list(read_lines(path)) == [(1, "Straße und Café – „naiv“"), (2, "zweite Zeile")]
    assert list(read_lines(io.BytesIO(GERMAN.encode(encoding)))) == list(read_lines(path))
    path.write_bytes('{"a": "ä"}\r\n\r\n{"a": "ö\u2028"}'.encode(encoding))
    assert list(read_jsonl(path)) == [{"a": "ä"}, {"a": "ö\u2028"}]
    path.write_bytes('[run]\r\nname = "ä"\r\n'.encode(encoding))
    assert read_toml(path) == {"run": {"name": "ä"}}


def test_marks_of_big_endian_files(tmp_path: Path) -> None:
    for encoding in ("utf-16-be", "utf-32-be", "utf-32-le", "utf-16-le"):
        (tmp_path / "file").write_bytes(("\ufeff" + GERMAN).encode(encoding))
        assert read_text(tmp_path / "file") == GERMAN


def test_what_is_not_utf8_is_named_with_its_line_and_a_way_out(tmp_path: Path) -> None:
    path = tmp_path / "old.jsonl"
    path.write_bytes(b'{"a": 1}\n' + '{"a": "Caf\u00e9"}\n'.encode("cp1252"))
    for read in (lambda: list(read_jsonl(path)), lambda: read_text(path), lambda: list(read_lines(path))):
        with pytest.raises(InputError, match=r"old\.jsonl, line 2 is not UTF-8.*Windows-1252 to UTF-8"):
            read()
    assert read_text(path, "cp1252").endswith('"Café"}\n')
    path.write_bytes(GERMAN.encode("utf-16")[:-1])
    with pytest.raises(InputError, match=r"old\.jsonl, line"):
        list(read_lines(path))


@pytest.mark.parametrize("encoding", ["utf-8", *WITH_MARK])
def test_certain_encodings(encoding: str) -> None:
    encoding_guess = detect_encoding(GERMAN.encode(encoding))
    assert encoding_guess.certain
    assert encoding_guess.name is not None
    assert GERMAN.encode(encoding).decode(encoding_guess.name) == GERMAN


def test_windows_1252_and_utf16_without_mark_are_guesses() -> None:
    for encoding in ("cp1252", "utf-16-le", "utf-16-be"):
        encoding_guess = detect_encoding(GERMAN.encode(encoding))
        assert (encoding_guess.name, encoding_guess.certain) == (encoding, False)


def test_damaged_utf8_stays_utf8() -> None:
    assert detect_encoding((GERMAN * 3).encode()[:-2] + b"\xff tail").name == "utf-8"
    assert detect_encoding((GERMAN * 3).encode() + "Straß".encode()[:-1]).name == "utf-8", "cut within a letter"


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"%PDF-1.4\nplain", "PDF"),
        (b"PK\x03\x04rest", "ZIP"),
        (b"text\x00text", "zero bytes"),
        (b"\x00\x01\x00\x02", "zero bytes"),
        (b"\x01\x02\x03 text", "control characters"),
        ("Привет, мир".encode("koi8-r"), "name its encoding"),
        ("検索は楽しい".encode("shift_jis"), "name its encoding"),
    ],
)
def test_what_is_no_text_or_cannot_be_told_is_refused_with_the_reason(raw: bytes, reason: str) -> None:
    encoding_guess = detect_encoding(raw)
    assert encoding_guess.name is None
    assert reason in encoding_guess.reason


@pytest.mark.parametrize("seed", range(20))
def test_random_bytes_are_no_text(seed: int) -> None:
    rng = random.Random(seed)
    for first in (0, 1, 32, 128):
        assert detect_encoding(bytes(rng.randrange(first, 256) for _ in range(2000))).name is None


def test_names_of_encodings_are_checked() -> None:
    assert check_encoding("cp1252") == "cp1252"
    for name in ("no-such", "rot13", "base64", "", "a\x00b"):
        with pytest.raises(InputError, match="unknown"):
            check_encoding(name)


@pytest.mark.parametrize("encoding", ["utf16", "U16", "utf-16", "utf_16_le", "UTF-16LE", "utf32", "cp037", "shift_jis"])
def test_a_named_encoding_means_the_same_however_it_is_spelt(encoding: str) -> None:
    lines = ["one \\ two", "three"]
    content = "\r\n".join([*lines, ""]).encode(encoding)
    mark = len("".encode(encoding))  # of the machine's own order, as without a mark
    for raw in (content, content[mark:]):
        assert [line for _, line in read_lines(io.BytesIO(raw), encoding)] == lines


def test_japanese_mail_is_told_by_its_escape_sequences() -> None:
    text = "鳩の巣原理\nplain\n"
    guess = detect_encoding(text.encode("iso2022_jp"))
    assert not guess.certain
    assert text.encode("iso2022_jp").decode(str(guess.name)) == text
    assert detect_encoding(b"a shell prints \x1b$ and goes on").name == "utf-8"


def test_encodings_that_are_not_of_files_are_refused() -> None:
    for name in ("idna", "undefined", "punycode\0", "rot13", "hex"):
        with pytest.raises(InputError, match="unknown"):
            check_encoding(name)

"""Texts in the encodings of the world: as written where an encoding is named, right or named by file where none is."""

from __future__ import annotations

import base64
import random
from pathlib import Path
from typing import Any

import pytest

from rader_plugins.ingestion import Findings, open_source
from rader_plugins.text_files import detect_encoding
from tests.rader_plugins.cli.conftest import write_rows

TEXTS = {
    "german": "Straße und Café – „naiv“. Die Größe der Übung überrascht alle Mädchen in Österreich.",
    "french": "Où est passé le garçon ? L'été dernier, la forêt brûlait déjà près de Besançon.",
    "czech": "Příliš žluťoučký kůň úpěl ďábelské ódy. Čtvrtek je den, kdy děti chodí do školy.",
    "polish": "Zażółć gęślą jaźń. Łódź jest miastem w środkowej Polsce, które słynie z włókiennictwa.",
    "russian": "Привет, мир. Теорема Пифагора гласит, что квадрат гипотенузы равен сумме квадратов катетов.",
    "greek": "Το θεώρημα του Πυθαγόρα είναι γνωστό. Η Αθήνα είναι πρωτεύουσα.",
    "hebrew": "שלום עולם. משפט פיתגורס הוא משפט בגאומטריה.",
    "arabic": "مرحبا بالعالم. نظرية فيثاغورس في الهندسة.",
    "turkish": "İstanbul'da yağmur yağıyor, çocuklar şarkı söylüyor.",
    "thai": "สวัสดีชาวโลก ทฤษฎีบทพีทาโกรัส",
    "japanese": "こんにちは世界。ピタゴラスの定理は幾何学の定理である。東京は日本の首都です。",
    "chinese": "你好，世界。毕达哥拉斯定理是几何学的定理。北京是中国的首都。",
    "taiwanese": "你好，世界。畢達哥拉斯定理是幾何學的定理。台北是一個城市。",
    "korean": "안녕하세요 세계. 피타고라스의 정리는 기하학의 정리이다. 서울은 한국의 수도이다.",
}
UNICODE = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le")
OF_LANGUAGES = {
    "german": ("cp1252", "latin-1", "iso8859-15", "mac_roman", "cp850", "cp437", "cp037", "cp500", "utf-7"),
    "french": ("cp1252", "mac_roman", "cp850"),
    "czech": ("cp1250", "iso8859-2", "mac_latin2"),
    "polish": ("cp1250", "iso8859-2"),
    "russian": ("cp1251", "koi8-r", "cp866", "iso8859-5", "mac_cyrillic", "utf-7"),
    "greek": ("cp1253", "iso8859-7"),
    "hebrew": ("cp1255", "iso8859-8"),
    "arabic": ("cp1256", "iso8859-6"),
    "turkish": ("cp1254", "iso8859-9"),
    "thai": ("cp874", "tis-620"),
    "japanese": ("shift_jis", "cp932", "euc-jp", "iso-2022-jp"),
    "chinese": ("gb18030", "gbk", "hz", "utf-7"),
    "taiwanese": ("big5",),
    "korean": ("euc-kr", "cp949", "johab", "iso-2022-kr", "utf-7"),
}
ENCODED = [(language, encoding) for language, text in TEXTS.items() for encoding in (*UNICODE, *OF_LANGUAGES[language])]
AMONG_ENGLISH = "The theorem was proved many times over the centuries, by people of many lands. " * 6


def read(path: Path, **options: Any) -> tuple[str | None, Findings]:
    findings = Findings()
    documents = [document for _, document in open_source(path, **options).read(findings)]
    return (documents[0].text if documents else None), findings


@pytest.mark.parametrize("before", ["", AMONG_ENGLISH], ids=["alone", "among English"])
@pytest.mark.parametrize(("language", "encoding"), ENCODED)
def test_what_is_read_is_what_was_written_or_a_guess_that_is_named(
    tmp_path: Path, language: str, encoding: str, before: str
) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes((before + TEXTS[language]).encode(encoding, "ignore"))
    content = path.read_bytes().decode(encoding).removeprefix("\ufeff")
    text, findings = read(path, encoding=encoding)
    assert (text, findings.names) == (content, {}), "the encoding is named"
    text, findings = read(path)
    assert text == content or findings.count("guessed") or findings.count("binary")
    if encoding in UNICODE[:4] + UNICODE[5:6] and (encoding != "utf-16-le" or language == "german"):
        assert text == content, "Unicode says itself how it is to be read"


@pytest.mark.parametrize(
    "text",
    [
        'int x=a+foo-bar, y=n+Able-1; s="sha256-47DEQpj8HBSa+TImW5JCeuQeRkm5NMpJWZG3hSuFU="; // C++ and 1+2',
        '(format t "~{~a~^, ~}" list) (format nil "~{word~}~{ab~}") ~{text~}, and in LaTeX ~{\\em emphasis~}',
        "--- a\n+++ b\n+Added a line\n+Another, with +AAA and more\n-Before\n",
        "+49 30 1234567, +Alan-, a+b-c, x+And-y, jane+newsletter-9@example.com, +ABCDEFGHIJKLMNOPQRSTUVWXYZ-",
        "T3JnYW5p+emF0aW9uA+BcdEfGhIjKlMnOpQrStUvWxYz0123456789ab/cd+efghijkl==",
    ],
)
def test_ascii_that_only_looks_like_another_encoding_stays_ascii(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.txt").write_text(text)
    assert read(tmp_path / "a.txt") == (text, Findings())
    write_rows(tmp_path / "a.jsonl", {"text": text})
    assert read(tmp_path / "a.jsonl") == (text, Findings())


def test_keys_and_digests_are_not_taken_for_utf_7(tmp_path: Path) -> None:
    """What is random looks like letters, but not like letters of one script."""
    source = random.Random(0)
    for _ in range(5000):
        blob = base64.b64encode(source.randbytes(source.randrange(15, 70))).decode("ascii")
        assert detect_encoding(f"The key is {blob} and the digest\n+{blob}-.\n".encode()).name == "utf-8"


def test_rows_in_hz_are_no_rows_in_ascii(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(('{"text": "' + TEXTS["chinese"] + '"}\n').encode("hz"))
    text, findings = read(tmp_path / "a.jsonl")
    assert text == TEXTS["chinese"]
    assert findings.names == {"guessed": {"a.jsonl": "hz"}}


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("Straße, Größe".encode() + "ö".encode()[:1], "Straße, Größe\ufffd"),  # cut between two bytes
        ("日本語".encode()[:-1], "日本\ufffd"),
        (b"a smile \xed\xa0\xbd\xed\xb8\x80 of Java", "a smile " + "\ufffd" * 6 + " of Java"),  # halves of surrogates
    ],
)
def test_damaged_utf8_stays_utf8(tmp_path: Path, raw: bytes, text: str) -> None:
    (tmp_path / "a.txt").write_bytes(raw)
    decoded, findings = read(tmp_path / "a.txt")
    assert decoded == text
    assert findings.names == {"mended": {"a.txt": f"{text.count(chr(0xFFFD))} replaced"}}

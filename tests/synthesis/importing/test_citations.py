"""Citations in languages without blanks, and in brackets and quotes of any kind."""

from __future__ import annotations

import pytest
from rader_synthesis.citations import Citations, quotes

from rader_plugins.text_matching import words

DOCUMENTS = [
    ("kb-101", "退款期限"),
    ("kb-102", "席位"),
    ("jp-1", "払い戻しの期限"),
    ("th-1", "ข้อกำหนดการคืนเงิน"),
    ("ar-1", "مهلة الاسترداد"),
    ("hi-1", "धन वापसी"),
    ("fr-1", "Délais de remboursement"),
]


@pytest.mark.parametrize(
    ("text", "cited"),
    [
        ("根据退款期限，不能退。", ["kb-101"]),
        ("见《席位》。", ["kb-102"]),
        ("这个席位是我的。", []),  # two characters in a sentence are a word, no title
        ("见【kb-101】和（kb-102）。", ["kb-101", "kb-102"]),
        ("请看kb-101的说明。", ["kb-101"]),
        ("「払い戻しの期限」によると、無理です。", ["jp-1"]),
        ("ตามข้อกำหนดการคืนเงินครับ", ["th-1"]),
        ("حسب «مهلة الاسترداد» لا.", ["ar-1"]),
        ("धन वापसी के नियम।", ["hi-1"]),
        ("Voir „délais de remboursement“.", ["fr-1"]),
        ("As [kb-101, kb-102] say.", ["kb-101", "kb-102"]),
        ("kb-1011 is another.", []),
    ],
)
def test_documents_are_cited_in_any_script(text: str, cited: list[str]) -> None:
    assert sorted(Citations(DOCUMENTS).find(text)) == cited


@pytest.mark.parametrize(
    ("document", "quote", "other"),
    [
        ("付款可以在结算后三十天内撤销。", "规则说付款可以在结算后三十天内撤销，所以不行。", "付款可以在月底撤销。"),
        (
            "การชำระเงินยกเลิกได้ภายในสามสิบวัน",
            "เพราะการชำระเงินยกเลิกได้ภายในสามสิบวันครับ",
            "การชำระเงิน",
        ),
    ],
)
def test_quotes_are_found_without_blanks(document: str, quote: str, other: str) -> None:
    assert quotes(quote, document)
    assert not quotes(other, document)
    assert not quotes(quote, document, but_not=quote)


def test_words_of_scripts_without_blanks_are_characters_and_vowel_signs_belong_to_words() -> None:
    assert words("退款30天") == ["退", "款", "30", "天"]
    assert words("हिन्दी में") == ["हिन्दी", "में"]
    assert words("مُحَمَّد") == ["مُحَمَّد"]

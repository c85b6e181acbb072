"""Words in every script, and languages."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rader_plugins.analysis import ANALYZER, LANGUAGES, STOP_WORDS, Analyzer, analyze, tokens
from rader_plugins.analysis import analyzer as analyzer_module
from rader_plugins.analysis.languages import stop_words
from rader_plugins.analysis.tokens import normalize
from rader_plugins.errors import InputError
from tests.support.examples import examples

PLAIN = Analyzer("none")
LETTERS = (
    "aé\u0301\u00adßñ हिन्दी भाषा العَرَبِيَّة שָׁלוֹם 検索ひらがなカタ ภาษาไทย ខ្មែរ x² C++ foo_bar.Baz3 '\u200d\u200c\u200b"
)
TEXTS = st.text(max_size=60) | st.text(st.sampled_from(LETTERS), max_size=40)
WORDS = "हिन्दी العربية résumé தமிழ் שלום ქართული ελληνικά кириллица 한국어 Việt বাংলা తెలుగు አማርኛ"


@settings(max_examples=examples(200), deadline=None)
@given(TEXTS, st.sampled_from(["none", "english", "french"]), st.booleans())
def test_a_text_is_found_by_itself_however_it_is_composed(text: str, language: str, identifiers: bool) -> None:
    analyzer = Analyzer(language, identifiers=identifiers)
    terms = analyzer.terms(text)
    assert set(analyzer.query_terms(text)) <= set(terms)
    assert bool(analyzer.query_terms(text)) == bool(terms)
    for form in ("NFC", "NFD"):
        assert analyzer.terms(unicodedata.normalize(form, text)) == terms
    assert all(terms)
    if language == "none":
        assert bool(terms) == any(character.isalnum() or character == "_" for character in normalize(text))


@settings(max_examples=examples(100), deadline=None)
@given(TEXTS)
def test_invisible_characters_change_nothing(text: str) -> None:
    shy = "\u00ad".join(text)
    assert PLAIN.terms(shy) == PLAIN.terms(text)


@pytest.mark.parametrize("word", WORDS.split())
def test_a_word_is_one_term(word: str) -> None:
    for form in ("NFC", "NFD"):
        assert len(PLAIN.terms(unicodedata.normalize(form, word))) == 1


def test_optional_vowels_are_optional() -> None:
    assert PLAIN.terms("العَرَبِيَّة") == PLAIN.terms("العربية")
    assert PLAIN.terms("שָׁלוֹם") == PLAIN.terms("שלום")
    assert PLAIN.terms("العـــربية") == PLAIN.terms("العربية")


def test_text_without_blanks_is_found_by_pairs_of_letters() -> None:
    documents = {"engine": "全文搜索引擎很快", "letters": "搜寻、索取、引用、擎天", "thai": "ภาษาไทยง่าย", "cat": "黑猫"}
    terms = {name: set(analyze(text)) for name, text in documents.items()}

    def hits(query: str) -> set[str]:
        return {name for name, document_terms in terms.items() if document_terms & set(Analyzer().query_terms(query))}

    assert hits("搜索引擎") == {"engine"}, "documents that only share letters are no hits"
    assert hits("猫") == {"cat"}
    assert hits("ภาษาไทย") == {"thai"}
    assert hits("Python搜索") == {"engine"}
    assert analyze("カタカナ語とkanji")[-1] == "kanji"


def test_english_is_that_of_lucene() -> None:
    assert analyze("The pigeons' holes aren't Euler's, 3,000.5 of foo.bar; x² Café") == [
        "pigeon", "hole", "aren't", "euler", "3,000.5", "foo.bar", "x²", "café",
    ]  # fmt: skip
    assert analyze(" ".join(STOP_WORDS)) == []
    assert Analyzer().name == ANALYZER
    assert Analyzer(compatibility=True).terms("x² ﬁve Ｆｕｌｌ") == ["x2", "five", "full"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_of_the_stemmer(language: str) -> None:
    analyzer = Analyzer(language)
    assert analyzer.name == f"rader/2:{language}"
    words = stop_words(language)
    assert all(word == normalize(word.lower()) for word in words)
    assert analyzer.terms(" ".join(sorted(words))) == []
    assert analyzer.terms("Zeitgeist 42")[-1] == "42"


def test_stems_and_elisions() -> None:
    assert Analyzer("german").terms("Die Häuser der Stadt") == ["haus", "stadt"]
    assert Analyzer("french").terms("L'homme qu’il aimait") == Analyzer("french").terms("homme aimait")
    assert Analyzer("russian").terms("книги и книга")[0] == Analyzer("russian").terms("книга")[0]
    assert Analyzer("none").terms("the Houses") == ["the", "houses"]
    for wrong in ("klingon", "", "German"):
        with pytest.raises(InputError, match="no language"):
            Analyzer(wrong)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("get_user_name", {"get", "user", "name"}),
        ("foo.bar.baz", {"foo", "bar", "baz"}),
        ("getUserName", {"get", "user", "name"}),
        ("HTTPServer2", {"http", "server", "2"}),
        ("std::vector", {"std", "vector"}),
        ("C++", {"c++", "c"}),
        ("C#", {"c#", "c"}),
        (".NET", {".net", "net"}),
    ],
)
def test_identifiers_are_found_whole_and_by_their_parts(text: str, parts: set[str]) -> None:
    analyzer = Analyzer("none", identifiers=True)
    assert parts <= set(analyzer.terms(text))
    if text != "std::vector":
        assert text.lower() in analyzer.terms(f"call {text}, now")
    assert Analyzer("none").terms("plain words") == analyzer.terms("plain words")


@settings(deadline=None)
@given(st.text(st.sampled_from("aZ9_ .,;:'-+#\t\n\x1c"), max_size=40), st.booleans())
def test_ascii_text_has_the_words_of_the_expression_for_all_scripts(text: str, identifiers: bool) -> None:
    every_script = tokens._pattern(True, True, identifiers)
    assert tokens.split_words(text, identifiers=identifiers) == every_script.findall(text)


@settings(deadline=None)
@given(st.lists(TEXTS | st.text(st.sampled_from("aZ9_ .,;:'-+#\t\n\x1c\x00"), max_size=40)), st.booleans())
def test_texts_split_together_are_as_split_alone(texts: list[str], identifiers: bool) -> None:
    alone = [tokens.split_words(text, identifiers=identifiers) for text in texts]
    assert list(tokens.split_texts(texts, identifiers=identifiers)) == alone


@settings(deadline=None)
@given(st.lists(st.text(max_size=20), max_size=20), st.booleans(), st.sampled_from(["english", "french", "german"]))
def test_words_that_were_met_before_have_the_same_terms(texts: list[str], identifiers: bool, language: str) -> None:
    analyzer = Analyzer(language, identifiers=identifiers)
    analyzer_module._terms_of_words.cache_clear()
    fresh = []
    for text in texts:
        analyzer_module._terms_of_words.cache_clear()
        fresh.append((analyzer.terms(text), analyzer.query_terms(text)))
    for _ in range(2):
        assert [(analyzer.terms(text), analyzer.query_terms(text)) for text in texts] == fresh
    changed = analyzer.terms("One Two's three")
    changed.append("x")
    assert analyzer.terms("One Two's three") == changed[:-1]


def test_no_more_words_are_remembered_than_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analyzer_module, "_REMEMBERED_WORDS", 10)
    analyzer_module._terms_of_words.cache_clear()
    words = [*(f"w{number}" for number in range(95)), "b" * 100]
    assert PLAIN.terms(" ".join(words)) == words
    assert 0 < len(analyzer_module._terms_of_words(PLAIN, True)) <= 10
    assert words[-1] not in analyzer_module._terms_of_words(PLAIN, True)

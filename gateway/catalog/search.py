"""Full-text search over the fields of a row: every word must occur in one of the texts, whatever its spelling."""

from collections.abc import Callable, Iterable
from typing import Any
from unicodedata import normalize


def searchable(text: str) -> str:
    """Return a text without the differences that a search ignores: case, composition and compatible forms.

    Compatible are, for example, full-width letters and ligatures. All forms of the Turkish i are one letter, too.
    Source: Unicode Standard, D146 (compatibility caseless matching).
    """
    if text.isascii():
        return text.lower()
    once = normalize("NFKD", normalize("NFD", text).casefold())
    plain = normalize("NFKD", once.casefold()).replace("i\u0307", "i").replace("ı", "i")
    return normalize("NFKC", plain)


def words_of(text: str) -> list[str]:
    """Return the different words of a search, which white space separates, in their searchable form."""
    return [*dict.fromkeys(searchable(text).split())]


def contains_all(wanted: str, texts_of: Callable[[Any], Iterable[str | None]]) -> Callable[[Any], bool]:
    """Return a function that reports whether every word of a search occurs in one of the texts of a record."""
    words = words_of(wanted)

    def passes(record: Any) -> bool:
        texts = [searchable(text) for text in texts_of(record) if text]
        return all(any(word in text for text in texts) for word in words)

    return passes

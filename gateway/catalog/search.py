"""Full-text search over the fields of a row: every word must occur in one of the texts, whatever its spelling."""

from collections.abc import Callable, Iterable
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


def searchable_texts(texts: Iterable[str | None]) -> str:
    """Return texts in their searchable form, each on a line."""
    return "\n".join([searchable(text) for text in texts if text])


def contains_all(wanted: str) -> Callable[[str], bool]:
    """Return a function that reports whether every word of a search occurs in one of some `searchable_texts`."""
    words = words_of(wanted)  # without white space, so none occurs across two lines
    return lambda texts: all(word in texts for word in words)

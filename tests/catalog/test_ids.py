"""Global ids: every object has exactly one id, and all other texts are refused."""

from urllib.parse import quote

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from gateway.catalog.ids import MAX_LENGTH, VERSIONS, Ref, parse, quoted
from gateway.errors import InvalidId

registries = st.from_regex(r"[a-z][a-z0-9-]{0,31}", fullmatch=True)
native_keys = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)


@st.composite
def refs(draw: st.DrawFn) -> Ref:
    """References to objects of any type with any keys."""
    ref = Ref(draw(registries), draw(st.sampled_from(sorted(VERSIONS))), (draw(native_keys),))
    ref = ref.version(draw(native_keys)) if draw(st.booleans()) else ref
    assume(len(str(ref)) <= MAX_LENGTH)
    return ref


def recoded(text: str, place: int) -> str:
    """Return the text with the character or escape at a place written in lower case or with needless escapes."""
    if text[place] == "%":
        return text[:place] + text[place : place + 3].lower() + text[place + 3 :]
    return text[:place] + "".join(f"%{byte:02X}" for byte in text[place].encode()) + text[place + 1 :]


# Canonical ids


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("pai:model/model-rbvg5wzljz", Ref("pai", "Model", ("model-rbvg5wzljz",))),
        ("pai:model/model-1/version/0.1.0", Ref("pai", "ModelVersion", ("model-1", "0.1.0"))),
        ("pai-eu:algorithm/algo-1", Ref("pai-eu", "Algorithm", ("algo-1",))),
        ("pai:algorithm/algo-1/version/v0.0.1", Ref("pai", "AlgorithmVersion", ("algo-1", "v0.0.1"))),
        ("qianfan:algorithm/ERNIE%20Lite:SFT:LoRA", Ref("qianfan", "Algorithm", ("ERNIE Lite:SFT:LoRA",))),
        ("pai:model/m/version/%E7%AC%AC%E4%B8%80", Ref("pai", "ModelVersion", ("m", "第一"))),
        ("pai:model/m/version/a%2Fb%25%3F%23", Ref("pai", "ModelVersion", ("m", "a/b%?#"))),
        ("pai:model/version/version/version", Ref("pai", "ModelVersion", ("version", "version"))),
    ],
)
def test_ids_are_readable(text: str, ref: Ref) -> None:
    assert parse(text) == ref
    assert str(ref) == text


@given(refs())
@example(Ref("pai", "ModelVersion", ("/version/", "../..")))
@example(Ref("pai", "Model", ("a\r\nb\x00",)))
@example(Ref("pai", "Model", ("\ufffd",)))
@example(Ref("pai", "Model", ("%2F",)))
@example(Ref("pai", "Model", ("é",)))
@example(Ref("pai", "Model", ("e\u0301",)))
def test_every_reference_can_be_parsed_from_its_id(ref: Ref) -> None:
    assert parse(str(ref)) == ref


@given(refs(), refs())
def test_different_objects_have_different_ids(one: Ref, other: Ref) -> None:
    assert (str(one) == str(other)) == (one == other)


@given(refs(), st.data())
def test_a_non_canonical_id_is_refused(ref: Ref, data: st.DataObject) -> None:
    """It has lower-case or needless escapes."""
    text = str(ref)
    start = text.index("/") + 1
    other = recoded(text, data.draw(st.integers(start, len(text) - 1)))
    if other != text:
        with pytest.raises(InvalidId):
            parse(other)


@given(refs())
def test_the_owner_of_a_version_is_its_model_or_algorithm(ref: Ref) -> None:
    if ref.entity in VERSIONS:
        assert ref.version("1").owner == ref
        assert str(ref.version("1")).startswith(f"{ref}/version/")


# Texts that are not ids

HOSTILE = {
    "nothing": "",
    "no colon": "pai",
    "no type": "pai:",
    "no key at all": "pai:model",
    "another type word": "pai:dataset/d1",
    "the type in upper case": "pai:Model/m1",
    "a version without a model": "pai:version/1",
    "version misspelled": "pai:model/m1/versions/1",
    "a version of a version": "pai:model/m1/version/1/version/2",
    "half a version": "pai:model/m1/version",
    "one segment too many": "pai:model/m1/2",
    "a slash at the end": "pai:model/m1/",
    "a slash in a key": "pai:model/a/b",
    "a way up": "pai:model/../algorithms",
    "a way up in a version": "pai:model/m1/version/../../x/y",
    "a query": "pai:model/m1?Order=ASC",
    "a fragment": "pai:model/m1#x",
    "a new line": "pai:model/m1\n",
    "a header": "pai:model/m1\r\nHost: elsewhere",
    "NUL": "pai:model/m1\x00",
    "a space": "pai:model/m 1",
    "a backslash": "pai:model/a\\b",
    "an unfinished escape": "pai:model/m%2",
    "no escape": "pai:model/m%zz",
    "a lone percent": "pai:model/m%",
    "a lower-case escape": "pai:model/m%2f",
    "a needless escape": "pai:model/%6D1",
    "escaped twice": "pai:model/m%252Fx%2",
    "an escaped colon": "pai:algorithm/a%3Ab",
    "bytes that are no UTF-8": "pai:model/%FF%FE",
    "an overlong slash": "pai:model/%C0%AF",
    "an escaped surrogate": "pai:model/%ED%A0%80",
    "letters that need escapes": "pai:model/模型",
    "a plus for a space": "pai:model/a+b",
    "10 kB": f"pai:model/{'m' * 10_240}",
    "10 kB of escapes": f"pai:model/{'%E7' * 3_413}",
    "10 kB of slashes": "pai:model" + "/" * 10_240,
    "a global id of another system": "TW9kZWw6MQ==",
}


@pytest.mark.parametrize("case", HOSTILE)
def test_an_invalid_id_is_refused_with_a_short_message(case: str) -> None:
    with pytest.raises(InvalidId) as refused:
        parse(HOSTILE[case])
    assert refused.value.code == "INVALID_ID"
    message = str(refused.value)
    assert len(message) <= 700
    assert message.isprintable()
    message.encode()


def test_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(InvalidId):
        parse("pai:model/m\ud800")


@pytest.mark.parametrize("text", ["/pai:model/m1", " pai:model/m1", ":model/m1", "\udfff:model/m1", "a b:model/m1"])
def test_the_name_of_the_registry_is_not_checked_here(text: str) -> None:
    assert str(parse(text)) == text


@pytest.mark.parametrize("key", ["..", ".", "a" * 200, " ", "\r\n"])
def test_the_registry_checks_well_formed_keys(key: str) -> None:
    """Parsing checks the form; `Registry.validate` checks what may be part of a URL."""
    text = f"pai:model/{quote(key, safe='.')}"
    assert parse(text).keys == (key,)


def test_an_id_over_the_maximum_length_is_refused() -> None:
    longest = "pai:model/".ljust(MAX_LENGTH, "m")
    assert str(parse(longest)) == longest
    with pytest.raises(InvalidId):
        parse(longest + "m")


@given(st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("%/:.?#")))
@example("pai:model/a%2Fb%0D%0A")
def test_any_text_is_a_canonical_id_or_refused(text: str) -> None:
    try:
        ref = parse(text)
    except InvalidId:
        return
    assert str(ref) == text


@given(st.text(st.characters() | st.characters(categories=["Cs", "Cc"])))
def test_text_of_callers_is_quoted_in_printable_characters_only(text: str) -> None:
    shown = quoted(text)
    assert shown.isprintable()
    assert len(shown) <= 81 * 6 + 2


def test_a_long_text_is_truncated_when_quoted() -> None:
    assert quoted("x" * 81) == f'"{"x" * 80}…"'
    assert quoted('a\n\x00"\u202e') == r'"a\u000a\u0000"\u202e"'

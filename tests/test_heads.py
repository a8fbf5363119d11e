"""Heads of requests that were read before are not read again: nothing else is taken for one of them."""

import pytest
from gateway.http.heads import LONGEST, Heads, Plain, plainly

HEAD = b"POST /graphql HTTP/1.1\r\nhost: gateway\r\ncontent-length: 4\r\n\r\n"
BODY = b"body"

PLAIN = Plain(b"*/*", b"", zipped=False, ids=[], sized=True)


def test_what_a_head_says_is_said_of_every_request_that_has_it() -> None:
    heads = Heads()
    assert heads.read(HEAD + BODY) is None
    heads.learn(HEAD + BODY, PLAIN, BODY)
    assert heads.read(HEAD + b"else") == (PLAIN, b"else")


@pytest.mark.parametrize(
    "received",
    [
        b"",
        HEAD,
        HEAD[:-1],
        HEAD + BODY[:-1],
        HEAD + BODY + b"\r\n",
        HEAD + BODY + HEAD + BODY,
        HEAD.replace(b"4", b"5") + BODY + b"5",
        HEAD.lower() + BODY,
        b"\r\n" + HEAD + BODY,
        HEAD[:-2] + b"x: y\r\n\r\n" + BODY,
    ],
)
def test_nothing_else_is_taken_for_it(received: bytes) -> None:
    heads = Heads()
    heads.learn(HEAD + BODY, PLAIN, BODY)
    assert heads.read(received) is None


@pytest.mark.parametrize(
    ("received", "plain", "body"),
    [
        (b"", PLAIN, BODY),  # it came in pieces
        (HEAD + BODY + HEAD + BODY, PLAIN, BODY),  # with another one
        (HEAD.replace(b"4", b"0"), PLAIN, b""),  # its end is not told from that of its head
        (HEAD + BODY, PLAIN._replace(sized=False), BODY),  # its length does not stand in its head
        (HEAD + BODY, PLAIN._replace(ids=[(b"x-request-id", b"mine")]), BODY),  # there will be none like it
        (b"POST /graphql HTTP/1.1\nhost: gateway\ncontent-length: 8\n\nbo\r\n\r\ndy", PLAIN, b"bo\r\n\r\ndy"),
        (HEAD[:-2] + b"x: " + b"y" * LONGEST + b"\r\n\r\n" + BODY, PLAIN, BODY),
    ],
)
def test_a_head_that_does_not_tell_all_is_not_remembered(received: bytes, plain: Plain, body: bytes) -> None:
    heads = Heads()
    heads.learn(received, plain, body)
    assert heads.read(received) is None


def test_of_many_heads_the_first_are_forgotten() -> None:
    heads = Heads(most=2)
    asked = [HEAD.replace(b"gateway", host) + BODY for host in (b"a", b"b", b"c")]
    for one in asked:
        heads.learn(one, PLAIN, BODY)
    assert [heads.read(one) is not None for one in asked] == [False, True, True]


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ([], Plain(b"*/*", b"", zipped=False, ids=[], sized=False)),
        (
            [
                (b"accept", b"a/b"),
                (b"content-type", b"c/d"),
                (b"accept-encoding", b"br, gzip"),
                (b"content-length", b"4"),
            ],
            Plain(b"a/b", b"c/d", zipped=True, ids=[], sized=True),
        ),
        ([(b"traceparent", b"t"), (b"host", b"h")], Plain(b"*/*", b"", False, [(b"traceparent", b"t")], sized=False)),
        ([(b"content-length", b"4"), (b"transfer-encoding", b"chunked")], PLAIN._replace(sized=False)),
        ([(b"x-request-id", b"one"), (b"x-request-id", b"two")], None),
        ([(b"authorization", b"Bearer key")], None),
    ],
)
def test_what_headers_say(headers: list[tuple[bytes, bytes]], said: Plain | None) -> None:
    assert plainly(headers) == said

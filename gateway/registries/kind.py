"""The contract between the catalog and a kind of registry: tables of calls, and a signature. No I/O.

To add a kind: write one module with its settings, field tables, calls and `Kind`, and name it in
`gateway.registries.KINDS`. The catalog plans over what the calls supply; nothing else needs to know the vendor.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

import orjson

from gateway.config.settings import Credentials, RegistrySettings
from gateway.errors import RegistryError
from gateway.registries.fields import EntityLayout, Field, Raw, as_text, at
from gateway.registries.signatures import encode
from gateway.upstream.messages import Request, Response

Keys = tuple[str, ...]

CAPABILITIES = {"Model": "MODELS", "Algorithm": "ALGORITHMS"}

KEY_TEXT = re.compile(r"[^\x00-\x1f\x7f/\\?#]{1,128}")
"""The widest native key: it may stand in a path segment once percent-encoded."""


@dataclass(frozen=True, slots=True)
class EntityInAnswer:
    """An entity that one call's answer describes: its form, and where to find it given the keys asked for; ``sure``
    says that every answer has it, whatever the keys."""

    shape: EntityLayout
    locate: Callable[[Any, Keys], Raw | None]
    sure: bool = False


def whole(shape: EntityLayout, *path: str) -> EntityInAnswer:
    """The entity is the object at a path of the answer."""

    def locate(document: Any, keys: Keys) -> Raw | None:
        found = at(document, path)
        return found if type(found) is dict or isinstance(found, Mapping) else None

    return EntityInAnswer(shape, locate, sure=True)


def holds_list(*path: str, total: tuple[str, ...] = ()) -> Callable[[Any], bool]:
    """The answer has a list at a path; nothing at all will do when it counts none."""
    return lambda document: isinstance(at(document, path), list) or (bool(total) and at(document, total) == 0)


def holds_object(*path: str, key: str) -> Callable[[Any], bool]:
    """The answer has an object with this key at a path."""
    return lambda document: as_text(at(document, (*path, key))) is not None


@dataclass(frozen=True, slots=True)
class FilterPushdown:
    """A filter that a list call applies itself: its parameters for a wanted value, None when it cannot say that.

    ``exact`` says that just the wanted rows come, so that the answer's count can be trusted.
    """

    parameters: Callable[[Any], Mapping[str, Any] | None]
    exact: bool = True


def equal(name: str) -> FilterPushdown:
    """The parameter takes the value as it is."""
    return FilterPushdown(lambda value: {name: value})


def spelled(name: str, words: Mapping[str, str]) -> FilterPushdown:
    """The parameter takes the registry's own word; a unified word with several spellings cannot be said."""
    return FilterPushdown(lambda value: {name: words[value]} if value in words else None)


@dataclass(frozen=True, slots=True)
class Paging:
    """Paging: the parameter names, and how many rows one call asks for.

    By page number from 1; or, with ``marked``, by the marker that the previous page gave (none for the first).
    """

    number: str
    size: str
    rows: int = 50
    marked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Call:
    """One upstream operation.

    ``takes`` says which of an object's keys it needs (by position); ``path`` may name those as ``{0}``, ``{1}``, and
    ``parameters`` gives query (GET) or body (POST) parameters from them. ``parts`` are the entities whose keys lead
    to this call and that its answer describes, ``rows`` the entities that it lists; ``promise`` tells an answer that
    holds what it must from one that only looks like success. A list comes in any of its
    ``orders`` (unified field and whether falling, with the parameters that ask for it) and applies ``filters``.
    """

    name: str
    service: str
    path: str
    method: str = "GET"
    takes: tuple[int, ...] = ()
    query: Mapping[str, str] = field(default_factory=dict)
    parameters: Callable[[Keys], Mapping[str, Any]] = lambda keys: {}
    parts: tuple[EntityInAnswer, ...] = ()
    rows: Field | None = None
    paging: Paging | None = None
    promise: Callable[[Any], bool] = lambda document: True
    lifetime: str = ""
    orders: Mapping[tuple[str, bool], Mapping[str, Any]] = field(default_factory=dict)
    filters: Mapping[str, FilterPushdown] = field(default_factory=dict)

    @property
    def family(self) -> str:
        """Which lifetime its answers have: ``catalogues``, ``lists`` or ``objects``."""
        return self.lifetime or ("objects" if self.rows is None else "lists")

    def keys(self, keys: Keys) -> Keys:
        """Those of an object's keys that it needs."""
        return tuple([keys[i] for i in self.takes])

    def request(self, keys: Keys, fixed: Sequence[tuple[str, Any]] = (), page: int | str | None = 1) -> Request:
        """The unsigned request for these keys; ``fixed`` are parameters of a list, ``page`` a number or marker."""
        parameters = {**self.parameters(keys), **dict(fixed)}
        if self.paging is not None:
            marker = {} if self.paging.marked and page == 1 else {self.paging.number: page}
            parameters |= {self.paging.size: self.paging.rows, **marker}
        path = self.path.format(*map(encode, keys))
        if self.method == "GET":
            said = {**self.query, **{name: str(value) for name, value in parameters.items()}}
            query = tuple(sorted(said.items()))
            return Request(self.name, self.service, self.method, path, query, validator=self.promise)
        body = orjson.dumps(parameters, option=orjson.OPT_SORT_KEYS)
        return Request(self.name, self.service, self.method, path, tuple(self.query.items()), body, self.promise)


@dataclass(frozen=True, slots=True)
class Stream:
    """One list of a registry: a call, the parameters that make it this list, and what all its rows have in common."""

    name: str
    entity: str
    call: Call
    fixed: tuple[tuple[str, Any], ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Lookup:
    """A way from what one object says to another: a call on that, and the other's keys found in the answer."""

    call: Call
    entity: str
    find: Callable[[Any, Keys], Keys | None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Kind:
    """One kind of registry.

    ``services`` gives the address of each service; ``keys`` the patterns of an entity's native keys and
    ``canonical`` the narrower ones of their canonical form, where there are several; ``named`` are the entities
    whose own key is their name. ``envelope`` are the keys of an answer that stand among those of its object, and differ
    from one answer to the next. ``calls`` stand in order of preference among equals; ``absent`` are the fields that
    no call supplies. ``credentials`` gives the key in a registry's settings; ``sign`` returns the headers to send for
    (request, host, credentials, now, nonce); ``check`` the error that a response means for the registry of that name,
    if any. ``generation`` gives the table for a
    registry's settings, where a product has several generations.
    """

    name: str
    title: str
    settings: type[RegistrySettings]
    services: Callable[[Any], Mapping[str, str]]
    keys: Mapping[str, tuple[re.Pattern[str], ...]]
    calls: tuple[Call, ...]
    streams: tuple[Stream, ...]
    probe: Call
    absent: Mapping[str, frozenset[str]]
    credentials: Callable[[Any], Credentials]
    sign: Callable[[Request, str, Credentials, datetime, str], Mapping[str, str]]
    check: Callable[[str, Response], RegistryError | None]
    lookups: Mapping[str, Lookup] = field(default_factory=dict)
    canonical: Mapping[str, tuple[re.Pattern[str], ...]] = field(default_factory=dict)
    named: frozenset[str] = frozenset()
    envelope: frozenset[str] = frozenset()
    generation: Callable[[Any], "Kind"] | None = None

    def of(self, settings: RegistrySettings) -> "Kind":
        """The table for a registry with these settings."""
        return self if self.generation is None else self.generation(settings)

    def is_canonical(self, entity: str, keys: Keys) -> bool:
        """Whether these keys are surely the canonical ones."""
        patterns = self.canonical.get(entity)
        return patterns is None or all(p.fullmatch(key) for p, key in zip(patterns, keys, strict=True))

    @cached_property
    def describing(self) -> Mapping[str, Sequence[tuple[Call, tuple[EntityLayout, ...]]]]:
        """The calls whose answers describe an entity, by its name, with the forms in which they do."""
        return self._calls(lambda part: part.shape)

    @cached_property
    def describing_owners(self) -> Mapping[str, Sequence[tuple[Call, tuple[EntityLayout, ...]]]]:
        """The calls that describe an entity and its owner, too, with the owner's forms."""
        return self._calls(lambda part: part.shape.owner)

    def _calls(
        self, form: Callable[[EntityInAnswer], EntityLayout | None]
    ) -> Mapping[str, Sequence[tuple[Call, tuple[EntityLayout, ...]]]]:
        found: dict[str, list[tuple[Call, tuple[EntityLayout, ...]]]] = {entity: [] for entity in self.keys}
        for call in self.calls:
            for entity, calls in found.items():
                forms = tuple(shape for part in call.parts if part.shape.entity == entity if (shape := form(part)))
                if forms:
                    calls.append((call, forms))
        return found

    @property
    def capabilities(self) -> list[str]:
        """What can be listed, in the graph's words."""
        listed = {stream.entity for stream in self.streams}
        return [word for entity, word in CAPABILITIES.items() if entity in listed]

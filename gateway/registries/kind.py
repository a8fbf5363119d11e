"""The table format of a kind of registry: its calls, lists and keys, its signature, and its errors. No I/O.

To add a kind, write a module with its settings, field tables (see `gateway.registries.fields`), calls and `Kind`, and
add it to `gateway.registries.KINDS`. The catalog derives its query plans from these tables; no other module depends on
the vendor.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

import orjson

from gateway.config.settings import Credentials, Quota, RegistrySettings
from gateway.errors import RegistryError, by_status
from gateway.registries.fields import EntityLayout, Field, Raw, as_text, at
from gateway.upstream.credential_sources import AssumeRole, Load, SourceContext
from gateway.upstream.messages import Request, Response
from gateway.upstream.url_encoding import encode

Keys = tuple[str, ...]
"""The native keys of an object: one for a model or algorithm; for a version, its parent's key and its own."""

CAPABILITIES = {"Model": "MODELS", "Algorithm": "ALGORITHMS"}

ABSENCE_STATUSES = frozenset({200, 400, 404})
"""Statuses of responses that can say that an object does not exist. Others, such as 403 and 500, are failures."""

KEY_TEXT = re.compile(r"[^\x00-\x1f\x7f/\\?#]{1,128}")
"""The least restrictive pattern of a native key. A matching key is safe in a path segment once percent-encoded."""


@dataclass(frozen=True, slots=True)
class EntityInAnswer:
    """A single entity in the response of a call."""

    layout: EntityLayout
    """The layout of the entity in this response."""
    locate: Callable[[Any, Keys], Raw | None]
    """Returns the entity's raw object for the decoded response and all keys of the entity, None if it is not there."""
    always_present: bool = False
    """Whether every valid response contains the entity, whatever its keys."""


def object_at(layout: EntityLayout, *path: str | int) -> EntityInAnswer:
    """The entity is the object at a path of the response."""

    def locate(document: Any, keys: Keys) -> Raw | None:
        value = at(document, path)
        return value if type(value) is dict or isinstance(value, Mapping) else None

    return EntityInAnswer(layout, locate, always_present=True)


def holds_list(*path: str | int, total: tuple[str, ...] = ()) -> Callable[[Any], bool]:
    """Return a response check: a list at ``path``, which may be missing if the number at ``total`` is 0."""
    return lambda document: isinstance(at(document, path), list) or (bool(total) and at(document, total) == 0)


def holds_list_if_any(name: str, *others: str) -> Callable[[Any], bool]:
    """Return a response check for APIs that leave out empty lists: a list under ``name``.

    It may be missing from an object without members, or with only some of ``others``.
    """

    def is_complete(document: Any) -> bool:
        if not isinstance(document, Mapping):
            return False
        return isinstance(document[name], list) if name in document else document.keys() <= {*others}

    return is_complete


def holds_object(*path: str | int, key: str) -> Callable[[Any], bool]:
    """Return a response check: an object at ``path`` with a value under ``key``."""
    return lambda document: as_text(at(document, (*path, key))) is not None


ErrorCodes = Sequence[tuple[str, type[RegistryError]]]
"""Regular expressions of a vendor's codes, each with the error that they mean."""


def error_by_code(codes: ErrorCodes, code: str, status: int) -> type[RegistryError]:
    """Return the error of a vendor's code. The HTTP status decides about codes that match no expression."""
    return next((error for pattern, error in codes if re.fullmatch(pattern, code)), by_status(status))


@dataclass(frozen=True, slots=True)
class FilterPushdown:
    """A filter that a list call applies itself. The gateway tests the rows again, since vendors match loosely."""

    parameters: Callable[[Any], Mapping[str, Any] | None]
    """Returns the request parameters for a filter value, None if the call cannot express the value."""
    exact: bool = True
    """Whether the call returns exactly the matching rows, so that its total count is valid."""
    selects: str = ""
    """The parameter that selects another list of the registry, if it is a default of a `Stream`."""


def same_value(name: str) -> FilterPushdown:
    """Return a filter whose parameter is the unchanged value."""
    return FilterPushdown(lambda value: {name: value})


def word(name: str, *vocabulary: str) -> FilterPushdown:
    """Return a filter whose parameter is a word of the vendor's vocabulary, in the vendor's spelling.

    The call cannot express other words: the vendor compares them letter by letter, and the gateway in any case.
    """
    spelling = {spelled.lower(): spelled for spelled in vocabulary}
    return FilterPushdown(lambda value: {name: spelling[value.lower()]} if value.lower() in spelling else None)


def list_of_word(name: str, *vocabulary: str) -> FilterPushdown:
    """Return a filter whose parameter selects a list: a word in the vendor's spelling, or any other text unchanged."""
    spelling = {spelled.lower(): spelled for spelled in vocabulary}
    return FilterPushdown(lambda value: {name: spelling.get(value.lower(), value)}, selects=name)


def native_value(name: str, values: Mapping[str, str]) -> FilterPushdown:
    """Return a filter whose parameter is a native enumeration value.

    ``values`` maps the schema's values to native ones. It leaves out values with several native spellings, which the
    call cannot express.
    """
    return FilterPushdown(lambda value: {name: values[value]} if value in values else None)


@dataclass(frozen=True, slots=True)
class Paging:
    """How a list call is paged."""

    number: str
    """The parameter for the number or marker of the page."""
    size: str
    """The parameter for the number of rows on a page."""
    rows: int = 50
    """The number of rows to request for each page."""
    by_marker: bool = False
    """False for page numbers from 1. True for markers: each page supplies that of the next, the first needs none."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Call:
    """One upstream operation: how to request it, and what its response contains."""

    name: str
    """The vendor's name of the operation. PAI signs it."""
    service: str
    """The service that the call goes to, a key of `Kind.services`."""
    path: str
    """The path. ``{0}``, ``{1}`` are placeholders for the keys that ``key_positions`` selects."""
    keeps_slashes: bool = False
    """Whether ``/`` in keys stays as it is in the path, as in ``library/alpine``. All else is percent-encoded."""
    method: str = "GET"
    """GET sends ``parameters`` in the query, POST in a JSON body."""
    key_positions: tuple[int, ...] = ()
    """The positions of the object's keys that the call needs."""
    follows: str = ""
    """The reference that supplies the keys in place of the object: a name in `EntityLayout.references`. A response with
    the reference must come first. No other call may supply the same fields."""
    misses: bool = False
    """Whether the call may not find an object that exists, so that another call for the entity must be made, too."""
    query: Mapping[str, str] = field(default_factory=dict)
    """Query parameters that every request has."""
    parameters: Callable[[Keys], Mapping[str, Any]] = lambda keys: {}
    """Returns the parameters for the keys that ``key_positions`` selects."""
    entities: tuple[EntityInAnswer, ...] = ()
    """The entities that the call can be made for, and that its response contains."""
    rows: Field | None = None
    """The entities that the response lists. `Field.read` gets the decoded response and returns `Rows`."""
    paging: Paging | None = None
    """How the list is paged. None for a list in one response."""
    response_headers: tuple[str, ...] = ()
    """The headers of the response that ``rows`` or ``entities`` read, in lower case. The document that they get is then
    an object of ``headers`` and ``body``. A body that is a list is always under ``body``."""
    is_complete: Callable[[Any], bool] = lambda document: True
    """Returns whether a decoded response has the documented structure. Other responses are `RegistryBadAnswer`."""
    cache_family: str = ""
    """The cache family, if it is not the one that ``family`` derives."""
    orders: Mapping[tuple[str, bool], Mapping[str, Any]] = field(default_factory=dict)
    """The orders of the list: (unified field, whether descending) and the parameters that request the order."""
    unsorted: Mapping[str, Any] | None = None
    """The parameters to read the list with if it does not support the requested order. None: those of its first one."""
    filters: Mapping[str, FilterPushdown] = field(default_factory=dict)
    """The filters that the call applies itself, by their unified names."""
    joined: Mapping[str, str] = field(default_factory=dict)
    """The parameters that can hold several conditions, each with the text between two of them, such as `` AND ``."""

    @property
    def family(self) -> str:
        """The cache family, which determines the lifetime of responses: ``catalogues``, ``lists`` or ``objects``."""
        return self.cache_family or ("objects" if self.rows is None else "lists")

    def keys(self, keys: Keys) -> Keys:
        """Select the keys that the call needs from all keys of an object."""
        return tuple([keys[i] for i in self.key_positions])

    def request(self, keys: Keys, fixed: Sequence[tuple[str, Any]] = (), page: int | str | None = 1) -> Request:
        """Build the unsigned request.

        ``keys`` are those that ``key_positions`` selects. ``fixed`` are further parameters of a list. ``page`` is the
        page number or marker.
        """
        paging: Mapping[str, Any] = {}
        if self.paging is not None:
            marker = {} if self.paging.by_marker and page == 1 else {self.paging.number: page}
            paging = {self.paging.size: self.paging.rows, **marker}
        parameters = self.combined(self.parameters(keys), dict(fixed), paging)
        encoded = [encode(key) for key in keys]
        if self.keeps_slashes:
            encoded = [key.replace("%2F", "/") for key in encoded]
        path = self.path.format(*encoded)
        query, body = tuple(self.query.items()), b""
        if self.method == "GET":
            texts = {name: str(value) for name, value in parameters.items()}
            query = tuple(sorted(self.combined(self.query, texts).items()))
        else:
            body = orjson.dumps(parameters, option=orjson.OPT_SORT_KEYS)
        only_lists = self.rows is not None and not self.entities
        return Request(
            self.name,
            self.service,
            self.method,
            path,
            query,
            body,
            self.is_complete,
            only_lists,
            response_headers=self.response_headers,
        )

    def combined(self, *parts: Mapping[str, Any]) -> dict[str, Any]:
        """Combine parameters. One that several parts contain is joined, so that all of its conditions hold.

        Raises ValueError if the call has no way to join it: no part ever replaces what another one selects.
        """
        parameters: dict[str, Any] = {}
        for part in parts:
            for name, value in part.items():
                if name not in parameters:
                    parameters[name] = value
                elif name in self.joined:
                    parameters[name] = f"{parameters[name]}{self.joined[name]}{value}"
                else:
                    raise ValueError(f"{self.name} has two values for {name}")
        return parameters


@dataclass(frozen=True, slots=True)
class Stream:
    """One list of a registry. The catalog merges the streams of all registries into one list."""

    name: str
    """The name of the list, unique among the kind's lists of the entity. Cursors contain it."""
    entity: str
    """The type of the rows."""
    call: Call
    """The call that returns the rows."""
    fixed: tuple[tuple[str, Any], ...] = ()
    """The parameters that select this list. Nothing replaces them."""
    defaults: tuple[tuple[str, Any], ...] = ()
    """The parameters that select this list unless a filter sets them: it then selects another part of the registry."""
    constants: Mapping[str, Any] = field(default_factory=dict)
    """The unified fields that have the same value in all rows. A filter for another value skips the list."""

    def parameters(self, order: Mapping[str, Any], filters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters of a request for this list, with those of an order and of filters."""
        defaults = {name: value for name, value in self.defaults if name not in filters}
        return self.call.combined(dict(self.fixed), defaults, order, filters)


@dataclass(frozen=True, slots=True)
class Lookup:
    """How to find an entity that another object refers to by something other than its keys, such as its name."""

    call: Call
    """The call that finds the entity. Its keys are what `Field.read` of the referring field returns."""
    entity: str
    """The type of the entity."""
    find: Callable[[Any, Keys], Keys | None]
    """Returns the entity's keys for the decoded response and the keys of the call, None if it is not there."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Kind:
    """One kind of registry: everything that the gateway knows about a vendor's product."""

    name: str
    """The value of `RegistryKind` in the schema."""
    title: str
    """The name for people."""
    description: str
    """What the product is and what the gateway reads from it, for `RegistryKind` in the schema."""
    settings: type[RegistrySettings]
    """The settings of a registry of this kind."""
    services: Callable[[Any], Mapping[str, str]]
    """Returns the URL of each service for a registry's settings."""
    keys: Mapping[str, tuple[re.Pattern[str], ...]]
    """The patterns of the native keys of each entity. Other keys are `InvalidId` and never reach the registry."""
    calls: tuple[Call, ...]
    """The calls for single entities. Of calls that supply the same fields, the first one is preferred."""
    streams: tuple[Stream, ...]
    """The lists that are merged into those of the schema."""
    probe: Call
    """A cheap call, to test the configuration of a registry."""
    absent: Mapping[str, frozenset[str]]
    """The fields of each entity that no call supplies. They are null. Empty for an entity that the product lacks."""
    credentials: Callable[[Any], Credentials]
    """Returns the static credentials in a registry's settings."""
    cloud_key: Callable[[Any, SourceContext], Load | None] = lambda settings, context: None
    """Returns how to load the access key that the cloud supplies, None if a registry's settings name no such source."""
    assumed_role: Callable[[Any, SourceContext], AssumeRole | None] = lambda settings, context: None
    """Returns how to assume the role in a registry's settings, None if they have no role."""
    role_variables: tuple[str, ...] = ()
    """The environment variables that tell whose key `cloud_key` loads."""
    sign: Callable[[Request, str, Credentials, datetime, str], Mapping[str, str]]
    """Returns the headers to send for (request, host, credentials, current time, nonce)."""
    headers: Callable[[Any], Mapping[str, str]] = lambda settings: {}
    """Returns further headers of every request, for a registry's settings. They are not signed."""
    with_settings: Callable[[Any, Request], Request] = lambda settings, request: request
    """Returns a request with what only a registry's settings contain, such as the region of its signature."""
    check: Callable[[str, Response], RegistryError | None]
    """Returns the error that a response reports to the registry with this name, None if it is a success."""
    lookups: Mapping[str, Lookup] = field(default_factory=dict)
    """The lookups, by the names that `Field.lookup` refers to."""
    canonical: Mapping[str, tuple[re.Pattern[str], ...]] = field(default_factory=dict)
    """The patterns of canonical keys, for entities that can have several keys."""
    keyed_by_name: frozenset[str] = frozenset()
    """The entities whose own key is their name."""
    quota: Quota = Quota()
    """How many calls of one name an account makes, unless the settings replace it: somewhat less than the product's
    documented quota."""
    response_keys: frozenset[str] = frozenset()
    """The keys of a raw object that belong to the response, such as a request id, and change with every response."""
    generation: Callable[[Any], "Kind"] | None = None
    """Returns the kind for a registry's settings, for products whose API has several generations."""

    def of(self, settings: RegistrySettings) -> "Kind":
        """Return the kind for a registry with these settings."""
        return self if self.generation is None else self.generation(settings)

    def is_canonical(self, entity: str, keys: Keys) -> bool:
        """Return whether keys are certainly canonical."""
        patterns = self.canonical.get(entity)
        return patterns is None or all(p.fullmatch(key) for p, key in zip(patterns, keys, strict=True))

    @cached_property
    def calls_by_entity(self) -> Mapping[str, Sequence[tuple[Call, tuple[EntityLayout, ...]]]]:
        """The calls that return each entity, with the layouts of the entity in the response."""
        return self._calls(lambda part: part.layout)

    @cached_property
    def owner_calls_by_entity(self) -> Mapping[str, Sequence[tuple[Call, tuple[EntityLayout, ...]]]]:
        """The calls that return each entity together with its owner, with the layouts of the owner."""
        return self._calls(lambda part: part.layout.owner)

    def _calls(
        self, layout_of: Callable[[EntityInAnswer], EntityLayout | None]
    ) -> Mapping[str, Sequence[tuple[Call, tuple[EntityLayout, ...]]]]:
        calls_by_entity: dict[str, list[tuple[Call, tuple[EntityLayout, ...]]]] = {entity: [] for entity in self.keys}
        for call in self.calls:
            for entity, calls in calls_by_entity.items():
                layouts = tuple(
                    layout for part in call.entities if part.layout.entity == entity if (layout := layout_of(part))
                )
                if layouts:
                    calls.append((call, layouts))
        return calls_by_entity

    @property
    def capabilities(self) -> list[str]:
        """The values of `Capability` in the schema for the entities that the kind lists."""
        listed = {stream.entity for stream in self.streams}
        return [capability for entity, capability in CAPABILITIES.items() if entity in listed]

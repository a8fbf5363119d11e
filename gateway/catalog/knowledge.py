"""What answers said of objects in one operation: in which forms, in the order in which they came."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from gateway.catalog.ids import Ref
from gateway.catalog.plan import Bound, keys_of
from gateway.catalog.registry import Registry
from gateway.catalog.told import Told, row
from gateway.registries.fields import EntityLayout, Raw
from gateway.registries.kind import Kind
from gateway.upstream.caching_client import Answer

Derived = dict[Any, Any]
"""What was worked out from an answer, for all who share it."""

Said = tuple[EntityLayout, Raw, Derived | None]
"""What an answer said of an object: in which form, and what was worked out from the answer, if it is about this object.
"""


Heard = tuple[Ref, Ref | None, Sequence[Bound], Sequence[Answer]]
"""An object, the one that it belongs to, if something was asked of that, too, and the calls whose answers told of them.
"""


class Telling(Protocol):
    """A list of all or some of an object's versions, and what it tells of them."""

    @property
    def told(self) -> Told: ...


class Knowledge:
    """What is known of each object, and which calls were tried for it. Answers that were read are remembered as such
    until something is asked, pages of lists until something of an object in them is, lists of an object's versions
    until something of a version is."""

    def __init__(self, registries: Mapping[str, Registry]) -> None:
        self.registries = registries
        self._unread: dict[Ref, Told] = {}
        self._heard: list[Heard] = []
        self._tried: dict[Ref, set[Bound]] = {}
        self._lists: dict[Ref, Telling] = {}
        self._knows_versions = False
        self._known: dict[Ref, list[Said]] = {}

    def learn(self, ref: Ref, shape: EntityLayout, raw: Raw, derived: Derived | None = None) -> None:
        """Remember what an answer said of an object; ``derived`` is what was worked out from the answer, if it is
        about this object."""
        known = self.said(ref)
        if not known:
            self._known[ref] = [(shape, raw, derived)]
            self._knows_versions |= len(ref.keys) > 1
        elif all(raw is not said for _, said, _ in known):
            self._known[ref].append((shape, raw, derived))
        else:
            return
        if shape.owner is not None:
            self.learn(ref.owner, shape.owner, raw)

    def learn_page(self, told: Told) -> None:
        """Remember what a page of a list said of its objects, when something of them is asked."""
        self._learn_heard()
        if self._known.keys().isdisjoint(told.raws) and self._unread.keys().isdisjoint(told.raws):
            self._unread |= dict.fromkeys(told.raws, told)
            return
        for ref, raw in told.raws.items():
            before = self._unread.setdefault(ref, told) if ref not in self._known else None
            if before is not told:
                self.learn(ref, told.shape, raw)

    def learn_versions(self, owner: Ref, telling: Telling) -> None:
        """Remember what a list said of an object's versions, of which nothing was known but that."""
        self._lists[owner] = telling

    def learn_child(self, ref: Ref, shape: EntityLayout, raw: Raw) -> Ref | None:
        """Remember a version that an answer about its owner described; None when it has no key."""
        key = shape.key(raw)
        if key is None:
            return None
        child = (self.canonical(ref) or ref).version(key)
        self.learn(child, shape, raw)
        return child

    def learn_row(self, registry: str, shape: EntityLayout, raw: Raw) -> None:
        """Remember an object that a list described, if it has a key."""
        ref = row(registry, shape, raw)
        if ref is not None:
            self.learn(ref, shape, raw)

    def learn_answer(self, ref: Ref, bound: Bound, answer: Answer) -> None:
        """Remember what a call's answer says of an object, if it is one that the call was made for."""
        entity, call = ref.entity, bound.call
        for part in call.parts:
            if part.shape.entity == entity and bound.keys == keys_of(ref, call):
                raw = part.locate(answer.document, ref.keys)
                if raw is not None:
                    self.learn(ref, part.shape, raw, answer.derived)
                    canonical = self.canonical(ref)
                    if canonical is not None and canonical != ref:
                        self.learn(canonical, part.shape, raw, answer.derived)

    def hear(self, ref: Ref, owner: Ref | None, bounds: Sequence[Bound], answers: Sequence[Answer]) -> None:
        """Remember which answers told of an object, and of the one that it belongs to, what was asked of them."""
        self._heard.append((ref, owner, bounds, answers))

    def _learn_heard(self) -> None:
        heard, self._heard = self._heard, []
        for ref, owner, bounds, answers in heard:
            for bound, answer in zip(bounds, answers, strict=True):
                self.learn_answer(ref, bound, answer)
            for one in (ref,) if owner is None else (ref, owner):
                self._tried.setdefault(one, set()).update(bounds)

    def tried(self, ref: Ref) -> Collection[Bound]:
        """The calls that were tried for an object."""
        if self._heard:
            self._learn_heard()
        return self._tried.get(ref, ())

    def said(self, ref: Ref) -> Sequence[Said]:
        """What answers said of an object, in the order in which they came."""
        if self._heard:
            self._learn_heard()
        if self._lists and len(ref.keys) > 1:
            telling = self._lists.pop(ref.owner, None)
            if telling is not None:
                self._knows_versions = True
                self._unread |= dict.fromkeys(telling.told.raws, telling.told)
        told = self._unread.pop(ref, None) if self._unread else None
        if told is not None:
            self.learn(ref, told.shape, told.raws[ref])
        return self._known.get(ref, ())

    def hears_first_of(self, owner: Ref, telling: Telling) -> bool:
        """Whether nothing is known of an object's versions but what this list tells."""
        if owner in self._lists:
            return self._lists[owner] is telling
        if not self._knows_versions:
            return True
        told, unread = telling.told, self._unread
        return self._known.keys().isdisjoint(told.raws) and all(unread.get(ref, told) is told for ref in told.raws)

    def canonical(self, ref: Ref) -> Ref | None:
        """The reference under which its registry knows the object best; None while that is not known."""
        kind = self.registries[ref.registry].kind
        if is_canonical(kind, ref):
            return ref
        for shape, raw, _ in self.said(ref):
            if shape.whole:
                owner = shape.parent(raw)
                keys = (ref.keys[0] if owner is None else owner,) if len(ref.keys) > 1 else ()
                return Ref(ref.registry, ref.entity, (*keys, shape.key(raw) or ref.keys[-1]))
        return None

    def named(self, ref: Ref, name: str) -> Ref:
        """The version of that name, where names are keys; what the latest version is known to be is not asked again."""
        child = ref.version(name)
        if not self.said(child):
            for shape, raw, _ in self.said(ref):
                latest = shape.fields.get("latest_version")
                if latest is None or latest.shape is None:
                    continue
                said = latest.read(raw)
                if isinstance(said, Mapping) and latest.shape.key(said) == name:
                    self.learn(child, latest.shape, said)
        return child


def is_canonical(kind: Kind, ref: Ref) -> bool:
    """Whether a reference is surely the one under which its registry knows the object best."""
    return ref.entity not in kind.canonical or kind.is_canonical(ref.entity, ref.keys)

"""Filters of PAI's lists: the predicate of each query parameter."""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from gateway.twins.rows import Json, PaiModel, folded
from gateway.twins.wire_formats import CloudError

T = TypeVar("T")
Predicate = Callable[[T], bool]


def invalid(name: str) -> CloudError:
    return CloudError("InvalidParameter", f"The specified parameter {name} is not valid.")


def _contains(text: str) -> Predicate[object]:
    part = folded(text)
    return lambda value: isinstance(value, str) and part in folded(value)


def _name(text: str) -> Predicate[object]:
    """Match a substring, or the exact name if it is in double quotes."""
    if len(text) > 1 and text[0] == text[-1] == '"':
        return lambda value: value == text[1:-1]
    return _contains(text)


def _label_texts(document: Json) -> Iterable[object]:
    return (pair.get(side) for pair in document.get("Labels") or () for side in ("Key", "Value"))


def _equals(name: str) -> Callable[[str], Predicate[Json]]:
    return lambda text: lambda document: document.get(name) == text


def _fuzzy(name: str, build: Callable[[str], Predicate[object]] = _contains) -> Callable[[str], Predicate[Json]]:
    def built(text: str) -> Predicate[Json]:
        predicate = build(text)
        return lambda document: predicate(document.get(name))

    return built


def _label(text: str) -> Predicate[Json]:
    contains = _contains(text)
    return lambda document: any(map(contains, _label_texts(document)))


def _query(text: str) -> Predicate[Json]:
    contains = _contains(text)
    return lambda document: (
        any(map(contains, [document.get(name) for name in ("ModelName", "Domain", "Task")]))
        or any(map(contains, _label_texts(document)))
    )


def _objects(text: str, name: str) -> list[Json]:
    try:
        items = json.loads(text)
    except ValueError:
        raise invalid(name) from None
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise invalid(name)
    return items


def _tag(text: str) -> Predicate[PaiModel]:
    wanted = [(item.get("Key"), item.get("Value")) for item in _objects(text, "Tag")]

    def matches(model: PaiModel) -> bool:
        tags = [(tag["Key"], tag["Value"]) for tag in model.listed.get("Tags") or ()]
        return all(any(key == k and value in (None, v) for k, v in tags) for key, value in wanted)

    return matches


def _conditions(text: str) -> Predicate[PaiModel]:
    limits = []
    for item in _objects(text, "Conditions"):
        if (item.get("Column"), item.get("Operator")) != ("ParameterSize", "LessThan"):
            raise invalid("Conditions")
        try:
            limits.append(int(item["Value"]))
        except (KeyError, TypeError, ValueError):
            raise invalid("Conditions") from None

    def matches(model: PaiModel) -> bool:
        size = model.head.get("ParameterSize")
        return size is not None and all(size < limit for limit in limits)

    return matches


def _on_head(build: Callable[[str], Predicate[Json]]) -> Callable[[str], Predicate[PaiModel]]:
    def built(text: str) -> Predicate[PaiModel]:
        predicate = build(text)
        return lambda model: predicate(model.head)

    return built


def _collections(text: str) -> Predicate[PaiModel]:
    wanted = set(text.split(","))
    return lambda model: not wanted.isdisjoint(model.collections)


MODEL_FILTERS: Mapping[str, Callable[[str], Predicate[PaiModel]]] = {
    "Collections": _collections,
    "Conditions": _conditions,
    "Domain": _on_head(_equals("Domain")),
    "Label": _on_head(_label),
    "ModelName": _on_head(_fuzzy("ModelName", _name)),
    "ModelType": _on_head(_equals("ModelType")),
    "Origin": _on_head(_equals("Origin")),
    "Query": _on_head(_query),
    "Tag": _tag,
    "Task": _on_head(_equals("Task")),
    "WorkspaceId": _on_head(_equals("WorkspaceId")),
}
VERSION_FILTERS: Mapping[str, Callable[[str], Predicate[Json]]] = {
    "ApprovalStatus": _equals("ApprovalStatus"),
    "FormatType": _equals("FormatType"),
    "FrameworkType": _equals("FrameworkType"),
    "Label": _label,
    "SourceId": _equals("SourceId"),
    "SourceType": _equals("SourceType"),
    "VersionName": _fuzzy("VersionName"),
}
ALGORITHM_FILTERS: Mapping[str, Callable[[str], Predicate[Json]]] = {
    "AlgorithmId": _equals("AlgorithmId"),
    "AlgorithmName": _fuzzy("AlgorithmName"),
    "WorkspaceId": _equals("WorkspaceId"),
}
WORKSPACE_FILTERS: Mapping[str, Callable[[str], Predicate[Json]]] = {
    "Status": _equals("Status"),
    "WorkspaceIds": lambda text: lambda document: document["WorkspaceId"] in text.split(","),
    "WorkspaceName": _fuzzy("WorkspaceName"),
}

"""PAI's list filters: each parameter's name and the test that its text stands for."""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from gateway.twins.rows import Json, PaiModel
from gateway.twins.wire_formats import Refused

T = TypeVar("T")
Test = Callable[[T], bool]


def invalid(name: str) -> Refused:
    return Refused("InvalidParameter", f"The specified parameter {name} is not valid.")


def _holds(text: str) -> Test[object]:
    folded = text.casefold()
    return lambda value: isinstance(value, str) and folded in value.casefold()


def _name(text: str) -> Test[object]:
    """Fuzzy, or exact for a name in double quotes."""
    if len(text) > 1 and text[0] == text[-1] == '"':
        return lambda value: value == text[1:-1]
    return _holds(text)


def _label_texts(document: Json) -> Iterable[object]:
    return (pair.get(side) for pair in document.get("Labels") or () for side in ("Key", "Value"))


def _equals(name: str) -> Callable[[str], Test[Json]]:
    return lambda text: lambda document: document.get(name) == text


def _fuzzy(name: str, build: Callable[[str], Test[object]] = _holds) -> Callable[[str], Test[Json]]:
    def built(text: str) -> Test[Json]:
        test = build(text)
        return lambda document: test(document.get(name))

    return built


def _label(text: str) -> Test[Json]:
    holds = _holds(text)
    return lambda document: any(map(holds, _label_texts(document)))


def _query(text: str) -> Test[Json]:
    holds = _holds(text)
    return lambda document: (
        any(map(holds, [document.get(name) for name in ("ModelName", "Domain", "Task")]))
        or any(map(holds, _label_texts(document)))
    )


def _objects(text: str, name: str) -> list[Json]:
    try:
        items = json.loads(text)
    except ValueError:
        raise invalid(name) from None
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise invalid(name)
    return items


def _tag(text: str) -> Test[PaiModel]:
    wanted = [(item.get("Key"), item.get("Value")) for item in _objects(text, "Tag")]

    def matches(model: PaiModel) -> bool:
        tags = [(tag["Key"], tag["Value"]) for tag in model.listed.get("Tags") or ()]
        return all(any(key == k and value in (None, v) for k, v in tags) for key, value in wanted)

    return matches


def _conditions(text: str) -> Test[PaiModel]:
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


def _of_head(build: Callable[[str], Test[Json]]) -> Callable[[str], Test[PaiModel]]:
    def built(text: str) -> Test[PaiModel]:
        test = build(text)
        return lambda model: test(model.head)

    return built


def _collections(text: str) -> Test[PaiModel]:
    wanted = set(text.split(","))
    return lambda model: not wanted.isdisjoint(model.collections)


MODEL_FILTERS: Mapping[str, Callable[[str], Test[PaiModel]]] = {
    "Collections": _collections,
    "Conditions": _conditions,
    "Domain": _of_head(_equals("Domain")),
    "Label": _of_head(_label),
    "ModelName": _of_head(_fuzzy("ModelName", _name)),
    "ModelType": _of_head(_equals("ModelType")),
    "Origin": _of_head(_equals("Origin")),
    "Query": _of_head(_query),
    "Tag": _tag,
    "Task": _of_head(_equals("Task")),
    "WorkspaceId": _of_head(_equals("WorkspaceId")),
}
VERSION_FILTERS: Mapping[str, Callable[[str], Test[Json]]] = {
    "ApprovalStatus": _equals("ApprovalStatus"),
    "FormatType": _equals("FormatType"),
    "FrameworkType": _equals("FrameworkType"),
    "Label": _label,
    "SourceId": _equals("SourceId"),
    "SourceType": _equals("SourceType"),
    "VersionName": _fuzzy("VersionName"),
}
ALGORITHM_FILTERS: Mapping[str, Callable[[str], Test[Json]]] = {
    "AlgorithmId": _equals("AlgorithmId"),
    "AlgorithmName": _fuzzy("AlgorithmName"),
    "WorkspaceId": _equals("WorkspaceId"),
}
WORKSPACE_FILTERS: Mapping[str, Callable[[str], Test[Json]]] = {
    "Status": _equals("Status"),
    "WorkspaceIds": lambda text: lambda document: document["WorkspaceId"] in text.split(","),
    "WorkspaceName": _fuzzy("WorkspaceName"),
}

"""Bills of materials of model versions (ML-BOM): the fields that they need, and the document of a record.

A document contains what the registry says in fields of the schema. It lists what the registry does not say, and invents
nothing. Source: CycloneDX 1.6 (ECMA-424).
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID, uuid5

from gateway import __version__
from gateway.catalog.ids import Ref
from gateway.catalog.record_readers import Record
from gateway.catalog.selection import NO_FIELDS, FieldRequest, Selection, to_camel_case

NAMESPACE: Final = UUID("c14ff388-0a8b-46c1-835b-c588fb98fb40")
"""The namespace of serial numbers (RFC 9562, section 5.5)."""

PREFIX: Final = "gateway:"
"""The first part of the names of properties that CycloneDX does not define."""
AGE: Final = f"{PREFIX}age"
"""The property with the age of the oldest answer in use, in whole seconds."""
NOT_SAID: Final = f"{PREFIX}notSaid"
"""The property with the name of a fact that the registry does not say. There is one for each such fact."""

NO_FIELD: Final = ("hashes", "approach", "considerations")
"""Facts about a machine learning model in CycloneDX for which the schema has no field."""

MODEL: Final = "machine-learning-model"
is_iri_reference = re.compile(r"[^\x00-\x20<>\"{}|\\^`\x7f]+").fullmatch
"""Matches text that can be an IRI reference (RFC 3987). Other text, such as a path with a space, is a property."""

VERSION_PROPERTIES: Final = ("readiness", "approval", "created_at", "updated_at")
MODEL_PROPERTIES: Final = ("origin", "type", "domain", "parameter_count")
WITH_NATIVE_NAME: Final = ("format", "framework", "stage")
"""Fields of a version with a further field for the registry's own name, which is preferred."""
SOURCE: Final = ("type", "type_name", "native_id", "kind", "task_id", "task_name", "run_id")
TRAINING: Final = ("name", "provider", "version", "method")
DATASET: Final = ("native_id", "name", "uri", "digest")

Properties = list[dict[str, str]]


def selected(*names: str, **nested: Selection) -> Selection:
    """Return a selection of fields, some with sub-selections."""
    below = dict.fromkeys(names, NO_FIELDS) | nested
    return Selection({FieldRequest(name): selection for name, selection in below.items()})


LABELS, OWNER = selected("key", "value"), selected("name", "native_id")
BOM_FIELDS: Final = selected(
    *("id", "name", "description", "uri", "base_model", "license", "license_id", "copyright"),
    *VERSION_PROPERTIES,
    *WITH_NATIVE_NAME,
    *(f"{name}_name" for name in WITH_NATIVE_NAME),
    labels=LABELS,
    owner=OWNER,
    source=selected(*SOURCE),
    trained_with=selected(*TRAINING),
    parameters=selected("name", "value"),
    evaluations=selected(dataset=selected(*DATASET), metrics=selected("name", "value", "text")),
    model=selected(
        *("name", "native_id", "description", "documentation_url", "provider", "task"),
        *MODEL_PROPERTIES,
        labels=LABELS,
        owner=OWNER,
    ),
)
"""The fields of a model version from which its document is made."""


def bill_of_materials(ref: Ref, record: Record, received_at: float, age: float) -> Mapping[str, Any]:
    """Return the document of a version whose record has `BOM_FIELDS`.

    ``received_at`` is when the oldest answer in use was received, in seconds since 1970; ``age`` is how old it is, in
    seconds.
    """
    model = record["model"] or dict.fromkeys([request.field for request in BOM_FIELDS[FieldRequest("model")]])
    moment = datetime.fromtimestamp(received_at, UTC).isoformat(timespec="seconds")
    unsaid = [*not_said(record, model), *NO_FIELD]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": uuid5(NAMESPACE, record["id"]).urn,
        "version": 1,
        "metadata": {
            "timestamp": moment.replace("+00:00", "Z"),
            "tools": {
                "components": [{"type": "application", "name": "registry-gateway", "version": __version__}],
            },
            "component": component(ref, record, model),
            "properties": [*properties({AGE: int(age)}), *({"name": NOT_SAID, "value": name} for name in unsaid)],
        },
    }


def component(ref: Ref, record: Record, model: Record) -> dict[str, Any]:
    """Return the component of a version. Its name is that of the model or, without one, the model's native id."""
    base = record["base_model"]
    own = [*own_properties(record, model), *referenced_as_text(record, model)]
    return present(
        {
            "type": MODEL,
            "bom-ref": record["id"],
            "name": model["name"] or model["native_id"] or ref.keys[0],
            "version": record["name"],
            "description": record["description"] or model["description"],
            "supplier": model["provider"] and {"name": model["provider"]},
            "licenses": licenses(record),
            "copyright": record["copyright"],
            "pedigree": base and {"ancestors": [{"type": MODEL, "name": base}]},
            "externalReferences": external_references(record, model),
            "modelCard": model_card(record, model),
            "properties": own,
        }
    )


def licenses(record: Record) -> list[dict[str, Any]]:
    """Return the license: an SPDX expression, else its name."""
    if record["license_id"]:
        return [{"expression": record["license_id"]}]
    return [{"license": {"name": record["license"]}}] if record["license"] else []


def references(record: Record, model: Record) -> Iterator[tuple[str, str, str]]:
    """Yield type, name and address of the references that the registry supplies."""
    for type, name, address in (
        ("distribution", "uri", record["uri"]),
        ("documentation", "model.documentationUrl", model["documentation_url"]),
    ):
        if address:
            yield type, name, address


def external_references(record: Record, model: Record) -> list[dict[str, str]]:
    return [
        {"type": type, "url": address} for type, _, address in references(record, model) if is_iri_reference(address)
    ]


def referenced_as_text(record: Record, model: Record) -> Properties:
    """Return the addresses that cannot be external references."""
    return properties(
        {f"{PREFIX}{name}": address for _, name, address in references(record, model) if not is_iri_reference(address)}
    )


def model_card(record: Record, model: Record) -> dict[str, Any]:
    """Return the model card: task, datasets, measured values, and the parameters of the run."""
    evaluations = record["evaluations"] or ()
    datasets = {tuple(one["dataset"].items()): one["dataset"] for one in evaluations if one["dataset"]}
    metrics = [
        present(
            {
                "type": metric["name"],
                "value": metric["text"] if metric["value"] is None else str(metric["value"]),
                "slice": dataset_name(one["dataset"]),
            }
        )
        for one in evaluations
        for metric in one["metrics"] or ()
    ]
    parameters = [
        {"name": f"{PREFIX}parameter:{parameter['name'] or ''}", **present({"value": parameter["value"]})}
        for parameter in record["parameters"] or ()
    ]
    return present(
        {
            "modelParameters": present({"task": model["task"], "datasets": [*map(dataset_of, datasets.values())]}),
            "quantitativeAnalysis": present({"performanceMetrics": metrics}),
            "properties": parameters,
        }
    )


def dataset_of(dataset: Record) -> dict[str, Any]:
    """Return a dataset of an evaluation."""
    uri, is_url = dataset["uri"], bool(dataset["uri"] and is_iri_reference(dataset["uri"]))
    facts = {f"{PREFIX}{name}": dataset[key] for name, key in (("nativeId", "native_id"), ("digest", "digest"))}
    if not is_url:
        facts[f"{PREFIX}uri"] = uri
    contents = present({"url": uri if is_url else None, "properties": properties(facts)})
    return present({"type": "dataset", "name": dataset["name"], "contents": contents})


def dataset_name(dataset: Record | None) -> Any:
    return dataset and (dataset["name"] or dataset["native_id"] or dataset["uri"])


def own_properties(record: Record, model: Record) -> Properties:
    """Return what the schema says and CycloneDX has no place for."""
    facts = {f"{PREFIX}{to_camel_case(name)}": record[name] for name in VERSION_PROPERTIES}
    facts |= {f"{PREFIX}{name}": record[f"{name}_name"] or record[name] for name in WITH_NATIVE_NAME}
    facts |= {f"{PREFIX}model.{to_camel_case(name)}": model[name] for name in MODEL_PROPERTIES}
    facts |= {f"{PREFIX}owner": owner_name(record["owner"]), f"{PREFIX}model.owner": owner_name(model["owner"])}
    facts |= {f"{PREFIX}source.{to_camel_case(name)}": (record["source"] or {}).get(name) for name in SOURCE}
    listed = [
        *labels("label", record["labels"]),
        *labels("model.label", model["labels"]),
        *(
            entry
            for training in record["trained_with"] or ()
            for entry in properties({f"{PREFIX}trainedWith.{name}": training[name] for name in TRAINING})
        ),
    ]
    return [*properties(facts), *listed]


def owner_name(owner: Record | None) -> Any:
    return owner and (owner["name"] or owner["native_id"])


def labels(name: str, listed: Iterable[Record] | None) -> Iterator[dict[str, str]]:
    """Yield a property for each label. A tag without a value is a property without one."""
    for label in listed or ():
        yield {"name": f"{PREFIX}{name}:{label['key'] or ''}", **present({"value": label["value"]})}


def not_said(record: Record, model: Record) -> Iterator[str]:
    """Yield the names of the facts that the registry does not supply, as the schema calls them."""
    native_names = {f"{name}_name" for name in WITH_NATIVE_NAME}
    for request in BOM_FIELDS:
        name = request.field
        alternative = record.get(f"{name}_name") if name in WITH_NATIVE_NAME else None
        if name not in ("license_id", "model", *native_names) and not (record[name] or alternative):
            yield to_camel_case(name)
    for request in BOM_FIELDS[FieldRequest("model")]:
        if model[request.field] in (None, []):
            yield f"model.{to_camel_case(request.field)}"


def properties(facts: Mapping[str, Any]) -> Properties:
    """Return facts as properties, without those that are null."""
    return [{"name": name, "value": str(value)} for name, value in facts.items() if value is not None]


def present(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts that are there: neither null nor empty."""
    return {name: value for name, value in facts.items() if value not in (None, "", [], {})}


def failure_in(value: Any) -> Exception | None:
    """Return the first error in a record, None if it has none."""
    if isinstance(value, Exception):
        return value
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return next((failure for each in inner if (failure := failure_in(each)) is not None), None)

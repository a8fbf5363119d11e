"""What is known of an object, put into its record as far as it was asked for; and what is left then."""

from typing import TYPE_CHECKING, Any

from gateway.catalog import connections
from gateway.catalog.ids import Ref
from gateway.catalog.indirect import look_up, put_newest
from gateway.catalog.knowledge import is_canonical
from gateway.catalog.pending import Missing, Pending, Putting
from gateway.catalog.plan import filtering, says
from gateway.catalog.record_readers import Reading, Record
from gateway.catalog.selection import DEFERRED, EXISTS, FieldRequest, Selection
from gateway.registries.fields import NOT_PROVIDED, EntityLayout, Field, Raw, Rows

if TYPE_CHECKING:
    from gateway.catalog.operation import Operation


def settle(operation: "Operation", record: Record, ref: Ref, selection: Selection, left: Pending) -> None:
    """Put what is known of an object into its record; the rest is ``left``."""
    said = operation.said(ref)
    kind = operation.registries[ref.registry].kind
    canonical = is_canonical(kind, ref)
    if said:
        shape, raw, _ = said[0]
        reading = Reading.of(selection, kind, ref.entity, shape, canonical)
        record |= reading.read(raw, ref)
    else:
        reading = Reading.of(selection, kind, ref.entity, None, canonical)
        record |= reading.read({}, ref)
    missing = reading.untold
    if reading.rest:
        more = {
            ask: below for ask, below in reading.rest.items() if not field(operation, record, ref, ask, below, left)
        }
        if more:
            missing = selection.part({ask: selection[ask] for ask in selection if ask in missing or ask in more})
    if missing:
        left.missing.append(Missing(record, ref, missing, len(said)))


def field(
    operation: "Operation", record: Record, ref: Ref, ask: FieldRequest, selection: Selection, left: Pending
) -> bool:
    """Put one field into the record if all that it needs is known; nested objects are ``left``."""
    registry = operation.registries[ref.registry]
    name = ask.field
    if name == "registry":
        record[name] = registry.record()
    elif name in ("id", "native_id"):
        canonical = operation.canonical(ref)
        if canonical is None:
            return False
        record[name] = str(canonical) if name == "id" else canonical.keys[-1]
    elif name in ("model", "algorithm"):
        owner = ref.owner
        operation.versions.setdefault(owner, {})[ref] = None
        left.put.append(Putting(record, ask, owner, selection))
    elif name == "version" and ref.version("").entity in registry.kind.named:
        left.put.append(Putting(record, ask, operation.named(ref, ask.argument("name")), selection))
    elif name in registry.kind.absent[ref.entity]:
        record[name] = None
    elif name == "versions" and (listed := filtering(registry.kind, ref.entity, ask)) is not None:
        left.waits.append(connections.put_versions(operation, record, ask, ref, listed, None, selection))
    elif ask == EXISTS:
        return existence(operation, record, ref)
    elif ask == DEFERRED:
        record[name] = operation.later(record, ref, selection)
    else:
        return from_sources(operation, record, ref, ask, selection, left)
    return True


def existence(operation: "Operation", record: Record, ref: Ref) -> bool:
    for shape, raw, _ in operation.said(ref):
        lists = [] if shape.whole else [listed.read(raw) for listed in shape.fields.values()]
        if shape.whole or any(isinstance(rows, Rows) and rows.items for rows in lists):
            record[EXISTS.field] = True
            return True
    return False


def from_sources(
    operation: "Operation", record: Record, ref: Ref, ask: FieldRequest, selection: Selection, left: Pending
) -> bool:
    name = "versions" if ask.field == "version" else ask.field
    for shape, raw, derived in operation.said(ref):
        field = shape.fields.get(name)
        if field is None or not says(field, selection):
            continue
        value = field.read(raw)
        if value is NOT_PROVIDED:
            continue
        if field.shape is None:
            record[ask.key] = projected(operation, ref, field, value, selection, left)
        elif ask.field == "versions":
            kept = connections.told_versions(operation, ref, ask, selection, field, value, derived)
            if kept is not None:
                record[ask.key] = kept
                return True
            left.waits.append(connections.put_versions(operation, record, ask, ref, field, value, selection))
        elif ask.field == "version":
            name_of = field.shape.fields["name"].read
            found = next((row for row in value.items if name_of(row) == ask.argument("name")), None)
            child(operation, record, ask, ref, field.shape, found, selection, left)
        elif isinstance(value, Rows):
            left.waits.append(put_newest(operation, record, ask, ref, field.shape, value, selection))
        else:
            child(operation, record, ask, ref, field.shape, value, selection, left)
        return True
    return False


def child(
    operation: "Operation",
    record: Record,
    ask: FieldRequest,
    ref: Ref,
    shape: EntityLayout,
    raw: Raw | None,
    selection: Selection,
    left: Pending,
) -> None:
    found = None if raw is None else operation.learn_child(ref, shape, raw)
    if found is None:
        record[ask.key] = None
    else:
        record[ask.key] = nested = Record()
        settle(operation, nested, found, selection, left)


def projected(operation: "Operation", ref: Ref, field: Field, value: Any, selection: Selection, left: Pending) -> Any:
    """The value of a field that is no entity: converted, nested objects cut down to what is asked."""
    if field.table is None or value is None:
        return value
    if isinstance(value, list):
        return [projected(operation, ref, field, item, selection, left) for item in value]
    record: Record = {}
    for ask, below in selection.items():
        inner = field.table[ask.field]
        read = inner.read(value)
        if inner.lookup is not None and read is not None:
            left.waits.append(look_up(operation, record, ask, ref.registry, inner.lookup, read, below))
        else:
            record[ask.key] = projected(operation, ref, inner, read, below, left)
    return record

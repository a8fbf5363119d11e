"""Objects that another one names only indirectly: its newest version, and what has to be looked up elsewhere."""

from typing import TYPE_CHECKING, Final

from gateway.catalog.ids import Ref
from gateway.catalog.pending import Pending, Putting
from gateway.catalog.plan import Bound
from gateway.catalog.record_readers import Record
from gateway.catalog.selection import FieldRequest, Selection
from gateway.errors import NotFound, RegistryError
from gateway.registries.fields import EntityLayout, Rows, as_moment
from gateway.registries.kind import Keys

if TYPE_CHECKING:
    from gateway.catalog.operation import Operation

CREATED: Final = Selection.of({FieldRequest("created_at"): {}})


async def put_newest(
    operation: "Operation",
    record: Record,
    ask: FieldRequest,
    ref: Ref,
    shape: EntityLayout,
    rows: Rows,
    selection: Selection,
) -> None:
    """Put the version that was created last into a record; when each was is asked first."""
    versions: list[tuple[Record, Ref, Selection]] = [
        ({}, child, CREATED) for raw in rows.items if (child := operation.learn_child(ref, shape, raw))
    ]
    await operation.fill(versions)
    times = [(version["created_at"], child) for version, child, _ in versions]
    failed = next((time for time, _ in times if isinstance(time, RegistryError)), None)
    if failed is not None or not times:
        record[ask.key] = failed
        return
    newest = max((as_moment(time), child) for time, child in times)[1]
    record[ask.key] = nested = Record()
    await operation.fill([(nested, newest, selection)])


async def look_up(
    operation: "Operation",
    record: Record,
    ask: FieldRequest,
    registry: str,
    name: str,
    keys: Keys,
    selection: Selection,
) -> None:
    """Put the object into a record that another one names by something else than its keys."""
    lookup = operation.registries[registry].kind.lookups[name]
    try:
        document = (await operation.answer(Bound(registry, lookup.call, lookup.call.keys(keys)))).document
    except NotFound:
        record[ask.key] = None
        return
    except RegistryError as error:
        record[ask.key] = error
        return
    rows = lookup.call.rows
    if rows is not None and rows.shape is not None:
        for raw in rows.read(document).items:
            operation.learn_row(registry, rows.shape, raw)
    found = lookup.find(document, keys)
    if found is None:
        record[ask.key] = None
    else:
        left = Pending()
        operation.put(Putting(record, ask, Ref(registry, lookup.entity, found), selection), left)
        await left.close()

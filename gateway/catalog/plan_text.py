"""Query plans as text, with one line per node and nested nodes indented.

    Fetch CALL: fields      one upstream call and the fields that it supplies
    Fetch A or B: fields    any one of these calls supplies the fields; below it is what follows the first
    Parallel                steps that start together
    ForEach PATH            the plan for each row of a page
    ForEach PATH candidate  the plan that finds the newest of the rows
    IfMissing fields        the steps for fields that the answers so far do not contain
    Resolve PATH            the plan of a related object, or of the fields of a bill of materials
    Deferred                the plan of the fields that `@defer` delivers later

Nodes below a `Fetch` run after it.
"""

from collections.abc import Iterator, Sequence

from gateway.catalog.query_plan import (
    CREATED_AT,
    AliasedVersionResolver,
    BomResolver,
    ChildResolver,
    DeferredResolver,
    EntityPlan,
    Fetch,
    ListedVersionResolver,
    NamedVersionResolver,
    OwnerResolver,
    Resolver,
    ValueResolver,
    VersionList,
    VersionsResolver,
    lookup_plan,
)
from gateway.catalog.registry import Registry
from gateway.catalog.selection import EXISTS, FieldRequest, Selection, initial_rows, sub_selection, to_camel_case
from gateway.registries.fields import NOT_PROVIDED, EntityLayout, Field, Rows
from gateway.registries.kind import Kind

INDENT = "  "


def plan_text(plan: EntityPlan) -> str:
    """Return the plan of one entity as text."""
    return "\n".join(entity_lines(plan))


def list_text(registries: Sequence[Registry], entity: str, selection: Selection) -> str:
    """Return the plan of a merged page of all objects of a type, without a filter, as text."""
    streams = [
        (registry, stream) for registry in registries for stream in registry.kind.streams if stream.entity == entity
    ]
    lines = parallel([[f"Fetch {registry.name} {stream.call.name} ({stream.name})"] for registry, stream in streams])
    lists: dict[tuple[str, Kind, EntityLayout], list[str]] = {}
    for registry, stream in streams:
        if stream.call.rows is not None and stream.call.rows.layout is not None:
            lists.setdefault((registry.name, registry.kind, stream.call.rows.layout), []).append(stream.name)
    for path, nodes in row_selections(selection):
        rows = [
            line
            for (name, kind, layout), streams_of_layout in lists.items()
            for line in nested(
                f"of {name} ({', '.join(streams_of_layout)})",
                [*entity_lines(EntityPlan.of(kind, entity, nodes, (layout,)))],
            )
        ]
        lines += nested(f"ForEach {path}", rows)
    return "\n".join(lines)


def entity_lines(plan: EntityPlan) -> Iterator[str]:
    blocks = step_blocks(plan, plan.missing) if plan.missing else []
    blocks += [[*resolver_lines(plan, resolver)] for resolver in plan.resolvers]
    yield from parallel([block for block in blocks if block])
    for resolver in plan.resolvers:
        if isinstance(resolver, DeferredResolver):
            yield from nested("Deferred", [*entity_lines(plan.with_selection(resolver.below))])
    uncertain = [resolver.request for resolver in plan.resolvers if not resolver.certain]
    if uncertain:
        fields = {request: below for request, below in plan.selection.items() if request in uncertain}
        left = plan.selection.part(fields)
        yield from nested(f"IfMissing {names(uncertain)}", parallel(step_blocks(plan, left)))


def step_blocks(plan: EntityPlan, missing: Selection) -> list[list[str]]:
    step = plan.step(missing)
    blocks = [
        nested(f"Fetch {fetch.call.name}: {names(fetch.fields)}", [*then_lines(fetch)], empty=True)
        for fetch in step.fetches
    ]
    for choice in step.choices:
        calls = " or ".join(call.name for call, _ in choice.calls)
        then = plan.fetch(*choice.calls[0], choice.fields)
        blocks.append(nested(f"Fetch {calls}: {names(choice.fields)}", [*then_lines(then)], empty=True))
    return blocks


def then_lines(fetch: Fetch) -> Iterator[str]:
    yield from entity_lines(fetch.then)
    if not fetch.certain:
        otherwise = step_blocks(fetch.otherwise, fetch.otherwise.still_missing([*fetch.fields]))
        yield from nested(f"IfMissing {names(fetch.fields)}", parallel(otherwise))


def resolver_lines(plan: EntityPlan, resolver: Resolver) -> Iterator[str]:
    path = to_camel_case(resolver.request.field)
    match resolver:
        case BomResolver():
            yield from nested(f"Resolve {path}", [*entity_lines(plan.with_selection(resolver.below))])
        case OwnerResolver() | NamedVersionResolver():
            yield from nested(f"Resolve {path}", [*entity_lines(resolver.plan)])
        case ListedVersionResolver() | AliasedVersionResolver():
            yield from child_lines(plan, path, resolver.lists)
        case ChildResolver():
            yield from child_lines(plan, path, resolver.children)
        case VersionsResolver():
            if resolver.filtered is not None and resolver.filtered.call is not None:
                rows = [*version_lines(path, resolver.filtered, resolver.below)]
                yield from nested(f"Fetch {resolver.filtered.call.name}: {path}, filtered", rows, empty=True)
            for _, versions in resolver.lists:
                yield from version_lines(path, versions, resolver.below)
                if versions.field.fallback is not NOT_PROVIDED:
                    break
        case ValueResolver():
            for _, field in resolver.fields[:1]:
                yield from lookup_lines(plan, path, field, resolver.below)


def child_lines(plan: EntityPlan, path: str, children: Sequence[tuple[int, Field, EntityPlan]]) -> Iterator[str]:
    for _, field, child_plan in children:
        if field.fallback is Rows:
            yield from nested(f"ForEach {path} candidate", [*entity_lines(plan.child(field, CREATED_AT))])
        yield from nested(f"Resolve {path}", [*entity_lines(child_plan)])
        if field.fallback is not NOT_PROVIDED:
            break


def version_lines(path: str, versions: VersionList, selection: Selection) -> Iterator[str]:
    for below, nodes in row_selections(selection):
        plan = EntityPlan.of(versions.kind, versions.layout.entity, nodes, (versions.layout,), owner=versions.owner)
        yield from nested(f"ForEach {path}.{below}", [*entity_lines(plan)])


def lookup_lines(plan: EntityPlan, path: str, field: Field, selection: Selection) -> Iterator[str]:
    for request, below in selection.items() if field.table is not None else ():
        inner = (field.table or {})[request.field]
        name = f"{path}.{to_camel_case(request.field)}"
        if inner.layout is not None:
            yield from nested(f"ForEach {name}", [*entity_lines(plan.child(inner, below))])
            continue
        if inner.lookup is None:
            yield from lookup_lines(plan, name, inner, below)
            continue
        lookup = plan.kind.lookups[inner.lookup]
        layout = None if lookup.call.rows is None else lookup.call.rows.layout
        sources = () if layout is None else (layout,)
        found = lookup_plan(plan.kind, lookup, below, sources)
        resolved = nested(f"Resolve {name}", [*entity_lines(found)])
        yield from nested(f"Fetch {lookup.call.name}: {name}", resolved, empty=True)


def row_selections(selection: Selection) -> Iterator[tuple[str, Selection]]:
    """Yield the paths of rows in the selection of a connection, with the selections of the rows."""
    _, nodes = initial_rows(sub_selection(selection, "nodes"))
    _, edges = initial_rows(sub_selection(selection, "edges"))
    for path, rows in (("nodes", nodes), ("edges.node", sub_selection(edges, "node"))):
        if rows:
            yield path, rows


def names(requests: Sequence[FieldRequest] | Selection) -> str:
    return ", ".join("existence" if request == EXISTS else to_camel_case(request.field) for request in requests)


def nested(title: str, lines: list[str], empty: bool = False) -> list[str]:
    """Return a node with its nested lines. Without any, return nothing, unless ``empty`` is set."""
    return [title, *(INDENT + line for line in lines)] if lines or empty else []


def parallel(blocks: list[list[str]]) -> list[str]:
    lines = [line for block in blocks for line in block]
    return nested("Parallel", lines) if len(blocks) > 1 else lines

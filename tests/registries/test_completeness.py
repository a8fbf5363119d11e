"""Nothing is missing from a kind of registry; and what would be missing is said in words."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.registries.fields import ABSENT, EntityLayout, Field, as_text, text
from gateway.registries.kind import Call, Paging, object_at
from tests.registries import completeness, samples
from tests.registries.completeness import missing
from tests.registries.samples import TABLES


@pytest.mark.parametrize("kind", TABLES)
def test_nothing_is_missing_from_a_kind(kind: str) -> None:
    if problems := missing(kind):
        pytest.fail("\n".join(["", *problems]), pytrace=False)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the samples of MLflow, which the test may damage."""
    shutil.copytree(samples.FOLDER / "mlflow", tmp_path / "mlflow")
    monkeypatch.setattr(samples, "FOLDER", tmp_path)
    samples.read_sample.cache_clear()
    completeness.are_readable.cache_clear()
    yield tmp_path / "mlflow"
    samples.read_sample.cache_clear()
    completeness.are_readable.cache_clear()


def edit(path: Path, change: Callable[[Any], Any]) -> None:
    """Change the document in a file: ``change`` returns another one, or None if it has changed it."""
    document = json.loads(path.read_text())
    changed = change(document)
    path.write_text(json.dumps(document if changed is None else changed))


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no folder": (shutil.rmtree, "mlflow/: the folder is missing; it holds recorded answers and expected results"),
    "no table": (
        lambda folder: (folder / "expected/words.json").unlink(),
        "mlflow/expected/words.json: the file is missing",
    ),
    "no tables": (
        lambda folder: shutil.rmtree(folder / "expected"),
        "mlflow/expected/records.json: the file is missing",
    ),
    "no JSON": (
        lambda folder: (folder / "expected/keys.json").write_text("{"),
        "mlflow/expected/keys.json: this is no JSON: Expecting property name enclosed in double quotes: line 1",
    ),
    "no JSON in a sample": (
        lambda folder: (folder / "GetRun.json").write_text(""),
        "mlflow/GetRun.json: this is no JSON",
    ),
    "another form": (
        lambda folder: edit(folder / "expected/records.json", lambda rows: {"rows": rows}),
        "mlflow/expected/records.json: this must be a list",
    ),
    "a part is missing": (
        lambda folder: edit(folder / "expected/errors.json", lambda errors: {"samples": errors["samples"]}),
        'mlflow/expected/errors.json: "codes" must be a list',
    ),
    "an error without status": (
        lambda folder: edit(folder / "error_internal.json", lambda error: error["body"]),
        "mlflow/error_internal.json: a recorded error is an object with status, headers, and body or text",
    ),
    "no sample": (
        lambda folder: (folder / "GetRun.json").unlink(),
        "names a sample that is missing: record the answer as tests/fixtures/mlflow/GetRun.json",
    ),
    "a sample without expectation": (
        lambda folder: (folder / "GetRun_new.json").write_text("{}"),
        "mlflow/GetRun_new.json: no row of expected/records.json says what this sample becomes",
    ),
    "an error without expectation": (
        lambda folder: (folder / "error_new.json").write_text('{"status": 500, "text": ""}'),
        "mlflow/error_new.json: no row of expected/errors.json says what this sample becomes",
    ),
    "a row that is no object": (
        lambda folder: edit(folder / "expected/requests.json", lambda rows: [*rows, "x"]),
        "is no object",
    ),
    "a row without members": (
        lambda folder: edit(folder / "expected/filters.json", lambda rows: [*rows, {"call": "X", "filter": "y"}]),
        "has no value and no sends and no exact",
    ),
    "a row without a call": (
        lambda folder: edit(folder / "expected/requests.json", lambda rows: [*rows, {"sends": "GET /"}]),
        "names no call, no stream and no lookup",
    ),
    "a request without keys": (
        lambda folder: edit(folder / "expected/requests.json", lambda rows: [*rows, {"sends": "", "call": "GetRun"}]),
        "needs keys: a list of 1 text, the native keys of the object",
    ),
    "keys that are no list": (
        lambda folder: edit(
            folder / "expected/requests.json", lambda rows: [*rows, {"sends": "", "call": "GetRun", "keys": "m-1"}]
        ),
        "needs keys: a list of 1 text, the native keys of the object",
    ),
    "an unknown call": (
        lambda folder: edit(folder / "expected/requests.json", lambda rows: [*rows, {"sends": "", "call": "Nope"}]),
        'names "Nope", which the kind does not have',
    ),
    "an unknown filter": (
        lambda folder: edit(folder / "expected/filters.json", lambda rows: [*rows, {**rows[0], "filter": "nope"}]),
        "names the filter nope, which the call SearchRegisteredModels does not apply",
    ),
    "an unknown entity": (
        lambda folder: edit(
            folder / "expected/records.json",
            lambda rows: [
                *rows,
                {**rows[0], "call": "GetRun", "entity": "Algorithm", "record": None, "stream": "Model own"},
            ],
        ),
        "names the entity Algorithm, which the call SearchRegisteredModels does not describe",
    ),
    "no record of a call": (
        lambda folder: edit(
            folder / "expected/records.json", lambda rows: [row for row in rows if row.get("call") != "GetRun"]
        ),
        "mlflow/expected/records.json: no row is about the call GetRun: say what an answer of it becomes",
    ),
    "no request of a call": (
        lambda folder: edit(
            folder / "expected/requests.json", lambda rows: [row for row in rows if row.get("call") != "GetRun"]
        ),
        "mlflow/expected/requests.json: no row is about the call GetRun: say which request it sends",
    ),
    "no request of an order": (
        lambda folder: edit(
            folder / "expected/requests.json",
            lambda rows: [row for row in rows if row.get("order") != "updated_at ascending"],
        ),
        'mlflow/expected/requests.json: no row has the order "updated_at ascending" of the call SearchRegisteredModels',
    ),
    "no filter": (
        lambda folder: edit(folder / "expected/filters.json", lambda rows: []),
        "no row is about the filter name_equals of the call SearchRegisteredModels",
    ),
    "no words": (
        lambda folder: edit(folder / "expected/words.json", lambda words: words.pop("ModelVersion.stage") and None),
        "mlflow/expected/words.json: ModelVersion.stage is missing: list the registry's spelling of each value",
    ),
    "unknown words": (
        lambda folder: edit(folder / "expected/words.json", lambda words: {**words, "Model.type": {}}),
        "mlflow/expected/words.json: Model.type is no enumeration that a table of the kind reads",
    ),
    "no key": (
        lambda folder: edit(folder / "expected/keys.json", lambda keys: keys["good"].pop("Algorithm") and None),
        '"good" needs a valid key of Algorithm; "unused" if there is none',
    ),
    "an unknown setting": (
        lambda folder: edit(folder / "expected/keys.json", lambda keys: keys["settings"].update(region="x")),
        'mlflow/expected/keys.json: MlflowSettings has no setting "region"',
    ),
    "no missing object": (
        lambda folder: edit(folder / "expected/errors.json", lambda errors: errors.update(samples=[])),
        "mlflow/expected/errors.json: no sample becomes NotFound; record the answer for an object that does not exist",
    ),
    "a missing object that is another error": (
        lambda folder: (
            (folder / "error_not_found.json").write_text('{"status": 404, "text": ""}'),
            edit(
                folder / "expected/errors.json",
                lambda errors: errors.update(
                    samples=[
                        {
                            "sample": "error_not_found",
                            "error": "RegistryBadAnswer",
                            "vendor_code": None,
                            "request_id": None,
                        }
                    ]
                ),
            ),
        ),
        "mlflow/expected/errors.json: error_not_found becomes RegistryBadAnswer; it must become NotFound, by the "
        "registry's code for it",
    ),
    "left to fill in": (
        lambda folder: edit(folder / "expected/keys.json", lambda keys: keys["secrets"].append("FILL IN: a secret")),
        "fill in a secret",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_missing_is_said_in_words(folder: Path, damage: str) -> None:
    assert missing("mlflow") == []
    samples.read_sample.cache_clear()
    make, words = DAMAGES[damage]
    make(folder)
    problems = missing("mlflow")
    assert any(words in problem for problem in problems), problems
    assert all(
        problem.startswith(("tests/fixtures/mlflow/", "gateway/registries/", str(folder))) for problem in problems
    )


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_rows_of_damaged_tables_are_still_listed(folder: Path, damage: str) -> None:
    """Tests are collected from the rows of these tables, so nothing may stop that."""
    DAMAGES[damage][0](folder)
    for table, part in (("records", ""), ("requests", ""), ("filters", ""), ("errors", "samples"), ("errors", "codes")):
        assert isinstance(samples.rows("mlflow", table, part), list)


def test_fields_that_are_neither_supplied_nor_absent_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = TABLES["mlflow"]
    wrong = {**kind.absent, "Model": (kind.absent["Model"] - {"task"}) | {"name", "tasks"}, "Algorithm": {"name"}}
    monkeypatch.setitem(kind.__dict__, "absent", wrong)
    assert missing("mlflow") == [
        "gateway/registries/mlflow.py: MLFLOW.absent does not name these fields of Model, and no layout supplies them: "
        '"task"',
        "gateway/registries/mlflow.py: MLFLOW.absent names Model.name, which a layout supplies",
        "gateway/registries/mlflow.py: MLFLOW.absent names Model.tasks, which the schema does not have",
        "gateway/registries/mlflow.py: MLFLOW.absent names fields of Algorithm, which the kind does not have: "
        "leave it empty",
    ]


def test_a_value_object_whose_table_lacks_fields_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    owner = Field((), lambda raw: raw, table={"name": text("owned_by"), "nickname": text("nick")})
    layout = EntityLayout("Model", lambda raw: as_text(raw.get("id")), {"owner": owner})
    call = Call(name="GetModel", service="api", path="/m/{0}", key_positions=(0,), entities=(object_at(layout),))
    monkeypatch.setitem(TABLES, "mlflow", replace(TABLES["mlflow"], calls=(call,), streams=(), probe=call))  # type: ignore[index]
    table = "gateway/registries/mlflow.py: the table of Model.owner"
    words = [
        f"{table} lacks account_id, native_id, tenant_id: name each one, as ABSENT if the registry never has it",
        f"{table} names nickname, which the schema does not have",
    ]
    assert [problem for problem in missing("mlflow") if problem.startswith(table)] == words
    complete = dict.fromkeys(samples.schema_fields("Owner"), ABSENT)
    other = EntityLayout("Model", layout.key, {"owner": replace(owner, table=complete)})
    both = replace(call, entities=(object_at(layout), object_at(other)))
    monkeypatch.setitem(TABLES, "mlflow", replace(TABLES["mlflow"], calls=(both,)))  # type: ignore[index]
    assert [problem for problem in missing("mlflow") if problem.startswith(table)] == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"query": {"n": "50"}, "paging": Paging("last", "n")},
            "has n in its paging and elsewhere: leave it to paging",
        ),
        (
            {"parameters": lambda keys: {"last": "x"}, "paging": Paging("last", "n")},
            "has last in its paging and elsewhere: leave it to paging",
        ),
        ({"path": "/v1/{0}"}, "has {0} in its path; key_positions must select a key for it"),
        ({"path": "/v1/{0}/{1}", "key_positions": (1,)}, "has {1} in its path; key_positions must select a key for it"),
    ],
)
def test_a_call_that_contradicts_itself_is_named(monkeypatch: pytest.MonkeyPatch, options: Any, words: str) -> None:
    call = Call(**{"name": "Odd", "service": "api", "path": "/v1", **options})
    monkeypatch.setitem(TABLES, "mlflow", replace(TABLES["mlflow"], probe=call))  # type: ignore[index]
    problems = [problem for problem in missing("mlflow") if problem.startswith("gateway/") and "Odd" in problem]
    assert problems == [f"gateway/registries/mlflow.py: the call Odd {words}"]


@pytest.mark.parametrize(
    ("read", "expected", "words"),
    [
        ({"a": 1}, {"a": 1}, []),
        (None, {"a": 1}, ['record is {"a": 1}; the tables read null']),
        ({"total": None}, {"total": 3}, ["record.total is 3; the tables read null"]),
        ({"a": True}, {"a": 1}, ["record.a is 1; the tables read true"]),
        (
            {"rows": [{"owner": {"name": "é"}, "extra": {}}]},
            {"rows": [{"extra": {"by": "é"}}]},
            [
                'record.rows[0].extra.by is "é"; the tables read nothing there',
                'record.rows[0].owner is missing; the tables read {"name": "é"}',
            ],
        ),
        ({"rows": [1]}, {"rows": [1, 2]}, ["record.rows is [1, 2]; the tables read [1]"]),
    ],
)
def test_what_a_record_has_in_another_way_is_said_in_words(read: Any, expected: Any, words: list[str]) -> None:
    assert [*samples.differences(read, expected)] == words

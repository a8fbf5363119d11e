"""`gateway scaffold` in a copy of the repository, and in words why it cannot write a kind."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.registries.completeness import ROOT
from tests.registries.scaffold import Answer, ErrorAnswer, Listed, Scaffold, ScaffoldError, Source, registered

pytestmark = pytest.mark.timeout(600)  # type checks and the contract tests run in the copy

URL = "https://hub.example.com/v1/models"
MODELS = {"data": [{"id": "a/1", "created": 1764480000, "title": "A"}, {"id": "b", "created": None}], "total": 2}
MISSING = (
    "HTTP/1.1 200 Connection established\r\n\r\nHTTP/2 404 \r\nContent-Type: application/json\r\n"
    "Set-Cookie: session=1\r\nX-Hub-Request-ID: r-1\r\n\r\n"
    '{"error": {"code": 404, "type": "no_such_model", "message": "There is no model x."}}\n'
)
MODEL = {
    "result": {"id": "b", "summary": "Small.", "releases": [{"tag": "1.1", "published": "2026-03-01"}, {"tag": "1.0"}]}
}
IGNORED = shutil.ignore_patterns("__pycache__", "node_modules", "build", "bench", "playground", "fetched")


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a Python module in a folder, which is also where it imports from."""
    environ = {**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=folder, env=environ, capture_output=True, text=True, check=False
    )


def saved(folder: Path, name: str, document: Any) -> str:
    path = folder / name
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return str(path)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository with three kinds that the command has written."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("gateway", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=IGNORED)
    shutil.copytree(ROOT / "gateway/http/playground", folder / "gateway/http/playground", dirs_exist_ok=True)
    shutil.copy(ROOT / "pyproject.toml", folder)
    models, model = saved(folder, "models.json", MODELS), saved(folder, "model.json", MODEL)
    catalog = saved(folder, "catalog.json", {"repositories": ["alpine", "bert"]})
    tags = saved(folder, "tags.json", {"name": "alpine", "tags": ["3.20", "latest"]})
    missing = saved(folder, "missing.txt", MISSING)
    pages, tag_url = f"{URL}?page=1&per_page=2&kind=llm", "https://hub.example.com/v2/alpine/tags/list"
    for arguments in (
        ("plain", "--list", URL, models),
        ("paged", "--list", pages, models, "--object", f"{URL}?id=b&full=1", model, "--versions", "releases",
         "--error", missing),
        ("bare", "--list", URL, saved(folder, "bare.json", MODELS["data"])),
        ("names", "--list", URL, catalog, "--object", tag_url, tags, "--versions", "tags"),
    ):  # fmt: skip
        done = run(folder, "gateway", "scaffold", *arguments)
        assert (done.returncode, done.stderr) == (0, "")
        assert f"gateway/registries/{arguments[0]}.py\n" in done.stdout
    return folder


def test_the_written_modules_pass_lint_format_and_types(checkout: Path) -> None:
    for command in (("ruff", "check", "."), ("ruff", "format", "--check", "."), ("mypy",)):
        done = run(checkout, *command)
        assert done.returncode == 0, done.stdout


def test_the_tests_name_what_is_left_to_fill_in_and_nothing_else_fails(checkout: Path) -> None:
    tests = ("tests/registries/test_completeness.py", "tests/registries/test_contract.py")
    done = run(checkout, "pytest", "-q", "-p", "no:cacheprovider", *tests, "-k", "plain or paged or names")
    failed = re.findall(r"^FAILED (.*?)(?: - .*)?$", done.stdout, re.MULTILINE)
    name = "tests/registries/test_completeness.py::test_nothing_is_missing_from_a_kind"
    assert sorted(failed) == [f"{name}[{kind}]" for kind in ("names", "paged", "plain")], done.stdout
    lines = [re.sub(r":\d+:", ":", line) for line in done.stdout.splitlines()]
    for kind in ("plain", "paged", "names"):
        module = f"gateway/registries/{kind}.py"
        assert f"{module}: fill in the page that documents the API." in lines
        is_open = kind != "paged"
        assert (f"{module}: fill in where the code is in the body of an error" in lines) is is_open
        errors = f"tests/fixtures/{kind}/expected/errors.json: no sample "
        assert any(line.startswith(errors) for line in lines) is is_open
    assert not any("paged.py: fill in paging" in line for line in lines)


def test_the_expected_requests_and_records_are_those_of_the_answers(checkout: Path) -> None:
    expected = checkout / "tests/fixtures/paged/expected"
    assert [row["sends"] for row in json.loads((expected / "requests.json").read_text())] == [
        "GET /v1/models?kind=llm&page=1&per_page=50",
        "GET /v1/models?full=1&id=b",
    ]
    listed, model, version = json.loads((expected / "records.json").read_text())
    assert (listed["total"], [row["key"] for row in listed["rows"]]) == (2, ["a/1", "b"])
    assert listed["rows"][0]["name"] == "A"
    assert listed["rows"][0]["created_at"] == "2025-11-30T05:20:00Z"
    assert (model["record"]["description"], model["record"]["versions"]["total"]) == ("Small.", 2)
    assert (version["keys"], version["record"]["name"]) == (["b", "1.1"], "1.1")
    assert json.loads((expected.parent / "ListModels.json").read_text()) == MODELS
    assert json.loads((expected.parent / "error_not_found.json").read_text()) == {
        "status": 404,
        "headers": {"content-type": "application/json", "x-hub-request-id": "r-1"},
        "body": {"error": {"code": 404, "type": "no_such_model", "message": "There is no model x."}},
    }
    assert json.loads((expected / "errors.json").read_text())["samples"] == [
        {"sample": "error_not_found", "error": "NotFound", "vendor_code": "no_such_model", "request_id": "r-1"}
    ]


def test_a_kind_that_exists_is_not_replaced(checkout: Path) -> None:
    before = (checkout / "gateway/registries/plain.py").read_text()
    done = run(checkout, "gateway", "scaffold", "plain", "--list", URL, str(checkout / "models.json"))
    assert (done.returncode, done.stdout) == (1, "")
    message = "gateway: gateway/registries/plain.py: plain exists already; choose another name, or delete it first\n"
    assert done.stderr == message
    assert (checkout / "gateway/registries/plain.py").read_text() == before


def test_the_command_refuses_to_work_without_a_checkout(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "gateway", tmp_path / "gateway", ignore=shutil.ignore_patterns("__pycache__", "fetched"))
    done = run(tmp_path, "gateway", "scaffold", "unheard_of", "--list", URL, saved(tmp_path, "models.json", MODELS))
    assert done.returncode == 2
    assert re.fullmatch(r"gateway: scaffold writes into a checkout of the repository, .*\n", done.stderr)
    assert not (tmp_path / "gateway/registries/unheard_of.py").exists()


def source(
    folder: Path, name: str, listed: Any, *, url: str = URL, single: Any = None, versions: str | None = None
) -> str:
    """Return the source text of a kind for these answers."""
    one = None if single is None else Answer.of(url, saved(folder, "model.json", single))
    return Source(Scaffold(name, Answer.of(URL, saved(folder, "models.json", listed)), one, versions)).module_text


@pytest.mark.parametrize("name", ["Hub", "a-hub", "1st", "", "a" * 33, "import", "../x"])
def test_a_name_that_cannot_be_a_kind_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ScaffoldError, match="a kind has a name of lower-case letters, digits and _"):
        source(tmp_path, name, MODELS)


@pytest.mark.parametrize("name", ["mlflow", "fields", "kind", "pai", "mlflow_tables"])
def test_a_name_in_use_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ScaffoldError, match="exists already"):
        source(tmp_path, name, MODELS)


@pytest.mark.parametrize(
    ("listed", "words"),
    [
        ("no JSON", "models.json: this is no JSON"),
        ("7", "the answer contains no list"),
        ({"error": "login"}, "the answer contains no list; --list is for the call that lists models"),
        ({"data": []}, "the list data is empty or missing; record an answer with at least one entry"),
        ([], "the list of the answer is empty"),
        ({"data": [1, 2]}, "entries that are neither objects nor texts"),
        ({"data": [{"id": 1}, "x"]}, "entries that are neither objects nor texts"),
        ({"data": [{"id": 1}, {"id": 1}]}, "no key has a different text in every entry"),
        ({"data": [{}]}, "no key has a different text"),
        ({"data": [{"id": {"a": 1}}]}, "no key has a different text"),
    ],
)
def test_an_answer_without_a_list_of_models_is_refused_in_words(tmp_path: Path, listed: Any, words: str) -> None:
    with pytest.raises(ScaffoldError, match=words):
        source(tmp_path, "unheard_of", listed)


@pytest.mark.parametrize(
    ("url", "single", "versions", "words"),
    [
        ("v1/models/b", MODEL, None, "give the URL that was called"),
        (f"{URL}/c", MODEL, None, "the URL must contain the key of the model that .* describes; found there: id = b"),
        (f"{URL}/b", [1], None, "found there: no key"),
        (f"{URL}/b", MODEL, "versions", "the list result.versions is empty or missing"),
    ],
)
def test_an_answer_without_the_model_of_its_url_is_refused_in_words(
    tmp_path: Path, url: str, single: Any, versions: str | None, words: str
) -> None:
    with pytest.raises(ScaffoldError, match=words):
        source(tmp_path, "unheard_of", MODELS, url=url, single=single, versions=versions)


def test_a_file_that_is_missing_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(ScaffoldError, match="cannot be read: No such file or directory; save the answer of"):
        Answer.of(URL, str(tmp_path / "none.json"))


def test_versions_need_the_answer_for_one_model(tmp_path: Path) -> None:
    with pytest.raises(ScaffoldError, match="add --object URL FILE"):
        source(tmp_path, "unheard_of", MODELS, versions="releases")


@pytest.mark.parametrize(
    "listed",
    [
        [{"name": "a"}],
        {"a": {"b": {"c": [{"name": 'a"\\'}]}}},
        {"data": [{"id": 2**70, "created": True, "updated": "yesterday"}]},
        {"data": [{"id": "a", "created": 1764480000000.5, "updated_at": "2026-11-30T00:00:00Z", 'quote"': "}"}]},
        {"data": ["x", "y"], "next": "z"},
        {'odd "key"': [{"id\n": "a"}]},
    ],
)
def test_any_list_of_objects_or_texts_becomes_a_kind(tmp_path: Path, listed: Any) -> None:
    answer = Answer.of(f"{URL}/{{x}}?a=%22", saved(tmp_path, "models.json", listed))
    files = Source(Scaffold("unheard_of", answer)).fixtures()
    [record] = [row for row in json.loads(files["tests/fixtures/unheard_of/expected/records.json"]) if "rows" in row]
    assert len(record["rows"]) == len(Listed.of(answer).rows)


def test_the_answers_of_the_tutorial_become_its_models_and_releases(tmp_path: Path) -> None:
    page = (ROOT / "docs/adding-a-registry.md").read_text(encoding="utf-8")
    models, model = re.findall(r"^```json\n(.*?)^```", page, re.DOTALL | re.MULTILINE)[:2]
    [listed] = re.findall(r'--list "\$HUB(\S+)"', page)
    [single] = re.findall(r'--object "\$HUB(\S+)"', page)
    answers = [
        Answer.of(f"https://hub.acme.example{path}", saved(tmp_path, "answer.json", document))
        for path, document in ((listed, models), (single, model))
    ]
    files = Source(Scaffold("unheard_of", *answers, "releases")).fixtures()
    rows, record, version = json.loads(files["tests/fixtures/unheard_of/expected/records.json"])
    assert [(row["key"], row["name"]) for row in rows["rows"]] == [("m-2", "bert-base"), ("m-1", "llama-mini")]
    assert [row["name"] for row in record["record"]["versions"]["rows"]] == ["1.1", "1.0"]
    assert version["record"]["created_at"] == "2026-03-01T00:00:00Z"
    assert record["record"]["latest_version"] == record["record"]["versions"]


def test_a_latest_version_is_supplied_if_the_versions_have_times(tmp_path: Path) -> None:
    listed = Answer.of(URL, saved(tmp_path, "models.json", MODELS))
    for key, time, supplied in (("published", "2026-01-01", True), ("created", 1764480000, True), ("note", "x", False)):
        document = {"id": "b", "releases": [{"tag": "1", key: time}]}
        one = Answer.of(f"{URL}/b", saved(tmp_path, "model.json", document))
        text = Source(Scaffold("unheard_of", listed, one, "releases")).module_text
        assert ('"latest_version": Field((), versions, layout=VERSION, fallback=Rows)' in text) is supplied
        assert ('"latest_version"' in text.partition("MODEL_ABSENT")[2]) is not supplied


def test_the_table_of_kinds_keeps_its_order() -> None:
    text = (ROOT / "gateway/registries/__init__.py").read_text(encoding="utf-8")
    more = registered(text, "aardvark")
    assert more.index("aardvark import AARDVARK") < more.index("gateway.registries.kind ") < more.index("mlflow import")
    assert '= {\n    "aardvark": AARDVARK,\n    "mlflow": MLFLOW,\n' in more
    with pytest.raises(ScaffoldError, match="one entry on each line"):
        registered("KINDS = {}", "aardvark")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (
            '{"error": {"message": "No model x.", "type": "invalid_request", "code": "model_not_found"}}',
            "model_not_found",
        ),
        ('{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "x"}', "RESOURCE_DOES_NOT_EXIST"),
        ('{"error": {"code": 404, "status": "NOT_FOUND"}}', "NOT_FOUND"),
        ('{"code": 40401, "success": false}', "40401"),
        ('{"status": "error", "error": {"errorCode": "E-7"}}', "E-7"),
        ('{"errors": [{"code": "NAME_UNKNOWN", "message": "x"}, {"code": "OTHER"}]}', "NAME_UNKNOWN"),
        ('[{"code": "E-8"}]', "E-8"),
        ('{"errors": []}', None),
        ('{"status": 404, "error": "Not Found"}', None),
        ('{"detail": "Not Found"}', None),
        ('{"code": true, "error": null, "type": {}, "reason": ""}', None),
        ("[1]", None),
        ("<html>no such page</html>", None),
        ("", None),
    ],
)
def test_the_code_of_a_recorded_error_is_found(tmp_path: Path, body: str, code: str | None) -> None:
    file = saved(tmp_path, "missing.txt", f"HTTP/1.1 404 Not Found\r\n\r\n{body}")
    error = ErrorAnswer.of(file)
    assert (error.code and error.code[1]) == code
    one = Answer.of(f"{URL}/b", saved(tmp_path, "model.json", MODEL))
    listed = Answer.of(URL, saved(tmp_path, "models.json", MODELS))
    written = Source(Scaffold("unheard_of", listed, one, None, error))
    tables = json.loads(written.fixtures()["tests/fixtures/unheard_of/expected/errors.json"])
    [row] = tables["samples"]
    assert row["error"] == ("NotFound" if code else "RegistryBadAnswer")
    assert row["vendor_code"] == code
    assert ("FILL IN: where the code is" in written.module_text) is (code is None)


def test_without_a_call_for_one_model_the_error_is_that_of_a_wrong_token(tmp_path: Path) -> None:
    file = saved(tmp_path, "error.txt", 'HTTP/1.1 401 Unauthorized\n\n{"code": "bad_token"}')
    listed = Answer.of(URL, saved(tmp_path, "models.json", MODELS))
    files = Source(Scaffold("unheard_of", listed, error=ErrorAnswer.of(file))).fixtures()
    assert json.loads(files["tests/fixtures/unheard_of/error_unauthorized.json"])["status"] == 401
    [row] = json.loads(files["tests/fixtures/unheard_of/expected/errors.json"])["samples"]
    assert (row["error"], row["vendor_code"]) == ("RegistryUnauthenticated", "bad_token")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"error": "x"}', "does not begin with the status and headers of a response; record an error with `curl -si"),
        ("", "does not begin with the status"),
        ("HTTP/1.1 200 OK\r\n\r\n{}", "its status is 200, which is no error; leave --error out"),
        ("HTTP/1.1 401 Unauthorized\r\n\r\n{}", "its status is 401; record the answer for a model that does not exist"),
    ],
)
def test_a_file_that_is_no_recorded_error_is_refused_in_words(tmp_path: Path, text: str, words: str) -> None:
    one = Answer.of(f"{URL}/b", saved(tmp_path, "model.json", MODEL))
    listed = Answer.of(URL, saved(tmp_path, "models.json", MODELS))
    with pytest.raises(ScaffoldError, match=words):
        Scaffold("unheard_of", listed, one, None, ErrorAnswer.of(saved(tmp_path, "missing.txt", text)))


def test_a_recorded_error_that_is_missing_or_binary_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(ScaffoldError, match="No such file or directory; record an error with `curl -si"):
        ErrorAnswer.of(str(tmp_path / "none.txt"))
    (tmp_path / "missing.txt").write_bytes(b"\xff")
    with pytest.raises(ScaffoldError, match="this is no text"):
        ErrorAnswer.of(str(tmp_path / "missing.txt"))


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ({"models": [{"id": "a"}], "next_page_token": "t2"}, ("next_page_token",)),
        ({"models": [{"id": "a"}], "nextCursor": None}, ("nextCursor",)),
        ({"models": [{"id": "a"}], "meta": {"next_page": 2}}, ("meta", "next_page")),
        ({"models": [{"id": "a"}], "next_page": "https://hub.example.com/v1/models?page=2"}, None),
        ({"models": [{"id": "a", "cursor": "x"}]}, None),
        ([{"id": "a"}], None),
    ],
)
def test_the_marker_of_the_next_page_is_found(tmp_path: Path, document: Any, path: tuple[str, ...] | None) -> None:
    answer = Answer.of(f"{URL}?limit=2&kind=llm", saved(tmp_path, "models.json", document))
    written = Source(Scaffold("unheard_of", answer))
    parameter = f"FILL IN: the parameter for {path[-1]}" if path else ""
    paging = f'paging=Paging("{parameter}", "limit", rows=50, by_marker=True)' if path else "FILL IN: paging=Paging(…)"
    assert paging in written.module_text
    requests, records = (
        json.loads(written.fixtures()[f"tests/fixtures/unheard_of/expected/{name}.json"])
        for name in ("requests", "records")
    )
    assert requests[0]["sends"] == f"GET /v1/models?kind=llm&limit={50 if path else 2}"
    assert records[0]["total"] == (None if path else 1)

"""The corpus: deterministic, of any size, and ordered after tests insert and remove rows."""

import json
import os
import subprocess
import sys
import tracemalloc
from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.twins import Corpus, serving
from gateway.twins.rows import FIRST_DAY, parse_time

DIGEST = "from gateway.twins import Corpus; print(Corpus(60).digest())"


def test_corpora_of_equal_size_are_equal() -> None:
    assert Corpus(60).digest() == Corpus(60).digest()
    assert Corpus(60).digest() != Corpus(62).digest()
    assert Corpus(60).digest() != Corpus(60, references=False).digest()


@pytest.mark.parametrize("seed", ["0", "1"])
def test_the_corpus_does_not_depend_on_the_process(seed: str) -> None:
    environment = os.environ | {"PYTHONHASHSEED": seed}
    made = subprocess.run([sys.executable, "-c", DIGEST], env=environment, capture_output=True, text=True, check=True)
    assert made.stdout.strip() == Corpus(60).digest()


def test_the_digest_of_the_corpus_is_unchanged() -> None:
    """A deliberate change of the corpus updates this digest."""
    assert Corpus(60).digest()[:16] == "23ab520db1a35ce4"


@pytest.mark.parametrize("models", [7, 200, 100_000])
def test_each_partition_is_ordered_by_creation_time(models: int) -> None:
    corpus = Corpus(models, references=False)
    pai = [corpus.pai_models.partition(provider) for provider in ("", "pai", "huggingface")]
    qianfan = [corpus.qianfan_models.partition(source) for source in ("UserCreate", "PlatformPreset")]
    samples = [[partition.at(position).created for position in range(len(partition))[:200]] for partition in pai]
    samples += [[partition.at(position).created for position in range(len(partition))[:200]] for partition in qianfan]
    assert all(before < after for sample in samples for before, after in pairwise(sample))
    assert len(corpus.pai_models) + len(corpus.qianfan_models) == models
    public = len(corpus.pai_models) - len(corpus.pai_models.partition(""))
    assert abs(public - models / 10) <= 1


def test_every_row_is_found_by_its_ids_and_its_position() -> None:
    corpus = Corpus(150)
    for name in ("", "pai", "huggingface"):
        partition = corpus.pai_models.partition(name)
        for position, row in enumerate(partition):
            assert partition.position(row) == position
            found = corpus.pai_models.find(row.keys[0])
            assert found is not None
            assert found.item == row.item
    for source in ("UserCreate", "PlatformPreset"):
        for row_ in corpus.qianfan_models.partition(source):
            for key in row_.keys:
                assert getattr(corpus.qianfan_models.find(key), "id", None) == row_.id
            for version in row_.versions:
                for key in (version["modelVersionId"], version["modelVersionIdStr"]):
                    found_version = corpus.qianfan_version(key)
                    assert found_version is not None
                    assert found_version[1] == version


def test_the_irregularities_of_the_clouds_occur() -> None:
    corpus = Corpus(200)
    versions = [version for row in corpus.pai_models for version in row.versions]
    assert {"", "{}"} < {version.get("Options") for version in versions}
    assert {"Pytorch", "PyTorch", "MindSpore"} < {version.get("FrameworkType") for version in versions}
    assert {"Keras H5", "KerasH5", "Frozen Pb", "GGUF"} < {version.get("FormatType") for version in versions}
    assert any("." in version["GmtCreateTime"] for version in versions)
    assert max(len(row.versions) for row in corpus.pai_models) > 50
    assert any(not row.versions for row in corpus.pai_models)
    labels = {type(row.head.get("Labels", ...)).__name__ for row in corpus.pai_models}
    assert labels == {"list", "NoneType", "ellipsis"}
    specs = [version["AlgorithmSpec"] for row in corpus.algorithms for version in row.versions]
    policies = [spec["ComputeResource"]["Policy"]["Value"] for spec in specs if spec.get("ComputeResource")]
    assert {'\\"' in policy for policy in policies} == {True, False}
    users = {type(version["UserId"]) for row in corpus.algorithms for version in row.versions}
    assert users == {int, str}
    trained = [version for row in corpus.qianfan_models for version in row.versions]
    assert {dict, str} <= {type(version["sourceExtra"]) for version in trained}
    assert {"Fail", "Failed", "Creating", "Ready"} < {version.get("state") for version in trained}
    assert {type(row.head.get("tags", ...)).__name__ for row in corpus.qianfan_models} == labels
    assert json.dumps(versions, ensure_ascii=False)


def test_every_training_spec_by_name_refers_to_an_existing_algorithm_version() -> None:
    corpus = Corpus(200)
    known = {
        (version["AlgorithmName"], version["AlgorithmProvider"], version["AlgorithmVersion"])
        for row in corpus.algorithms
        for version in row.versions
    }
    specs = [version.get("TrainingSpec") for row in corpus.pai_models for version in row.versions]
    methods = [
        method
        for spec in specs
        if isinstance(spec, dict)
        for method in ([spec] if {"AlgorithmName", "AlgorithmSpec"} & set(spec) else spec.values())
    ]
    named = {
        (method["AlgorithmName"], method["AlgorithmProvider"], method["AlgorithmVersion"])
        for method in methods
        if "AlgorithmName" in method
    }
    assert len(named) > 30
    assert named <= known
    assert any("AlgorithmSpec" in method for method in methods)


def test_rows_use_no_memory_until_they_are_read() -> None:
    tracemalloc.start()
    try:
        corpus = Corpus(100_000)
        partition = corpus.pai_models.partition("")
        deep = [partition.at(position).item for position in range(len(partition) - 100, len(partition))]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(deep) == 100
    assert len(corpus.qianfan_models) > 50_000
    assert peak < 4_000_000


async def test_the_positions_of_matching_rows_are_cached_until_the_table_changes() -> None:
    corpus = Corpus(4_000)
    named = await corpus.pai_models.matching("", "bert", lambda row: "bert" in row.head["ModelName"])
    again = await corpus.pai_models.matching("", "bert", lambda row: False)
    assert named is again, "the same condition is scanned once"
    partition = corpus.pai_models.partition("")
    assert all("bert" in partition.at(position).head["ModelName"] for position in named)
    corpus.pai_models.remove(partition.at(named[0]).keys[0])
    after = await corpus.pai_models.matching("", "bert", lambda row: "bert" in row.head["ModelName"])
    assert len(after) == len(named) - 1


MINUTES = st.integers(0, 60 * 24 * 900)


@settings(max_examples=60, deadline=None)
@given(inserted=st.lists(MINUTES, max_size=8), removed=st.lists(st.integers(0, 60), max_size=8))
def test_inserting_and_removing_rows_preserves_the_order(inserted: list[int], removed: list[int]) -> None:
    corpus = Corpus(100, references=False)
    table = corpus.pai_models
    rows = {row.keys[0]: row.created for row in table.partition("")}
    for number, minutes in enumerate(inserted):
        created = (FIRST_DAY + timedelta(minutes=minutes)).isoformat()
        table.insert({"ModelId": f"model-test{number}", "ModelName": "新", "GmtCreateTime": created})
        rows[f"model-test{number}"] = parse_time(created)
    for position in removed:
        partition = table.partition("")
        key = partition.at(position % len(partition)).keys[0]
        table.remove(key)
        del rows[key]
        assert table.find(key) is None
    expected = sorted(rows, key=lambda key: (rows[key], key))
    partition = table.partition("")
    assert [row.keys[0] for row in partition] == expected
    assert [partition.position(row) for row in partition] == list(range(len(expected)))


async def test_documents_of_every_type_can_be_inserted_into_an_empty_corpus() -> None:
    corpus = Corpus(0, references=False)
    version = {"VersionName": "1.0.0", "GmtCreateTime": "2024-01-01T00:00:00Z"}
    corpus.pai_models.insert(
        {
            "ModelId": "model-a",
            "ModelName": "甲",
            "GmtCreateTime": "2024-01-01T00:00:00Z",
            "Tags": [],
            "Versions": [version],
        }
    )
    corpus.algorithms.insert(
        {"AlgorithmId": "algo-a", "AlgorithmName": "a", "Versions": [{"AlgorithmVersion": "v1", "AlgorithmSpec": {}}]}
    )
    corpus.qianfan_models.insert(
        {
            "modelId": 9,
            "modelIdStr": "am-nine",
            "modelName": "九",
            "source": "UserCreate",
            "modelType": 0,
            "createTime": "2024-01-01T00:00:00+08:00",
            "modelVersionList": [{"modelVersionId": 90, "modelVersionIdStr": "amv-ninety", "version": "1"}],
        }
    )
    async with serving(corpus=corpus) as twins:
        assert twins.corpus is corpus
    model, qianfan = corpus.pai_models.find("model-a"), corpus.qianfan_models.find(9)
    assert model is not None
    assert model.item["LatestVersion"] == version
    assert qianfan is corpus.qianfan_models.find("am-nine")
    assert corpus.qianfan_version("amv-ninety") == corpus.qianfan_version(90)
    corpus.qianfan_models.remove(9)
    assert corpus.qianfan_version(90) is None
    with pytest.raises(KeyError):
        corpus.pai_models.remove("model-b")

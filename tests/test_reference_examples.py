"""The examples of the vendors' reference pages, queried through the gateway."""

import json
from importlib.resources import files
from typing import Any

from tests.conftest import World

VERSION_OF_PAI = """
{ modelVersion(id: "pai:model/model-rbvg5wzljzjhc9ks92/version/0.2.0") {
    name createdAt updatedAt owner { nativeId accountId } uri description labels { key value }
    format formatName framework frameworkName options metrics
    evaluations { dataset { nativeId uri } metrics { name value } }
    trainingSpec inferenceSpec evaluationSpec compressionSpec distillationSpec
    source { type typeName nativeId region workspaceId kind } approval readiness extra raw
    trainedWith { name provider version algorithm { name provider } }
} }"""

ALGORITHM_VERSION_OF_PAI = """
{ algorithmVersion(id: "pai:algorithm/algo-xsldfvu1334/version/v0.0.1") {
    id name createdAt updatedAt owner { nativeId tenantId } raw
    algorithm { nativeId name provider }
    spec {
      image command jobType supportedInstanceTypes supportsDistributedTraining customization
      hyperParameters { name displayName description type required defaultValue
        range { enum minimum maximum exclusiveMinimum exclusiveMaximum minLength maxLength pattern } }
      inputChannels { name description required properties supportedChannelTypes }
      outputChannels { name description required properties supportedChannelTypes }
      metricDefinitions { name regex description }
      progressDefinitions { overallProgress { description regex } remainingTime { description regex } }
      computeResource { policy { version value rules } }
      resourceRequirements { key operator values }
      codeDir { locationType location }
    }
} }"""

MODEL_OF_QIANFAN = """
{ model(id: "qianfan:model/5862") {
    id nativeId name ownership type labels { key } owner { nativeId name } createdAt updatedAt description raw
    versions { nodes {
      id nativeId name description framework frameworkName readiness ioMode ioLength copyright license
      properties createdAt updatedAt deployTargets supportedOperations baseModel extra
      source { type typeName taskId taskName runId iteration details }
      trainedWith { name }
    } }
} }"""


def reference(name: str) -> Any:
    return json.loads(files("gateway.twins").joinpath("reference", name).read_text(encoding="utf-8"))


async def test_a_pai_model_version_has_every_field_of_its_reference_page(world: World) -> None:
    page = reference("pai_ListModelVersions.json")["Versions"][0]
    version = (await world.gateway.query(VERSION_OF_PAI)).data["modelVersion"]
    assert {key: value for key, value in version["raw"].items() if key != "RequestId"} == page
    del version["raw"]
    assert version == {
        "name": "0.2.0",
        "createdAt": "2024-03-11T02:18:44Z",
        "updatedAt": "2024-03-12T09:05:01Z",
        "owner": {"nativeId": "1234567890123456", "accountId": "1234567890123456"},
        "uri": "oss://example-bucket.oss-cn-shanghai.aliyuncs.com/models/sentiment/0.2.0/",
        "description": "第二版，加入领域语料。",
        "labels": [{"key": "base_model", "value": "bert-base-chinese"}, {"key": "env", "value": "test"}],
        "format": "SAVED_MODEL",
        "formatName": "SavedModel",
        "framework": "TENSORFLOW",
        "frameworkName": "TensorFlow",
        "options": {"signature": "serving_default"},
        "metrics": page["Metrics"],
        "evaluations": [
            {"dataset": {"nativeId": "d-sdkjanksaklerhfd", "uri": None}, "metrics": [{"name": "cer", "value": 0.175}]},
            {
                "dataset": {"nativeId": None, "uri": "oss://example-bucket.oss-cn-shanghai.aliyuncs.com/eval/"},
                "metrics": [{"name": "cer", "value": 0.172}],
            },
        ],
        "trainingSpec": page["TrainingSpec"],
        "inferenceSpec": {"processor": "tensorflow_gpu_1.12"},
        "evaluationSpec": {},
        "compressionSpec": {},
        "distillationSpec": {},
        "source": {
            "type": "PIPELINE",
            "typeName": "PAIFlow",
            "nativeId": "run-sakdbaskjdf",
            "region": "cn-shanghai",
            "workspaceId": "23456",
            "kind": "PipelineRun",
        },
        "approval": "APPROVED",
        "readiness": None,
        "extra": {"ExtraInfo": page["ExtraInfo"]},
        "trainedWith": [
            {
                "name": "text_classification_bert",
                "provider": "pai",
                "version": "v0.1.0",
                "algorithm": {"name": "text_classification_bert", "provider": "pai"},
            }
        ],
    }


async def test_a_pai_algorithm_version_has_every_field_of_its_reference_page(world: World) -> None:
    page = reference("pai_GetAlgorithmVersion_seed_example.json")
    version = (await world.gateway.query(ALGORITHM_VERSION_OF_PAI)).data["algorithmVersion"]
    spec = page["AlgorithmSpec"]
    channel = {
        "name": "Model",
        "description": "模型输出。",
        "required": True,
        "properties": {},
        "supportedChannelTypes": ["oss"],
    }
    assert version == {
        "id": "pai:algorithm/algo-xsldfvu1334/version/v0.0.1",
        "name": "v0.0.1",
        "createdAt": "2024-07-10T11:49:47Z",
        "updatedAt": "2024-07-10T11:49:47Z",
        "owner": {"nativeId": "123456789", "tenantId": "123456789"},
        "raw": page,
        "algorithm": {"nativeId": "algo-xsldfvu1334", "name": "llm_training", "provider": "pai"},
        "spec": {
            "image": "registry.cn-shanghai.aliyuncs.com/pai-training/kmeans:v1.0.0",
            "command": ["python train.py"],
            "jobType": "TFJob",
            "supportedInstanceTypes": ["ecs.g6.2xlarge"],
            "supportsDistributedTraining": True,
            "customization": {"CodeDir": True},
            "hyperParameters": [
                {
                    "name": "batch_size",
                    "displayName": "Batch Size",
                    "description": "参数定义了训练的batch_size。",
                    "type": "Integer",
                    "required": True,
                    "defaultValue": "0",
                    "range": {
                        "enum": ["0"],
                        "minimum": "0",
                        "maximum": "10",
                        "exclusiveMinimum": True,
                        "exclusiveMaximum": True,
                        "minLength": 1,
                        "maxLength": 30,
                        "pattern": "^\\+?[1-9][0-9]*$",
                    },
                }
            ],
            "inputChannels": [channel],
            "outputChannels": [channel],
            "metricDefinitions": [
                {"name": "loss", "regex": spec["MetricDefinitions"][0]["Regex"], "description": "训练损失函数。"}
            ],
            "progressDefinitions": {
                "overallProgress": {"description": "training progress", "regex": "^[0-9]+([.][0-9]+){0,1}$"},
                "remainingTime": {"description": "training remaining time", "regex": "^[0-9]+([.][0-9]+){0,1}$"},
            },
            "computeResource": {
                "policy": {
                    "version": "V1",
                    "value": spec["ComputeResource"]["Policy"]["Value"],
                    "rules": [
                        {
                            "MinTotalCount": 1,
                            "MaxTotalCount": 4,
                            "RolePolicies": {"chief": {"Count": 1}, "ps": {"Count": 1}, "worker": {"Percentage": 100}},
                        },
                        {
                            "MinTotalCount": 5,
                            "MaxTotalCount": 10,
                            "RolePolicies": {
                                "chief": {"Count": 1},
                                "ps": {"Percentage": 20},
                                "worker": {"Percentage": 80},
                            },
                        },
                        {
                            "MinTotalCount": 11,
                            "RolePolicies": {
                                "chief": {"Count": 1},
                                "ps": {"Percentage": 40},
                                "worker": {"Percentage": 60},
                            },
                        },
                    ],
                }
            },
            "resourceRequirements": [
                {"key": "SupportedMachineTypes", "operator": "in", "values": ["ecs.gn5-c4g1.xlarge"]}
            ],
            "codeDir": {"locationType": "OSS", "location": {"test": "test", "test2": 1}},
        },
    }
    assert world.calls() == {"GetAlgorithmVersion": 1}


async def test_a_qianfan_model_has_every_field_of_its_reference_page_in_one_call(world: World) -> None:
    page = reference("qianfan_v1_modelDetail_seed_example.json")["result"]
    source = page["modelVersionList"][0]["sourceExtra"]
    assert (await world.gateway.query(MODEL_OF_QIANFAN)).data["model"] == {
        "id": "qianfan:model/5862",
        "nativeId": "5862",
        "name": "强化_bloom",
        "ownership": "OWN",
        "type": "Text2Text",
        "labels": None,
        "owner": {"nativeId": "20", "name": "baidu_aipd"},
        "createdAt": "2023-09-22T14:41:11Z",
        "updatedAt": "2023-09-22T14:41:11Z",
        "description": None,
        "raw": page,
        "versions": {
            "nodes": [
                {
                    "id": "qianfan:model/5862/version/7203",
                    "nativeId": "7203",
                    "name": "1",
                    "description": None,
                    "framework": "PYTORCH",
                    "frameworkName": "pytorch",
                    "readiness": "READY",
                    "ioMode": "chat",
                    "ioLength": None,
                    "copyright": "Copyright (C) BigScience",
                    "license": None,
                    "properties": {},
                    "createdAt": "2023-09-22T14:41:11Z",
                    "updatedAt": "2023-09-22T14:43:13Z",
                    "deployTargets": ["Private"],
                    "supportedOperations": ["Deploy", "Evaluation", "Acceleration"],
                    "baseModel": "bloomz-7b1-mt",
                    "extra": {"algorithm": "opensource-bloomz-7b1-mt", "modelNet": "bloomz-7b1-mt"},
                    "source": {
                        "type": "TRAINING",
                        "typeName": "Train",
                        "taskId": "8753",
                        "taskName": "cmc_rlhf",
                        "runId": "4973",
                        "iteration": 1,
                        "details": source,
                    },
                    "trainedWith": [{"name": "opensource-bloomz-7b1-mt"}],
                }
            ]
        },
    }
    assert world.calls() == {"modelDetail": 1}


async def test_one_query_spans_both_clouds(world: World) -> None:
    query = """{
      pai: model(id: "pai:model/model-rbvg5wzljzjhc9ks92") { name versions { nodes { name } } }
      qianfan: model(id: "qianfan:model/am-txtetx0pq9sb") { id name
        versions { nodes { trainedWith { algorithm { id name } algorithmVersion { spec { hyperParameters { name
          range { minimum maximum enum } } } } } } } }
      algorithmVersion(id: "pai:algorithm/algo-xsldfvu1334/version/v0.0.1") { spec { jobType } }
    }"""
    data = (await world.gateway.query(query)).data
    assert [version["name"] for version in data["pai"]["versions"]["nodes"]] == ["0.2.0", "0.1.0"]
    assert data["algorithmVersion"]["spec"]["jobType"] == "TFJob"
    training = data["qianfan"]["versions"]["nodes"][0]["trainedWith"][0]
    assert training["algorithm"] == {"id": "qianfan:algorithm/BLOOMZ-7B:SFT:LoRA", "name": "BLOOMZ-7B/SFT/LoRA"}
    parameters = training["algorithmVersion"]["spec"]["hyperParameters"]
    assert {"name": "epoch", "range": {"minimum": "1", "maximum": "50", "enum": None}} in parameters


async def test_both_ids_of_a_qianfan_model_are_the_same_object(world: World) -> None:
    query = '{ nodes(ids: ["qianfan:model/12648", "qianfan:model/am-gggg4444hhhh"]) { id ... on Model { name } } }'
    one, other = (await world.gateway.query(query)).data["nodes"]
    assert one == other == {"id": "qianfan:model/am-gggg4444hhhh", "name": "poster-painter"}

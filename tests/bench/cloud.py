"""The upstream of the benchmark: both clouds in one process, with prepared response bodies.

Rows have as many fields as the clouds' own. Requests are not checked and never fail.
"""

import json
import sys
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import orjson

from tests.bench.processes import Receive, Scope, Send, answer, serve

ROWS = 50
QIANFAN_MODELS = 50
COUNTER = "/calls"
START = datetime(2024, 7, 1, tzinfo=UTC)


def stamp(row: int, minutes: int = 0) -> str:
    return (START - timedelta(hours=row, minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")


def model(row: int) -> dict[str, Any]:
    return {
        "ModelId": f"model-{row:06}",
        "ModelName": f"text-classification-{row:06}",
        "ModelDescription": f"用于文本分类的模型, general news sentiment classification {row}",
        "ModelDoc": f"https://example.oss-cn-hangzhou.aliyuncs.com/docs/model-{row:06}.md",
        "ModelType": ("Checkpoint", "LoRA")[row % 2],
        "Origin": "ModelScope",
        "Domain": ("nlp", "cv", "multi-modal")[row % 3],
        "Task": "text-classification",
        "Accessibility": "PRIVATE",
        "WorkspaceId": f"796{row % 100:02}",
        "OwnerId": f"155770209{row:06}",
        "GmtCreateTime": stamp(row),
        "GmtModifiedTime": stamp(row, 30),
        "ParameterSize": 7_000_000_000,
        "Labels": [{"Key": "base_model", "Value": "qwen"}, {"Key": "license", "Value": "apache-2.0"}],
        "ExtraInfo": {"CoverUris": [f"https://example.oss-cn-hangzhou.aliyuncs.com/cover-{row:06}.png"]},
    }


def versions(row: int) -> dict[str, Any]:
    rows = [
        {
            "VersionName": f"0.{3 - version}.0",
            "GmtCreateTime": stamp(row, version),
            "GmtModifiedTime": stamp(row, version),
            "Uri": f"oss://bucket.oss-cn-beijing.aliyuncs.com/models/{row:06}/v{3 - version}/",
            "VersionDescription": "fine-tuned from the base checkpoint",
            "FormatType": "SavedModel",
            "FrameworkType": ("TensorFlow", "Pytorch")[version % 2],
            "Metrics": {"Results": [{"Dataset": {"DatasetId": "d-1"}, "Metrics": {"cer": 0.175}}]},
            "InferenceSpec": {"processor": "tensorflow_gpu_1.12"},
            "ApprovalStatus": ("Approved", "Pending", "Rejected")[version],
        }
        for version in range(3)
    ]
    return {"RequestId": "r", "TotalCount": len(rows), "Versions": rows}


ALGORITHM = {
    "AlgorithmId": "algo-1",
    "AlgorithmName": "llm_training",
    "AlgorithmProvider": "pai",
    "AlgorithmVersion": "v1",
    "GmtCreateTime": stamp(0),
    "AlgorithmSpec": {
        "JobType": "TFJob",
        "Image": "registry.cn-shanghai.aliyuncs.com/pai-training/kmeans:v1.0.0",
        "Command": ["python train.py"],
        "SupportsDistributedTraining": True,
        "HyperParameters": [
            {"Name": name, "Type": "Integer", "Description": "how much", "Required": True, "DefaultValue": 1}
            for name in ("batch_size", "epochs", "rank")
        ],
        "InputChannels": [{"Name": "train", "Required": True, "SupportedChannelTypes": ["oss"]}],
        "MetricDefinitions": [{"Name": "loss", "Regex": "loss=([0-9.]+)", "Description": "training loss"}],
    },
}


def qianfan_model(row: int) -> dict[str, Any]:
    created = (START - timedelta(hours=row, seconds=1)).astimezone().isoformat()
    return {
        "modelId": 5800 + row,
        "modelIdStr": f"am-{row:012x}",
        "modelName": f"强化_bloom_{row:02}",
        "source": "UserCreate",
        "modelType": row % 4,
        "createUser": "bench",
        "createTime": created,
        "modifyTime": created,
        "description": "经过 RLHF 强化学习训练得到的对话模型, 适用于客服与知识问答场景",
        "tags": ["对话", "RLHF"],
        "modelVersionList": [],
    }


class Cloud:
    """An ASGI application with ``models`` PAI models. Bodies are cached by path and page.

    At `COUNTER` it reports how many calls it has answered.
    """

    def __init__(self, models: int) -> None:
        self.models, self.calls, self._bodies = models, 0, dict[str, bytes]()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        content = b""
        while (part := await receive()).get("type") == "http.request":
            content += part.get("body", b"")
            if not part.get("more_body"):
                break
        path, query = scope["path"], scope["query_string"].decode()
        if path == COUNTER:
            await answer(send, b"%d" % self.calls)
            return
        self.calls += 1
        page = self._page(query, content)
        body = self._bodies.get(f"{path}?{page}")
        if body is None:
            body = self._bodies[f"{path}?{page}"] = orjson.dumps(self._document(path, page))
        await answer(send, body)

    def _page(self, query: str, content: bytes) -> int:
        if content:
            return int(json.loads(content).get("pageNo", 1))
        return int(parse_qs(query).get("PageNumber", ["1"])[0])

    def _document(self, path: str, page: int) -> Any:
        rows = range((page - 1) * ROWS, page * ROWS)
        match path.strip("/").split("/"):
            case ["api", "v1", "models"]:
                listed = [model(row) for row in rows if row < self.models]
                return {"RequestId": "r", "TotalCount": self.models, "Models": listed}
            case ["api", "v1", "models", name]:
                return {"RequestId": "r", **model(int(name.removeprefix("model-")))}
            case ["api", "v1", "models", name, "versions"]:
                return versions(int(name.removeprefix("model-")))
            case ["api", "v1", "algorithms", name, "versions", version]:
                return {**ALGORITHM, "AlgorithmId": name, "AlgorithmVersion": version}
            case [*_, "user", "list"]:
                listed = [qianfan_model(row) for row in rows if row < QIANFAN_MODELS]
                return {"log_id": "1", "result": {"total": QIANFAN_MODELS, "items": listed}}
        raise LookupError(path)


if __name__ == "__main__":
    serve(Cloud(models=int(sys.argv[2])), int(sys.argv[1]))

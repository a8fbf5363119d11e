"""Generated PAI models and versions, with every documented value and every known irregularity of the cloud."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from gateway.twins.lazy_rows import RowKey
from gateway.twins.rows import FIRST_DAY, Algorithm, Json, LazySequence, PaiModel, step
from gateway.twins.seeded_random import ABSENT, ReversibleIds, SeededRandom, present_fields

SALT = 0x9A1
OWN, PAI, HUGGINGFACE = "", "pai", "huggingface"
WORKSPACES = ("23456", "23456", "12345", "88061", "88062")
USERS = ("200000000000000017", "200000000000000018", "200000000000000023", "1234567890123456")
ACCOUNT = "1234567890123456"
PLATFORM_ACCOUNT = "1557702098000000"

SUBJECTS = (
    ("情感分析", "nlp", "text-classification"),
    ("合同条款抽取", "nlp", "information-extraction"),
    ("客服意图识别", "nlp", "text-classification"),
    ("sentiment-bert-base", "nlp", "text-classification"),
    ("zh-en-translation", "nlp", "translation"),
    ("质检缺陷检测", "cv", "image-object-detection"),
    ("resnet50-defect", "cv", "image-classification"),
    ("yolov8-shelf-monitor", "cv", "image-object-detection"),
    ("商品海报生成", "aigc", "text-to-image-synthesis"),
    ("sdxl-poster-lora", "aigc", "text-to-image-synthesis"),
    ("qwen2.5-7b-instruct", "llm", "text-generation"),
    ("通义千问客服助手", "llm", "text-generation"),
    ("llama-3-8b-support", "llm", "text-generation"),
    ("deepseek-r1-distill-7b", "llm", "text-generation"),
    ("医疗问答大模型", "llm", "chat"),
    ("语音转写 paraformer", "audio", "auto-speech-recognition"),
    ("fraud_xgboost", "", ""),
    ("销量预测", ABSENT, None),
)
STYLES = ("-{}", "_{}", " {}", "-v{}", "（第{}批）")
DESCRIPTIONS = (
    ABSENT,
    None,
    "",
    "用真实业务语料微调，供线上服务使用。",
    "Fine-tuned on in-house data. See the model card for evaluation details.",
    "多行说明：\n1. 训练数据已脱敏\n2. 仅供内部使用 🚀",
)
MODEL_TYPES = ("Checkpoint", "Checkpoint", "Checkpoint", "LoRA", "LoRA", "Endpoint", "Adapter", "", None, ABSENT)
ORIGINS = ("ModelScope", "ModelScope", "HuggingFace", "Civitai", "", None, ABSENT)
SIZES = (ABSENT, None, 0, 66, 110, 560, 1_800, 7_000, 8_030, 14_000, 32_000, 72_000, 671_000)
LABELS = (("team", "search"), ("team", "风控"), ("env", "prod"), ("base_model", "bert-base-chinese"), ("owner", ""))
FORMATS_AND_FRAMEWORKS: tuple[tuple[object, object], ...] = (
    ("SavedModel", "TensorFlow"),
    ("SavedModel", "Keras"),
    ("TorchScript", "Pytorch"),
    ("TorchScript", "PyTorch"),
    ("Keras H5", "Keras"),
    ("KerasH5", "Keras"),
    ("Frozen Pb", "TensorFlow"),
    ("FrozenPb", "TensorFlow"),
    ("Caffe Prototxt", "Caffe"),
    ("Caffe", "Caffe"),
    ("XGBoost", "XGBoost"),
    ("PMML", "Alink"),
    ("AlinkModel", "Alink"),
    ("OfflineModel", "Xflow"),
    ("ONNX", "Pytorch"),
    ("ONNX", "MindSpore"),
    ("TFLite", "TFLite"),
    ("BladeModel", "Blade"),
    ("GGUF", ""),
    ("", "Pytorch"),
    (None, "PyTorch"),
    (ABSENT, ABSENT),
)
APPROVALS = ("Pending", "Approved", "Approved", "Rejected", "", None, ABSENT)
OPTIONS = ("", "{}", '{"signature":"serving_default"}', '{"quantization":"int8","层数":12}', None, ABSENT)
SOURCES = (
    ("Custom", ""),
    ("Custom", "made-by-hand-{}"),
    (ABSENT, ABSENT),
    ("", ""),
    ("PAIFlow", "region=cn-shanghai,workspaceId=23456,kind=PipelineRun,id=run-{}"),
    ("TrainingService", "region=cn-hangzhou,workspaceId=12345,kind=ServiceJob,id=job-{}"),
    ("TrainingService", "region=cn-hangzhou,workspaceId=23456,kind=TrainingJob,id=train{}"),
)
VERSION_NAMES = ("0.{}.0", "0.{}.0", "0.{}.0", "1.0.{}", "1.{}.0_beta")
PUBLIC_VERSION_NAMES = ("0.{}.0", "v{}.0", "main-{}")

IMAGE = "registry.cn-shanghai.aliyuncs.com/pai-training/llm:v1.0.0"
RESOURCES = (
    {"EcsCount": 1, "EcsSpec": "ecs.gn6i-c4g1.xlarge"},
    {"InstanceCount": 2, "InstanceSpec": {"CPU": "16", "GPU": "2", "Memory": "128Gi", "SharedMemory": "64Gi"}},
)
METHODS = (("Standard", "QLoRA_LLM"), ("Standard",), ("SFT", "DPO", "LoRA_LLM"))


class PaiModels:
    """Generates models by index. Only the creation times also depend on the number of models."""

    residues: Mapping[str, tuple[int, ...]] = {
        OWN: tuple(n for n in range(50) if n % 5),
        PAI: tuple(range(5, 50, 5)),
        HUGGINGFACE: (0,),
    }

    def __init__(self, count: int, algorithms: Sequence[Algorithm]) -> None:
        self.count = count
        self._algorithms = algorithms
        self._step = step(count)
        self._ids = ReversibleIds("model-", 18)

    def index(self, key: RowKey) -> int | None:
        return self._ids.number(key) if isinstance(key, str) else None

    def created(self, index: int) -> datetime:
        jitter = SeededRandom(SALT, index, 1).below(1000 * (self._step - 1))
        return FIRST_DAY + timedelta(seconds=index * self._step, milliseconds=jitter)

    def row(self, index: int) -> PaiModel:
        rng = SeededRandom(SALT, index)
        provider = next(name for name, residues in self.residues.items() if index % 50 in residues)
        subject, domain, task = SUBJECTS[(index * 7 + index // 50) % len(SUBJECTS)]
        created = self.created(index)
        versions = self._version_count(index)
        apply_fault = self._version_time(index, versions - 1) if versions else created
        labels = _labels(rng)
        public = provider != OWN
        number = f"{index // len(SUBJECTS) + 1:03d}"
        head = present_fields(
            ModelId=self._ids.text(index),
            ModelName=subject + rng.pick(STYLES).format(number),
            GmtCreateTime=format_time(created, rng),
            GmtModifiedTime=format_time(apply_fault + timedelta(hours=rng.below(400)), rng),
            WorkspaceId="" if public else rng.pick(WORKSPACES),
            UserId=PLATFORM_ACCOUNT if public else rng.pick(USERS),
            OwnerId=PLATFORM_ACCOUNT if public else ACCOUNT,
            ModelDescription=rng.pick(DESCRIPTIONS),
            Accessibility="PUBLIC" if public else rng.pick(("PRIVATE", "PRIVATE", "PUBLIC", ABSENT)),
            OrderNumber=rng.pick((ABSENT, rng.below(500))),
            Origin=rng.pick(ORIGINS),
            Domain=domain,
            Task=task,
            ModelDoc=rng.pick((ABSENT, None, "", f"https://docs.example.com/models/{number}.md")),
            Provider=provider or rng.pick((None, ABSENT, ABSENT)),
            ModelType=rng.pick(MODEL_TYPES),
            Labels=labels,
            ExtraInfo=_popularity(rng) if rng.one_in(3) else rng.pick((ABSENT, None, {}, "", "{}")),
            ParameterSize=rng.pick(SIZES),
            GmtLatestVersionModifiedTime=format_time(apply_fault, rng) if versions else rng.pick((ABSENT, None)),
        )
        listed: Json = {"Tags": labels if isinstance(labels, list) else []}
        collections = (rng.pick(("QuickStart", "QuickStart", "AI4D", "")),) if public else ()
        return PaiModel(head, LazySequence(versions, lambda n: self._version(index, n)), listed, collections)

    def _version_count(self, index: int) -> int:
        if index % 40 == 17:
            return 51 + SeededRandom(SALT, index, 2).below(10)
        return SeededRandom(SALT, index, 2).pick((0, 1, 1, 1, 2, 2, 3, 5))

    def _version_time(self, index: int, number: int) -> datetime:
        return self.created(index) + timedelta(
            seconds=number * 93_600 + SeededRandom(SALT, index, 3, number).below(3600)
        )

    def _version(self, index: int, number: int) -> Json:
        rng = SeededRandom(SALT, index, 4, number)
        public = bool(index % 5 == 0)
        created = self._version_time(index, number)
        names = SeededRandom(SALT, index, 5).pick(PUBLIC_VERSION_NAMES if public else VERSION_NAMES)
        source_type, source_id = ("", "") if public else rng.pick(SOURCES)
        form, framework = rng.pick(FORMATS_AND_FRAMEWORKS)
        tag = f"{rng.bits():012x}"[:12]
        return present_fields(
            VersionName=names.format(number + 1),
            GmtCreateTime=format_time(created, rng),
            GmtModifiedTime=format_time(created + timedelta(minutes=rng.below(5000)), rng),
            UserId=PLATFORM_ACCOUNT if public else rng.pick(USERS),
            OwnerId=PLATFORM_ACCOUNT if public else ACCOUNT,
            Uri=rng.pick(
                (
                    f"oss://example-bucket.oss-cn-shanghai.aliyuncs.com/models/{index}/{number + 1}/",
                    f"https://models.example.com/{index}/{number + 1}.tar.gz",
                )
            ),
            VersionDescription=rng.pick((ABSENT, None, "", f"第 {number + 1} 版。", "Retrained with new data.")),
            Labels=_labels(rng),
            FormatType=form,
            FrameworkType=framework,
            Options=rng.pick(OPTIONS),
            Metrics=_metrics(rng),
            TrainingSpec=_training(rng, self._algorithms),
            InferenceSpec=_inference(rng),
            EvaluationSpec=_evaluation(rng, self._algorithms),
            CompressionSpec=rng.pick((ABSENT, {}, {}, None, "{}")),
            DistillationSpec=rng.pick((ABSENT, ABSENT, {}, None)),
            SourceType=source_type,
            SourceId=source_id.format(tag) if isinstance(source_id, str) else source_id,
            ApprovalStatus=rng.pick(APPROVALS),
            ExtraInfo=rng.pick((ABSENT, None, {}, {"TrainedWords": ["albedo_overlord"], "CoverUris": []})),
        )


def format_time(time: datetime, rng: SeededRandom) -> str:
    """Return a time in one of the cloud's two formats, with or without milliseconds."""
    text = time.isoformat(timespec=rng.pick(("seconds", "seconds", "milliseconds")))
    return text.replace("+00:00", "Z")


def _labels(rng: SeededRandom) -> object:
    count = rng.pick((0, 1, 1, 2, 3))
    if count == 0:
        return rng.pick((ABSENT, None, []))
    start = rng.below(len(LABELS))
    pairs = [LABELS[(start + offset) % len(LABELS)] for offset in range(count)]
    return [{"Key": key, "Value": value} for key, value in pairs]


def _popularity(rng: SeededRandom) -> Json:
    return {
        "RatingCount": rng.below(5000),
        "Rating": rng.below(500) / 100,
        "FavoriteCount": rng.below(900),
        "DownloadCount": rng.below(1_000_000),
        "CoverUris": ["https://example-bucket.oss-cn-hangzhou.aliyuncs.com/cover.png"],
        "Notes": '{"来源": "社区"}',
    }


def _metrics(rng: SeededRandom) -> object:
    score = rng.below(1000) / 1000
    dataset = rng.pick(
        (
            {"DatasetId": f"d-{rng.bits():016x}"},
            {"Uri": "oss://example-bucket.oss-cn-shanghai.aliyuncs.com/eval/"},
            {"Train": "oss://example-bucket.oss-cn-shanghai.aliyuncs.com/train.json"},
        )
    )
    results = [{"Dataset": dataset, "Metrics": {"accuracy": score, "loss": round(1 - score, 3)}}]
    return rng.pick(
        (
            ABSENT,
            None,
            {},
            "",
            "{}",
            {"accuracy": score, "备注": "人工评测"},
            {"Results": []},
            {"Results": results},
            {"Results": [*results, {"Dataset": {}, "Metrics": {"cer": 0.172, "wer": "0.2"}}]},
        )
    )


def _training(rng: SeededRandom, algorithms: Sequence[Algorithm]) -> object:
    """Return a training spec: by name, inline, several methods of both, or one of the five forms of an empty spec."""
    kind = rng.below(10)
    if kind < 3:
        return rng.pick((ABSENT, None, {}, "", "{}"))
    if kind < 7:
        return _by_name(rng, algorithms)
    if kind == 7:
        return _inline(rng)
    return {
        method: _inline(rng) if index % 2 else _by_name(rng, algorithms)
        for index, method in enumerate(rng.pick(METHODS))
    }


def _evaluation(rng: SeededRandom, algorithms: Sequence[Algorithm]) -> object:
    return rng.pick((ABSENT, None, {}, "{}")) if rng.below(8) else _by_name(rng, algorithms)


def _inference(rng: SeededRandom) -> object:
    return rng.pick(
        (
            ABSENT,
            None,
            {},
            "{}",
            {"processor": "tensorflow_gpu_1.12"},
            {"Processor": "pytorch_gpu_2.1"},
            {"containers": [{"image": "pai-eas/vllm:0.5", "port": 8000}], "metadata": {"gpu": 1, "instance": 1}},
        )
    )


def _by_name(rng: SeededRandom, algorithms: Sequence[Algorithm]) -> Json:
    if not algorithms:
        return {}
    version = rng.pick(rng.pick(algorithms).versions)
    return {
        "AlgorithmName": version["AlgorithmName"],
        "AlgorithmProvider": version["AlgorithmProvider"],
        "AlgorithmVersion": version["AlgorithmVersion"],
        "HyperParameters": [
            {"Name": "learning_rate", "Value": rng.pick(("2e-5", "5e-5", "1e-4"))},
            {"Name": "num_train_epochs", "Value": str(1 + rng.below(5))},
        ],
        "InputChannels": [{"Name": "train", "InputUri": "oss://example-bucket.oss-cn-shanghai.aliyuncs.com/t.csv"}],
        "ComputeResource": rng.pick(RESOURCES),
        "Scheduler": {"MaxRunningTimeInSeconds": 86400},
    }


def _inline(rng: SeededRandom) -> Json:
    return {
        "AlgorithmSpec": {
            "Image": IMAGE,
            "Command": ["sh", "-c", "python train.py"],
            "JobType": rng.pick(("PyTorchJob", "TFJob", "MPIJob")),
            "HyperParameters": [{"Name": "learning_rate", "Type": "Float", "DefaultValue": "5e-5", "Required": True}],
            "InputChannels": [{"Name": "model", "Required": True}, {"Name": "train", "Required": True}],
            "OutputChannels": [{"Name": "model", "Required": True}],
            "SupportsDistributedTraining": True,
        },
        "HyperParameters": [{"Name": "lora_rank", "Value": str(8 << rng.below(4))}],
        "ComputeResource": rng.pick(RESOURCES),
    }

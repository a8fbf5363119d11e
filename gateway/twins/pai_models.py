"""Generated PAI models: believable names, every published value, and every oddity the cloud is known for."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from gateway.twins.lazy_rows import Key
from gateway.twins.pai_specs import evaluation, inference, metrics, training
from gateway.twins.rows import FIRST_DAY, Algorithm, Json, Made, PaiModel, step
from gateway.twins.seeded_random import ABSENT, Dice, Ids, known

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


class PaiModels:
    """Row ``n`` is made from ``n`` alone, but for the distance in time, which depends on the size of the corpus."""

    residues: Mapping[str, tuple[int, ...]] = {
        OWN: tuple(n for n in range(50) if n % 5),
        PAI: tuple(range(5, 50, 5)),
        HUGGINGFACE: (0,),
    }

    def __init__(self, count: int, algorithms: Sequence[Algorithm]) -> None:
        self.count = count
        self._algorithms = algorithms
        self._step = step(count)
        self._ids = Ids("model-", 18)

    def index(self, key: Key) -> int | None:
        return self._ids.number(key) if isinstance(key, str) else None

    def created(self, index: int) -> datetime:
        jitter = Dice(SALT, index, 1).below(1000 * (self._step - 1))
        return FIRST_DAY + timedelta(seconds=index * self._step, milliseconds=jitter)

    def row(self, index: int) -> PaiModel:
        dice = Dice(SALT, index)
        provider = next(name for name, residues in self.residues.items() if index % 50 in residues)
        subject, domain, task = SUBJECTS[(index * 7 + index // 50) % len(SUBJECTS)]
        created = self.created(index)
        versions = self._version_count(index)
        changed = self._version_time(index, versions - 1) if versions else created
        labels = _labels(dice)
        public = provider != OWN
        number = f"{index // len(SUBJECTS) + 1:03d}"
        head = known(
            ModelId=self._ids.text(index),
            ModelName=subject + dice.pick(STYLES).format(number),
            GmtCreateTime=written(created, dice),
            GmtModifiedTime=written(changed + timedelta(hours=dice.below(400)), dice),
            WorkspaceId="" if public else dice.pick(WORKSPACES),
            UserId=PLATFORM_ACCOUNT if public else dice.pick(USERS),
            OwnerId=PLATFORM_ACCOUNT if public else ACCOUNT,
            ModelDescription=dice.pick(DESCRIPTIONS),
            Accessibility="PUBLIC" if public else dice.pick(("PRIVATE", "PRIVATE", "PUBLIC", ABSENT)),
            OrderNumber=dice.pick((ABSENT, dice.below(500))),
            Origin=dice.pick(ORIGINS),
            Domain=domain,
            Task=task,
            ModelDoc=dice.pick((ABSENT, None, "", f"https://docs.example.com/models/{number}.md")),
            Provider=provider or dice.pick((None, ABSENT, ABSENT)),
            ModelType=dice.pick(MODEL_TYPES),
            Labels=labels,
            ExtraInfo=_popularity(dice) if dice.one_in(3) else dice.pick((ABSENT, None, {}, "", "{}")),
            ParameterSize=dice.pick(SIZES),
            GmtLatestVersionModifiedTime=written(changed, dice) if versions else dice.pick((ABSENT, None)),
        )
        listed: Json = {"Tags": labels if isinstance(labels, list) else []}
        collections = (dice.pick(("QuickStart", "QuickStart", "AI4D", "")),) if public else ()
        return PaiModel(head, Made(versions, lambda n: self._version(index, n)), listed, collections)

    def _version_count(self, index: int) -> int:
        if index % 40 == 17:
            return 51 + Dice(SALT, index, 2).below(10)
        return Dice(SALT, index, 2).pick((0, 1, 1, 1, 2, 2, 3, 5))

    def _version_time(self, index: int, number: int) -> datetime:
        return self.created(index) + timedelta(seconds=number * 93_600 + Dice(SALT, index, 3, number).below(3600))

    def _version(self, index: int, number: int) -> Json:
        dice = Dice(SALT, index, 4, number)
        public = bool(index % 5 == 0)
        created = self._version_time(index, number)
        names = Dice(SALT, index, 5).pick(PUBLIC_VERSION_NAMES if public else VERSION_NAMES)
        source_type, source_id = ("", "") if public else dice.pick(SOURCES)
        form, framework = dice.pick(FORMATS_AND_FRAMEWORKS)
        tag = f"{dice.number():012x}"[:12]
        return known(
            VersionName=names.format(number + 1),
            GmtCreateTime=written(created, dice),
            GmtModifiedTime=written(created + timedelta(minutes=dice.below(5000)), dice),
            UserId=PLATFORM_ACCOUNT if public else dice.pick(USERS),
            OwnerId=PLATFORM_ACCOUNT if public else ACCOUNT,
            Uri=dice.pick(
                (
                    f"oss://example-bucket.oss-cn-shanghai.aliyuncs.com/models/{index}/{number + 1}/",
                    f"https://models.example.com/{index}/{number + 1}.tar.gz",
                )
            ),
            VersionDescription=dice.pick((ABSENT, None, "", f"第 {number + 1} 版。", "Retrained with new data.")),
            Labels=_labels(dice),
            FormatType=form,
            FrameworkType=framework,
            Options=dice.pick(OPTIONS),
            Metrics=metrics(dice),
            TrainingSpec=training(dice, self._algorithms),
            InferenceSpec=inference(dice),
            EvaluationSpec=evaluation(dice, self._algorithms),
            CompressionSpec=dice.pick((ABSENT, {}, {}, None, "{}")),
            DistillationSpec=dice.pick((ABSENT, ABSENT, {}, None)),
            SourceType=source_type,
            SourceId=source_id.format(tag) if isinstance(source_id, str) else source_id,
            ApprovalStatus=dice.pick(APPROVALS),
            ExtraInfo=dice.pick((ABSENT, None, {}, {"TrainedWords": ["albedo_overlord"], "CoverUris": []})),
        )


def written(moment: datetime, dice: Dice) -> str:
    """A time in the clouds' two spellings, with and without milliseconds."""
    text = moment.isoformat(timespec=dice.pick(("seconds", "seconds", "milliseconds")))
    return text.replace("+00:00", "Z")


def _labels(dice: Dice) -> object:
    count = dice.pick((0, 1, 1, 2, 3))
    if count == 0:
        return dice.pick((ABSENT, None, []))
    start = dice.below(len(LABELS))
    pairs = [LABELS[(start + offset) % len(LABELS)] for offset in range(count)]
    return [{"Key": key, "Value": value} for key, value in pairs]


def _popularity(dice: Dice) -> Json:
    return {
        "RatingCount": dice.below(5000),
        "Rating": dice.below(500) / 100,
        "FavoriteCount": dice.below(900),
        "DownloadCount": dice.below(1_000_000),
        "CoverUris": ["https://example-bucket.oss-cn-hangzhou.aliyuncs.com/cover.png"],
        "Notes": '{"来源": "社区"}',
    }

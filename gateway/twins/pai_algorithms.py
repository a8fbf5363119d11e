"""Generated PAI algorithms. Specs vary like the cloud's: numbers or text, escaped once or twice, full or minimal."""

import json
from datetime import timedelta

from gateway.twins.pai_models import format_time
from gateway.twins.rows import FIRST_DAY, Algorithm, Json
from gateway.twins.seeded_random import ABSENT, ReversibleIds, SeededRandom, present_fields

SALT = 0xA190
IDS = ReversibleIds("algo-", 11)
STEMS = (
    ("text_classification_bert", "BERT 文本分类", "基于 BERT 的文本分类训练。"),
    ("image_classification_vit", "ViT Image Classification", "Vision transformer fine-tuning."),
    ("object_detection_yolox", "YOLOX 目标检测", ""),
    ("llm_sft_deepspeed", "LLM SFT (DeepSpeed)", "大语言模型全量微调。"),
    ("llm_lora", "LLM LoRA", "Low-rank adaptation of large language models."),
    ("llm_dpo", "LLM DPO", "直接偏好优化。"),
    ("text_to_image_lora", "文生图 LoRA", "Stable Diffusion LoRA 训练。"),
    ("xgboost_train", "XGBoost", None),
    ("asr_paraformer", "Paraformer 语音识别", "语音识别微调。"),
    ("time_series_informer", "Informer 时序预测", "Long sequence forecasting."),
    ("kmeans_cluster", "K-Means", ABSENT),
    ("recommend_deepfm", "DeepFM 推荐", "点击率预估。"),
    ("reward_model", "Reward Model", "RLHF reward model training."),
    ("keypoint_hrnet", "人体关键点", "HRNet 关键点检测。"),
    ("retrieval_bge", "BGE 向量检索", "Embedding model fine-tuning."),
)
JOB_TYPES = ("PyTorchJob", "PyTorchJob", "TFJob", "XGBoostJob", "ElasticBatchJob", "MPIJob", "RayJob")
POLICY = [
    {"MinTotalCount": 1, "MaxTotalCount": 4, "RolePolicies": {"chief": {"Count": 1}, "worker": {"Percentage": 100}}},
    {
        "MinTotalCount": 5,
        "RolePolicies": {"chief": {"Count": 1}, "ps": {"Percentage": 40}, "worker": {"Percentage": 60}},
    },
]
LOCATIONS = (
    {"LocationType": "OSS", "LocationValue": {"Bucket": "example-bucket", "Key": "pai/code/train.tar.gz"}},
    {"LocationType": "NAS", "LocationValue": {"FileSystemId": "0123456789", "Path": "/code"}},
    {"LocationType": "OSS", "LocationValue": "oss://example-bucket/pai/code/train.tar.gz"},
)


def generated() -> list[Algorithm]:
    """Return two algorithms for every stem: a public one of ``pai``, and a renamed one of the account."""
    return [_algorithm(number) for number in range(2 * len(STEMS))]


def _algorithm(number: int) -> Algorithm:
    rng = SeededRandom(SALT, number)
    stem, display, description = STEMS[number // 2]
    public = number % 2 == 0
    name = stem if public else f"{stem}_{rng.pick(('custom', 'team', '自研'))}"
    created = FIRST_DAY + timedelta(days=12 * number, seconds=rng.below(86_400))
    user: object = rng.pick(("123456789", 123456789, "200000000000000017"))
    shared = present_fields(
        AlgorithmId=IDS.text(number),
        AlgorithmName=name,
        AlgorithmProvider="pai" if public else rng.pick(("", "", None, ABSENT)),
        GmtCreateTime=format_time(created, rng),
        GmtModifiedTime=format_time(created + timedelta(days=rng.below(90)), rng),
        UserId=user,
        TenantId=user,
    )
    head = shared | present_fields(
        DisplayName=rng.pick((display, display, name, "", ABSENT)),
        AlgorithmDescription=description,
        WorkspaceId=rng.pick(("12345", "23456", "88061")),
    )
    versions = []
    for version in range(1 + rng.below(4)):
        version_created = created + timedelta(days=20 * version)
        versions.append(
            shared
            | present_fields(
                AlgorithmProvider=shared.get("AlgorithmProvider") or "",
                AlgorithmVersion=f"v0.{version + 1}.0" if public else f"v0.0.{version + 1}",
                GmtCreateTime=format_time(version_created, rng),
                GmtModifiedTime=format_time(version_created + timedelta(hours=rng.below(200)), rng),
                AlgorithmSpec=_minimal(stem) if rng.one_in(6) else _spec(rng, stem),
            )
        )
    return Algorithm(head, versions)


def _minimal(stem: str) -> Json:
    return {"Image": f"registry.cn-shanghai.aliyuncs.com/pai-training/{stem}:v1.0.0", "Command": ["python train.py"]}


def _spec(rng: SeededRandom, stem: str) -> Json:
    policy = json.dumps(POLICY, separators=(",", ":"))
    twice = rng.one_in(2)
    regex = r".*train:loss=([-+]?[0-9]*\.?[0-9]+).*"
    return _minimal(stem) | present_fields(
        JobType=rng.pick(JOB_TYPES),
        CodeDir=rng.pick((ABSENT, None, *LOCATIONS)),
        ComputeResource=rng.pick(
            (ABSENT, {"Policy": {"Version": "V1", "Value": policy.replace('"', '\\"') if twice else policy}})
        ),
        Customization=rng.pick((ABSENT, {}, {"CodeDir": True}, {"CodeDir": False})),
        HyperParameters=_hyper_parameters(rng),
        InputChannels=rng.pick(
            (
                ABSENT,
                [],
                [
                    {
                        "Name": "train",
                        "Description": "训练数据。",
                        "Required": True,
                        "Properties": {},
                        "SupportedChannelTypes": ["oss", "dataset"],
                    },
                    {"Name": "validation", "Required": False, "Properties": {"MaxSize": "10Gi"}},
                ],
            )
        ),
        OutputChannels=[{"Name": "model", "Required": True, "SupportedChannelTypes": ["oss"]}],
        MetricDefinitions=rng.pick(
            (
                ABSENT,
                [
                    {
                        "Name": "loss",
                        "Regex": regex.replace("\\", "\\\\") if twice else regex,
                        "Description": "训练损失。",
                    }
                ],
            )
        ),
        ProgressDefinitions=rng.pick(
            (ABSENT, {}, {"OverallProgress": {"Description": "progress", "Regex": r"^[0-9]+([.][0-9]+){0,1}$"}})
        ),
        ResourceRequirements=rng.pick(
            (ABSENT, [{"Key": "SupportedMachineTypes", "Operator": "in", "Values": ["ecs.gn6i-c4g1.xlarge"]}])
        ),
        SupportedInstanceTypes=rng.pick((ABSENT, [], ["ecs.g6.2xlarge", "ecs.gn7i-c8g1.2xlarge"])),
        SupportsDistributedTraining=rng.pick((ABSENT, True, False)),
    )


def _hyper_parameters(rng: SeededRandom) -> list[Json]:
    """Return hyperparameters with numeric values, as in the reference documentation, or with text, as in the SDK."""
    numbers = rng.one_in(3)
    whole, real = ("Integer", "Float") if numbers else ("Int", "Float")

    def value(number: float) -> object:
        return number if numbers else str(number)

    return [
        {
            "Name": "batch_size",
            "DisplayName": "Batch Size",
            "Type": whole,
            "DefaultValue": value(8),
            "Description": "每张卡的批大小。",
            "Required": True,
            "Range": {"Enum": [value(8), value(16), value(32)], "Minimum": value(1), "Maximum": value(64)},
        },
        {
            "Name": "learning_rate",
            "Type": real,
            "DefaultValue": value(5e-05),
            "Required": False,
            "Range": {
                "Minimum": value(0),
                "Maximum": value(1),
                "ExclusiveMinimum": True,
                "ExclusiveMaximum": rng.one_in(2),
            },
        },
        {
            "Name": "run_name",
            "Type": "String",
            "DefaultValue": "",
            "Required": False,
            "Range": {"MinLength": 0, "MaxLength": 64, "Pattern": "^[a-z0-9_-]*$"},
        },
        {"Name": "use_flash_attention", "Type": "Boolean", "DefaultValue": rng.pick(("true", "True", True, None))},
        {"Name": "pretrained_model", "Type": "Channel", "Required": rng.one_in(2)},
    ]

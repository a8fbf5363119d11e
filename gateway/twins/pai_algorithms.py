"""Generated PAI algorithms with specs typed as numbers and as text, escaped once and twice, whole and minimal."""

import json
from datetime import timedelta

from gateway.twins.pai_models import written
from gateway.twins.rows import FIRST_DAY, Algorithm, Json
from gateway.twins.seeded_random import ABSENT, Dice, Ids, known

SALT = 0xA190
IDS = Ids("algo-", 11)
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
    """Every stem once by ``pai`` and once, with a name of their own, by the account."""
    return [_algorithm(number) for number in range(2 * len(STEMS))]


def _algorithm(number: int) -> Algorithm:
    dice = Dice(SALT, number)
    stem, display, description = STEMS[number // 2]
    public = number % 2 == 0
    name = stem if public else f"{stem}_{dice.pick(('custom', 'team', '自研'))}"
    created = FIRST_DAY + timedelta(days=12 * number, seconds=dice.below(86_400))
    user: object = dice.pick(("123456789", 123456789, "200000000000000017"))
    shared = known(
        AlgorithmId=IDS.text(number),
        AlgorithmName=name,
        AlgorithmProvider="pai" if public else dice.pick(("", "", None, ABSENT)),
        GmtCreateTime=written(created, dice),
        GmtModifiedTime=written(created + timedelta(days=dice.below(90)), dice),
        UserId=user,
        TenantId=user,
    )
    head = shared | known(
        DisplayName=dice.pick((display, display, name, "", ABSENT)),
        AlgorithmDescription=description,
        WorkspaceId=dice.pick(("12345", "23456", "88061")),
    )
    versions = []
    for place in range(1 + dice.below(4)):
        moment = created + timedelta(days=20 * place)
        versions.append(
            shared
            | known(
                AlgorithmProvider=shared.get("AlgorithmProvider") or "",
                AlgorithmVersion=f"v0.{place + 1}.0" if public else f"v0.0.{place + 1}",
                GmtCreateTime=written(moment, dice),
                GmtModifiedTime=written(moment + timedelta(hours=dice.below(200)), dice),
                AlgorithmSpec=_minimal(stem) if dice.one_in(6) else _spec(dice, stem),
            )
        )
    return Algorithm(head, versions)


def _minimal(stem: str) -> Json:
    return {"Image": f"registry.cn-shanghai.aliyuncs.com/pai-training/{stem}:v1.0.0", "Command": ["python train.py"]}


def _spec(dice: Dice, stem: str) -> Json:
    policy = json.dumps(POLICY, separators=(",", ":"))
    twice = dice.one_in(2)
    regex = r".*train:loss=([-+]?[0-9]*\.?[0-9]+).*"
    return _minimal(stem) | known(
        JobType=dice.pick(JOB_TYPES),
        CodeDir=dice.pick((ABSENT, None, *LOCATIONS)),
        ComputeResource=dice.pick(
            (ABSENT, {"Policy": {"Version": "V1", "Value": policy.replace('"', '\\"') if twice else policy}})
        ),
        Customization=dice.pick((ABSENT, {}, {"CodeDir": True}, {"CodeDir": False})),
        HyperParameters=_hyper_parameters(dice),
        InputChannels=dice.pick(
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
        MetricDefinitions=dice.pick(
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
        ProgressDefinitions=dice.pick(
            (ABSENT, {}, {"OverallProgress": {"Description": "progress", "Regex": r"^[0-9]+([.][0-9]+){0,1}$"}})
        ),
        ResourceRequirements=dice.pick(
            (ABSENT, [{"Key": "SupportedMachineTypes", "Operator": "in", "Values": ["ecs.gn6i-c4g1.xlarge"]}])
        ),
        SupportedInstanceTypes=dice.pick((ABSENT, [], ["ecs.g6.2xlarge", "ecs.gn7i-c8g1.2xlarge"])),
        SupportsDistributedTraining=dice.pick((ABSENT, True, False)),
    )


def _hyper_parameters(dice: Dice) -> list[Json]:
    """The same parameters, typed as the reference page types them (numbers) or as the SDK does (text)."""
    numbers = dice.one_in(3)
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
                "ExclusiveMaximum": dice.one_in(2),
            },
        },
        {
            "Name": "run_name",
            "Type": "String",
            "DefaultValue": "",
            "Required": False,
            "Range": {"MinLength": 0, "MaxLength": 64, "Pattern": "^[a-z0-9_-]*$"},
        },
        {"Name": "use_flash_attention", "Type": "Boolean", "DefaultValue": dice.pick(("true", "True", True, None))},
        {"Name": "pretrained_model", "Type": "Channel", "Required": dice.one_in(2)},
    ]

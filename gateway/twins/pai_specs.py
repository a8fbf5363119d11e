"""The free objects of generated PAI model versions: metrics and the training, evaluation and inference specs."""

from collections.abc import Sequence

from gateway.twins.rows import Algorithm, Json
from gateway.twins.seeded_random import ABSENT, Dice

IMAGE = "registry.cn-shanghai.aliyuncs.com/pai-training/llm:v1.0.0"
RESOURCES = (
    {"EcsCount": 1, "EcsSpec": "ecs.gn6i-c4g1.xlarge"},
    {"InstanceCount": 2, "InstanceSpec": {"CPU": "16", "GPU": "2", "Memory": "128Gi", "SharedMemory": "64Gi"}},
)
METHODS = (("Standard", "QLoRA_LLM"), ("Standard",), ("SFT", "DPO", "LoRA_LLM"))


def metrics(dice: Dice) -> object:
    score = dice.below(1000) / 1000
    dataset = dice.pick(
        (
            {"DatasetId": f"d-{dice.number():016x}"},
            {"Uri": "oss://example-bucket.oss-cn-shanghai.aliyuncs.com/eval/"},
            {"Train": "oss://example-bucket.oss-cn-shanghai.aliyuncs.com/train.json"},
        )
    )
    results = [{"Dataset": dataset, "Metrics": {"accuracy": score, "loss": round(1 - score, 3)}}]
    return dice.pick(
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


def training(dice: Dice, algorithms: Sequence[Algorithm]) -> object:
    """By name, inline, or several methods of either shape; or nothing, in its five spellings."""
    kind = dice.below(10)
    if kind < 3:
        return dice.pick((ABSENT, None, {}, "", "{}"))
    if kind < 7:
        return _by_name(dice, algorithms)
    if kind == 7:
        return _inline(dice)
    return {
        method: _inline(dice) if place % 2 else _by_name(dice, algorithms)
        for place, method in enumerate(dice.pick(METHODS))
    }


def evaluation(dice: Dice, algorithms: Sequence[Algorithm]) -> object:
    return dice.pick((ABSENT, None, {}, "{}")) if dice.below(8) else _by_name(dice, algorithms)


def inference(dice: Dice) -> object:
    return dice.pick(
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


def _by_name(dice: Dice, algorithms: Sequence[Algorithm]) -> Json:
    if not algorithms:
        return {}
    version = dice.pick(dice.pick(algorithms).versions)
    return {
        "AlgorithmName": version["AlgorithmName"],
        "AlgorithmProvider": version["AlgorithmProvider"],
        "AlgorithmVersion": version["AlgorithmVersion"],
        "HyperParameters": [
            {"Name": "learning_rate", "Value": dice.pick(("2e-5", "5e-5", "1e-4"))},
            {"Name": "num_train_epochs", "Value": str(1 + dice.below(5))},
        ],
        "InputChannels": [{"Name": "train", "InputUri": "oss://example-bucket.oss-cn-shanghai.aliyuncs.com/t.csv"}],
        "ComputeResource": dice.pick(RESOURCES),
        "Scheduler": {"MaxRunningTimeInSeconds": 86400},
    }


def _inline(dice: Dice) -> Json:
    return {
        "AlgorithmSpec": {
            "Image": IMAGE,
            "Command": ["sh", "-c", "python train.py"],
            "JobType": dice.pick(("PyTorchJob", "TFJob", "MPIJob")),
            "HyperParameters": [{"Name": "learning_rate", "Type": "Float", "DefaultValue": "5e-5", "Required": True}],
            "InputChannels": [{"Name": "model", "Required": True}, {"Name": "train", "Required": True}],
            "OutputChannels": [{"Name": "model", "Required": True}],
            "SupportsDistributedTraining": True,
        },
        "HyperParameters": [{"Name": "lora_rank", "Value": str(8 << dice.below(4))}],
        "ComputeResource": dice.pick(RESOURCES),
    }

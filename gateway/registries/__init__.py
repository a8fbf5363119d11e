"""The kinds of registry that a configuration can name."""

from collections.abc import Mapping
from typing import Final

from gateway.registries.kind import Kind
from gateway.registries.mlflow import MLFLOW
from gateway.registries.pai import PAI
from gateway.registries.qianfan import QIANFAN
from gateway.registries.sagemaker import SAGEMAKER

KINDS: Final[Mapping[str, Kind]] = {
    "mlflow": MLFLOW,
    "pai": PAI,
    "qianfan": QIANFAN,
    "sagemaker": SAGEMAKER,
}

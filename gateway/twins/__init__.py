"""Twins: offline servers that imitate the APIs of Alibaba PAI, Baidu Qianfan and MLflow, for the demo and the tests.

    async with serving(models=200) as twins:   # one port for all
        twins.url, twins.corpus, twins.calls, twins.now
        twins.faults.replace({"ListModels": {"status": 503, "times": 2}})

Over HTTP: ``GET /_twin/calls`` and ``DELETE /_twin/calls``, ``PUT /_twin/faults``.
"""

from gateway.twins.corpus import Corpus
from gateway.twins.rows import Algorithm, MlflowModel, PaiModel, QianfanModel
from gateway.twins.server import CALLS, Twins, serving
from gateway.twins.signature_check import (
    MLFLOW_PASSWORD,
    MLFLOW_USERNAME,
    PAI_KEY_ID,
    PAI_SECRET,
    PAI_STS_TOKEN,
    QIANFAN_ACCESS_KEY,
    QIANFAN_SECRET_KEY,
    QIANFAN_STS_TOKEN,
)

CREDENTIALS = (
    "PAI_KEY_ID",
    "PAI_SECRET",
    "PAI_STS_TOKEN",
    "QIANFAN_ACCESS_KEY",
    "QIANFAN_SECRET_KEY",
    "QIANFAN_STS_TOKEN",
    "MLFLOW_USERNAME",
    "MLFLOW_PASSWORD",
)
"""Names of the constants with credentials that the twins accept."""

__all__ = [
    "CALLS",
    "CREDENTIALS",
    "MLFLOW_PASSWORD",
    "MLFLOW_USERNAME",
    "PAI_KEY_ID",
    "PAI_SECRET",
    "PAI_STS_TOKEN",
    "QIANFAN_ACCESS_KEY",
    "QIANFAN_SECRET_KEY",
    "QIANFAN_STS_TOKEN",
    "Algorithm",
    "Corpus",
    "MlflowModel",
    "PaiModel",
    "QianfanModel",
    "Twins",
    "serving",
]

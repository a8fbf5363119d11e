"""Twins: offline servers that imitate the model APIs of both clouds, for the demo and the tests.

    async with serving(models=200) as twins:   # one port for both clouds
        twins.url, twins.corpus, twins.calls, twins.now
        twins.faults.replace({"ListModels": {"status": 503, "times": 2}})

Over HTTP: ``GET /_twin/calls`` and ``DELETE /_twin/calls``, ``PUT /_twin/faults``.
"""

from gateway.twins.corpus import Corpus
from gateway.twins.rows import Algorithm, PaiModel, QianfanModel
from gateway.twins.server import CALLS, Twins, serving
from gateway.twins.signature_check import (
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
)
"""Names of the constants with credentials that the twins accept."""

__all__ = [
    "CALLS",
    "CREDENTIALS",
    "PAI_KEY_ID",
    "PAI_SECRET",
    "PAI_STS_TOKEN",
    "QIANFAN_ACCESS_KEY",
    "QIANFAN_SECRET_KEY",
    "QIANFAN_STS_TOKEN",
    "Algorithm",
    "Corpus",
    "PaiModel",
    "QianfanModel",
    "Twins",
    "serving",
]

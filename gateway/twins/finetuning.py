"""Qianfan's fine-tuning recipes, and the tasks that link a trained version to its recipe."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from gateway.twins.rows import UTC, Json
from gateway.twins.seeded_random import SeededRandom

NEVER = "0000-00-00T00:00:00Z"
RUN_STATUS = {"Ready": "Done", "Creating": "Running", "Fail": "Failed", "Failed": "Failed"}


class Recipe(NamedTuple):
    """A base model with a training mode and a parameter scale. The gateway publishes it as an algorithm."""

    model: str
    mode: str
    scale: str


def recipes(catalogue: Sequence[Json]) -> list[Recipe]:
    return [
        Recipe(entry["model"], mode["trainMode"], scale["parameterScale"])
        for entry in catalogue
        for mode in entry["supportTrainMode"] or ()
        for scale in mode["supportParameterScale"] or ()
    ]


def task(recipe: Recipe, extra: Json, state: str, finished: datetime, rng: SeededRandom) -> Json:
    """Return the result of DescribeFineTuningTask for the ``trainSourceExtra`` of a version."""
    status = RUN_STATUS.get(state, "Stopped")
    finished_utc = finished.astimezone(UTC)
    return {
        "taskId": extra["runIdStr"],
        "jobId": extra["taskIdStr"],
        "jobName": extra["taskName"],
        "jobDescription": "",
        "model": recipe.model,
        "trainMode": recipe.mode,
        "parameterScale": recipe.scale,
        "runStatus": status,
        "runProgress": "100%" if status == "Done" else f"{rng.below(99)}%",
        "vdlLink": "https://console.bce.baidu.com/qianfan/visualdl/index?displayToken=example",
        "metrics": {"BLEU-4": f"{rng.below(4000) / 100}%", "ROUGE-L": f"{rng.below(6000) / 100}%"}
        if status == "Done"
        else {},
        "createDate": f"{finished_utc - timedelta(hours=3):%Y-%m-%dT%H:%M:%SZ}",
        "finishDate": NEVER if status == "Running" else f"{finished_utc:%Y-%m-%dT%H:%M:%SZ}",
    }

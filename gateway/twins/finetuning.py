"""Qianfan's fine-tuning catalogue and the tasks that lead from a trained version back into it."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from gateway.twins.rows import UTC, Json
from gateway.twins.seeded_random import Dice

NEVER = "0000-00-00T00:00:00Z"
RUN_STATUS = {"Ready": "Done", "Creating": "Running", "Fail": "Failed", "Failed": "Failed"}


class Recipe(NamedTuple):
    """One way to tune: what the gateway calls an algorithm."""

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


def task(recipe: Recipe, extra: Json, state: str, finished: datetime, dice: Dice) -> Json:
    """DescribeFineTuningTask's result for a version's ``trainSourceExtra``."""
    status = RUN_STATUS.get(state, "Stopped")
    moment = finished.astimezone(UTC)
    return {
        "taskId": extra["runIdStr"],
        "jobId": extra["taskIdStr"],
        "jobName": extra["taskName"],
        "jobDescription": "",
        "model": recipe.model,
        "trainMode": recipe.mode,
        "parameterScale": recipe.scale,
        "runStatus": status,
        "runProgress": "100%" if status == "Done" else f"{dice.below(99)}%",
        "vdlLink": "https://console.bce.baidu.com/qianfan/visualdl/index?displayToken=example",
        "metrics": {"BLEU-4": f"{dice.below(4000) / 100}%", "ROUGE-L": f"{dice.below(6000) / 100}%"}
        if status == "Done"
        else {},
        "createDate": f"{moment - timedelta(hours=3):%Y-%m-%dT%H:%M:%SZ}",
        "finishDate": NEVER if status == "Running" else f"{moment:%Y-%m-%dT%H:%M:%SZ}",
    }

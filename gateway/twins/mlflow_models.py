"""Generated MLflow models with versions, aliases, stages and tags, and the runs and logged models behind them."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from gateway.twins.lazy_rows import RowKey
from gateway.twins.rows import FIRST_DAY, Json, LazySequence, MlflowModel, milliseconds, step
from gateway.twins.seeded_random import ABSENT, ReversibleIds, SeededRandom, present_fields

SALT = 0x3F10
VERSION_IDS_PER_MODEL = 16

NAMES = (
    "sentiment`v2`",
    "fraud.detector",
    "ticket_router",
    "推荐排序",
    "Demand Forecast",
    "it's-spam",
    'toxicity "strict"',
    "credit-score",
    "100% recall",
    "Größenschätzung",
    "churn-predictor",
)
TEAMS = ("nlp", "risk", "搜索", "vision")
DESCRIPTIONS: tuple[object, ...] = (ABSENT, ABSENT, "Retrained every night.", "Predicts *churn* for the next month.")
VERSION_DESCRIPTIONS = ("", "", "First try.", "Trained on the data of the last quarter.")
USERS: tuple[object, ...] = (ABSENT, "ada", "grace", "mlops@example.com")
PLAIN_TAGS: tuple[tuple[tuple[str, str], ...], ...] = (
    (),
    (),
    (("gate", "passed"),),
    (("gate", "failed"), ("a b.c", "")),
)
STATUSES = ("READY",) * 8 + ("PENDING_REGISTRATION", "FAILED_REGISTRATION")
STAGES = ("None", "None", "None", "Staging", "Production", "Archived")
ORIGINS = ("run", "run", "logged model", "import")
ALIASES = ("champion", "challenger", "canary", "rollback")


def tag_list(pairs: Sequence[tuple[str, str]]) -> object:
    """Return tags as MLflow writes them. Without tags, the field is absent."""
    return [{"key": key, "value": value} for key, value in pairs] or ABSENT


class MlflowModels:
    residues: Mapping[str, tuple[int, ...]] = {"": (0,)}

    def __init__(self, count: int) -> None:
        self.count = count
        self._step = step(count)
        self._runs, self._logged_models = ReversibleIds("", 32, 16), ReversibleIds("m-", 32, 16)

    def name(self, index: int) -> str:
        return f"{NAMES[SeededRandom(SALT, index, 3).below(len(NAMES))]}-{index}"

    def index(self, key: RowKey) -> int | None:
        digits = str(key).rpartition("-")[2]
        index = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 10 else None
        return index if index is not None and self.name(index) == key else None

    def created(self, index: int) -> datetime:
        jitter = SeededRandom(SALT, index, 1).below((self._step - 1) * 1000)
        return FIRST_DAY + timedelta(seconds=index * self._step, milliseconds=jitter)

    def row(self, index: int) -> MlflowModel:
        rng = SeededRandom(SALT, index)
        count = rng.pick((0, 1, 1, 2, 3, 5, 12))
        created = self.created(index)
        tags = [("team", rng.pick(TEAMS)), *rng.pick(PLAIN_TAGS)] if rng.below(5) else []
        aliases = [
            {"alias": alias, "version": str(1 + rng.below(count))} for alias in ALIASES if count and rng.one_in(3)
        ]
        head = present_fields(
            name=self.name(index),
            creation_timestamp=milliseconds(created),
            last_updated_timestamp=milliseconds(created + timedelta(hours=26 * count + rng.below(300))),
            description=rng.pick(DESCRIPTIONS),
            tags=tag_list(tags),
            aliases=sorted(aliases, key=lambda item: item["alias"]) or ABSENT,
        )
        return MlflowModel(head, LazySequence(count, lambda number: self.version(index, number)))

    def version(self, index: int, number: int) -> Json:
        serial = index * VERSION_IDS_PER_MODEL + number
        rng = SeededRandom(SALT, index, 2, number)
        origin = rng.pick(ORIGINS)
        run_id = "" if origin == "import" else self._runs.text(serial)
        status = rng.pick(STATUSES)
        created = self.created(index) + timedelta(hours=26 * number)
        sources = {
            "run": f"mlflow-artifacts:/{index % 7}/{run_id}/artifacts/model",
            "logged model": f"models:/{self._logged_models.text(serial)}",
            "import": f"s3://models/{index}/{number + 1}",
        }
        return present_fields(
            name=self.name(index),
            version=str(number + 1),
            creation_timestamp=milliseconds(created),
            last_updated_timestamp=milliseconds(created + timedelta(minutes=rng.below(900))),
            user_id=rng.pick(USERS),
            current_stage=rng.pick(STAGES),
            description=rng.pick(VERSION_DESCRIPTIONS),
            source=sources[origin],
            run_id=run_id,
            status=status,
            status_message="The source cannot be read." if status == "FAILED_REGISTRATION" else ABSENT,
            tags=tag_list(rng.pick(PLAIN_TAGS)),
            run_link="" if rng.below(4) else f"https://ci.example.com/builds/{serial}",
        )

    def run(self, run_id: str) -> Json | None:
        """Return the run that produced a version. None if there is no such run."""
        position = self._position(self._runs.number(run_id), "run_id", run_id)
        if position is None:
            return None
        index, number, created = position
        rng = SeededRandom(SALT, index, 4, number)
        finished = milliseconds(created)
        values = {"accuracy": rng.below(1000) / 1000, "loss": "NaN" if rng.one_in(9) else rng.below(4000) / 1000}
        name = f"{rng.pick(('brave', 'calm', 'keen', 'wise'))}-{rng.pick(('crane', 'otter', 'panda', 'yak'))}-{number}"
        return {
            "info": {
                "run_uuid": run_id,
                "experiment_id": str(index % 7),
                "run_name": name,
                "user_id": "ada",
                "status": "FINISHED",
                "start_time": finished - 3_600_000,
                "end_time": finished,
                "artifact_uri": f"mlflow-artifacts:/{index % 7}/{run_id}/artifacts",
                "lifecycle_stage": "active",
                "run_id": run_id,
            },
            "data": {
                "metrics": [
                    {"key": key, "value": value, "timestamp": finished, "step": 9} for key, value in values.items()
                ],
                "params": [
                    {"key": "learning_rate", "value": rng.pick(("0.1", "0.01", "3e-5"))},
                    {"key": "max_depth", "value": rng.pick(("None", "6", "12"))},
                ],
                "tags": [{"key": "mlflow.runName", "value": name}],
            },
            "inputs": {},
            "outputs": {},
        }

    def logged_model(self, model_id: str) -> Json | None:
        """Return the logged model that a version was registered from. None if there is no such logged model."""
        position = self._position(self._logged_models.number(model_id), "source", f"models:/{model_id}")
        if position is None:
            return None
        index, number, created = position
        rng = SeededRandom(SALT, index, 5, number)
        run_id = self._runs.text(index * VERSION_IDS_PER_MODEL + number)
        measured = [
            {
                "key": "f1",
                "value": rng.below(1000) / 1000,
                "timestamp": milliseconds(created) + epoch,
                "step": epoch,
                "dataset_name": dataset,
                "dataset_digest": f"{SeededRandom(len(dataset)).bits():016x}"[:8],
                "model_id": model_id,
                "run_id": run_id,
            }
            for dataset in ("validation", "test")
            for epoch in range(2)
        ]
        return {
            "info": {
                "model_id": model_id,
                "experiment_id": str(index % 7),
                "name": "model",
                "creation_timestamp_ms": milliseconds(created),
                "last_updated_timestamp_ms": milliseconds(created),
                "artifact_uri": f"mlflow-artifacts:/{index % 7}/models/{model_id}/artifacts",
                "status": "LOGGED_MODEL_READY",
                "model_type": "",
                "source_run_id": run_id,
            },
            "data": {"params": [{"key": "max_depth", "value": "6"}], "metrics": measured},
        }

    def _position(self, serial: int | None, field: str, expected: str) -> tuple[int, int, datetime] | None:
        """Return the index, number and time of the version with a number, if its field has the expected value."""
        if serial is None or not 0 <= serial < self.count * VERSION_IDS_PER_MODEL:
            return None
        index, number = divmod(serial, VERSION_IDS_PER_MODEL)
        versions = self.row(index).versions
        if number >= len(versions) or versions[number][field] != expected:
            return None
        return index, number, self.created(index) + timedelta(hours=26 * number)

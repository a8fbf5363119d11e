"""The data of all twins: reference examples and generated rows. Equal sizes give equal data on every machine."""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Generic, TypeVar

import orjson

from gateway.twins import finetuning, pai_algorithms
from gateway.twins import references as examples
from gateway.twins.lazy_rows import Row, RowKey, Table
from gateway.twins.mlflow_models import MlflowModels
from gateway.twins.pai_models import PaiModels
from gateway.twins.qianfan_models import PRESET, USER, QianfanModels
from gateway.twins.rows import FIRST_DAY, Algorithm, Json, MlflowModel, PaiModel, QianfanModel

R = TypeVar("R", bound=Row)


class EmptySource(Generic[R]):
    """The source of a table without generated rows."""

    count = 0
    residues: Mapping[str, tuple[int, ...]] = {"": (0,)}

    def row(self, index: int) -> R:
        raise IndexError(index)

    def created(self, index: int) -> datetime:
        return FIRST_DAY

    def index(self, key: RowKey) -> int | None:
        return None


class Corpus:
    """All objects of the clouds and MLflow.

    Half of the generated ``models`` are PAI's, half Qianfan's; one in five of each is public. ``references`` adds the
    examples of the clouds' documentation. MLflow has ``mlflow_models`` more. ``Corpus(0, references=False)`` has only
    the fine-tuning catalogue and the workspaces. Tests change the four tables with ``insert(row or JSON object)`` and
    ``remove(id)``.
    """

    def __init__(self, models: int = 200, references: bool = True, mlflow_models: int = 0) -> None:
        self.catalogue = examples.fine_tuning_models()
        self.workspaces = examples.workspaces()
        self.tasks: dict[str, Json] = examples.fine_tuning_tasks() if references else {}
        self.algorithms: Table[Algorithm] = Table(EmptySource[Algorithm](), Algorithm.read)
        for algorithm in pai_algorithms.generated() if models else ():
            self.algorithms.insert(algorithm)
        for algorithm in examples.algorithms() if references else ():
            self.algorithms.insert(algorithm)
        self.pai_models: Table[PaiModel] = Table(PaiModels(models // 2, list(self.algorithms)), PaiModel.read)
        self._qianfan = QianfanModels(models - models // 2, finetuning.recipes(self.catalogue))
        self.qianfan_models: Table[QianfanModel] = Table(self._qianfan, QianfanModel.read)
        self._mlflow = MlflowModels(mlflow_models)
        self.mlflow_models: Table[MlflowModel] = Table(self._mlflow, MlflowModel.read)
        self.runs: dict[str, Json] = {}
        self.logged_models: dict[str, Json] = {}
        if references:
            for pai_model in examples.pai_models():
                self.pai_models.insert(pai_model)
            for qianfan_model in examples.qianfan_models():
                self.qianfan_models.insert(qianfan_model)

    def qianfan_version(self, key: RowKey) -> tuple[QianfanModel, Json] | None:
        """Return a Qianfan model version and its model, by numeric or text id."""
        for model in self.qianfan_models.explicit():
            for version in model.versions:
                if key in (version["modelVersionId"], version["modelVersionIdStr"]):
                    return model, version
        position = self._qianfan.version_position(key)
        if position is None or position[0] >= self._qianfan.count:
            return None
        index, number = position
        found = self.qianfan_models.find(self._qianfan.row(index).id)
        if found is None or number >= len(found.versions):
            return None
        return found, found.versions[number]

    def task(self, task_id: str) -> Json | None:
        """Return a fine-tuning task."""
        return self.tasks.get(task_id) or self._qianfan.task(task_id)

    def run(self, run_id: str) -> Json | None:
        """Return an MLflow run."""
        return self.runs.get(run_id) or self._mlflow.run(run_id)

    def logged_model(self, model_id: str) -> Json | None:
        """Return an MLflow logged model."""
        return self.logged_models.get(model_id) or self._mlflow.logged_model(model_id)

    def digest(self) -> str:
        """Return a hash of all rows, to compare corpora."""
        digest = hashlib.sha256(orjson.dumps([self.catalogue, self.workspaces, self.tasks]))
        for algorithm in self.algorithms:
            digest.update(orjson.dumps([algorithm.head, list(algorithm.versions)]))
        for name in ("", "pai", "huggingface"):
            for model in self.pai_models.partition(name):
                digest.update(orjson.dumps([model.item, list(model.versions), model.collections]))
        for source in (USER, PRESET):
            for row in self.qianfan_models.partition(source):
                digest.update(orjson.dumps([row.detail, row.listed, row.legacy]))
        for registered in self.mlflow_models:
            digest.update(orjson.dumps([registered.item, list(registered.versions)]))
        return digest.hexdigest()

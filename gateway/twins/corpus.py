"""Everything the two clouds hold: reference examples and generated rows, the same for the same size anywhere."""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Generic, TypeVar

import orjson

from gateway.twins import finetuning, pai_algorithms
from gateway.twins import references as examples
from gateway.twins.lazy_rows import Key, Row, Table
from gateway.twins.pai_models import PaiModels
from gateway.twins.qianfan_models import PRESET, USER, QianfanModels
from gateway.twins.rows import FIRST_DAY, Algorithm, Json, PaiModel, QianfanModel

R = TypeVar("R", bound=Row)


class Nothing(Generic[R]):
    """The source of a table that holds explicit rows only."""

    count = 0
    residues: Mapping[str, tuple[int, ...]] = {"": (0,)}

    def row(self, index: int) -> R:
        raise IndexError(index)

    def created(self, index: int) -> datetime:
        return FIRST_DAY

    def index(self, key: Key) -> int | None:
        return None


class Corpus:
    """``models`` generated models, half of them PAI's, one in five of either half public, and the references.

    ``Corpus(0, references=False)`` holds nothing but the fine-tuning catalogue and the workspaces. The three
    tables take rows or documents of the cloud's own form with ``insert`` and lose them with ``remove(id)``.
    """

    def __init__(self, models: int = 200, references: bool = True) -> None:
        self.catalogue = examples.fine_tuning_models()
        self.workspaces = examples.workspaces()
        self.tasks: dict[str, Json] = examples.fine_tuning_tasks() if references else {}
        self.algorithms: Table[Algorithm] = Table(Nothing[Algorithm](), Algorithm.read)
        for algorithm in pai_algorithms.generated() if models else ():
            self.algorithms.insert(algorithm)
        for algorithm in examples.algorithms() if references else ():
            self.algorithms.insert(algorithm)
        self.pai_models: Table[PaiModel] = Table(PaiModels(models // 2, list(self.algorithms)), PaiModel.read)
        self._qianfan = QianfanModels(models - models // 2, finetuning.recipes(self.catalogue))
        self.qianfan_models: Table[QianfanModel] = Table(self._qianfan, QianfanModel.read)
        if references:
            for pai_model in examples.pai_models():
                self.pai_models.insert(pai_model)
            for qianfan_model in examples.qianfan_models():
                self.qianfan_models.insert(qianfan_model)

    def qianfan_version(self, key: Key) -> tuple[QianfanModel, Json] | None:
        """A Qianfan version and its model, by number or text id."""
        for model in self.qianfan_models.explicit():
            for version in model.versions:
                if key in (version["modelVersionId"], version["modelVersionIdStr"]):
                    return model, version
        place = self._qianfan.version_place(key)
        if place is None or place[0] >= self._qianfan.count:
            return None
        found = self.qianfan_models.find(self._qianfan.row(place[0]).id)
        if found is None or place[1] >= len(found.versions):
            return None
        return found, found.versions[place[1]]

    def task(self, task_id: str) -> Json | None:
        """The fine-tuning task that made a version."""
        return self.tasks.get(task_id) or self._qianfan.task(task_id)

    def digest(self) -> str:
        """A hash of every row, equal for equal corpora."""
        digest = hashlib.sha256(orjson.dumps([self.catalogue, self.workspaces, self.tasks]))
        for algorithm in self.algorithms:
            digest.update(orjson.dumps([algorithm.head, list(algorithm.versions)]))
        for name in ("", "pai", "huggingface"):
            for model in self.pai_models.shelf(name):
                digest.update(orjson.dumps([model.item, list(model.versions), model.collections]))
        for source in (USER, PRESET):
            for row in self.qianfan_models.shelf(source):
                digest.update(orjson.dumps([row.detail, row.listed, row.early]))
        return digest.hexdigest()

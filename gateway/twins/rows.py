"""What a row of the corpus is: the clouds' own objects, with versions made only when read."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any, overload

Json = dict[str, Any]

UTC = timezone.utc  # noqa: UP017 - shared with the name of the other zone
CHINA = timezone(timedelta(hours=8))
FIRST_DAY = datetime(2023, 2, 1, 1, 30, tzinfo=UTC)
LONGEST_STEP = 5 * 86_400
LAST_AFTER = 900 * 86_400

LISTED_PRESET_FACTS = ("isStarModel", "isNewest", "modelAdvantage", "apiDocLink", "modelProviders")


class Made(Sequence[Json]):
    """A list whose items are made when they are read."""

    def __init__(self, count: int, make: Callable[[int], Json]) -> None:
        self._count, self._make = count, make

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Json: ...
    @overload
    def __getitem__(self, index: slice) -> list[Json]: ...
    def __getitem__(self, index: int | slice) -> Json | list[Json]:
        numbers = range(self._count)[index]
        return self._make(numbers) if isinstance(numbers, int) else [self._make(number) for number in numbers]

    def __iter__(self) -> Iterator[Json]:
        return map(self._make, range(self._count))


def step(count: int) -> int:
    """Seconds between two generated rows: days in a small corpus, so that it spans years, less in a large one."""
    return max(2, min(LONGEST_STEP, LAST_AFTER // max(count, 1)))


def instant(text: object) -> datetime:
    """A time as the clouds write it; what is not a time counts as the first day."""
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return FIRST_DAY
    return moment if moment.tzinfo else moment.replace(tzinfo=CHINA)


@dataclass(frozen=True, slots=True, eq=False)
class PaiModel:
    """``head`` is GetModel's answer without LatestVersion, ``listed`` what list items say differently."""

    head: Json
    versions: Sequence[Json] = ()
    listed: Json = field(default_factory=dict)
    collections: tuple[str, ...] = ()

    @property
    def keys(self) -> tuple[str]:
        return (self.head["ModelId"],)

    @property
    def shelf(self) -> str:
        return self.head.get("Provider") or ""

    @property
    def created(self) -> datetime:
        return instant(self.head.get("GmtCreateTime"))

    @property
    def detail(self) -> Json:
        return self.head | ({"LatestVersion": self.versions[-1]} if self.versions else {})

    @property
    def item(self) -> Json:
        return self.detail | self.listed

    @staticmethod
    def read(document: Json) -> "PaiModel":
        """A Model of the cloud's own form; its versions, oldest first, under ``Versions``."""
        head = dict(document)
        versions = head.pop("Versions", ())
        collections = tuple(head.pop("Collections", ()))
        head.pop("LatestVersion", None)
        listed = {"Tags": head.pop("Tags")} if "Tags" in head else {}
        return PaiModel(head, versions, listed, collections)


@dataclass(frozen=True, slots=True, eq=False)
class Algorithm:
    """``head`` is GetAlgorithm's answer, ``versions`` are those of GetAlgorithmVersion, oldest first."""

    head: Json
    versions: Sequence[Json] = ()

    @property
    def keys(self) -> tuple[str]:
        return (self.head["AlgorithmId"],)

    @property
    def shelf(self) -> str:
        return self.head.get("AlgorithmProvider") or ""

    @property
    def created(self) -> datetime:
        return instant(self.head.get("GmtCreateTime"))

    @staticmethod
    def read(document: Json) -> "Algorithm":
        head = dict(document)
        return Algorithm(head, head.pop("Versions", ()))


@dataclass(frozen=True, slots=True, eq=False)
class QianfanModel:
    """``head`` is modelDetail's result without the versions; ``early`` replaces it where only the number is known."""

    id: str
    head: Json
    versions: Sequence[Json] = ()
    listed: Json = field(default_factory=dict)
    early: Json | None = None

    @property
    def keys(self) -> tuple[str, int]:
        return (self.id, self.head["modelId"])

    @property
    def shelf(self) -> str:
        return str(self.head["source"])

    @property
    def created(self) -> datetime:
        return instant(self.head.get("createTime"))

    @property
    def detail(self) -> Json:
        return self.head | {"modelVersionList": list(self.versions)}

    @staticmethod
    def read(document: Json, later: Json | None = None) -> "QianfanModel":
        """A modelDetail result. One without text ids is answered as it is; v2 knows it by those of ``later``."""
        named = later or _with_text_ids(document)
        head = dict(named)
        versions = head.pop("modelVersionList", ())
        listed = {name: head.pop(name) for name in LISTED_PRESET_FACTS if name in head}
        return QianfanModel(head["modelIdStr"], head, versions, listed, None if "modelIdStr" in document else document)


def _with_text_ids(document: Json) -> Json:
    model = document.get("modelIdStr") or f"am-{document['modelId']:012d}"
    versions = [
        {"modelIdStr": model, "modelVersionIdStr": f"amv-{version['modelVersionId']:012d}"} | version
        for version in document.get("modelVersionList", ())
    ]
    return document | {"modelIdStr": model, "modelVersionList": versions}

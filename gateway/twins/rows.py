"""Rows of the corpus: objects in the clouds' formats, whose versions are generated when they are read."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any, overload

Json = dict[str, Any]

UTC = timezone.utc  # noqa: UP017 - shared with the name of the other zone
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CHINA = timezone(timedelta(hours=8))
FIRST_DAY = datetime(2023, 2, 1, 1, 30, tzinfo=UTC)
LONGEST_STEP = 5 * 86_400
LAST_AFTER = 900 * 86_400

LIST_ONLY_FIELDS = ("isStarModel", "isNewest", "modelAdvantage", "apiDocLink", "modelProviders")


class LazySequence(Sequence[Json]):
    """A sequence whose items are generated when they are read."""

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
    """Return the seconds between two generated rows, such that every corpus spans up to 900 days."""
    return max(2, min(LONGEST_STEP, LAST_AFTER // max(count, 1)))


def parse_time(text: object) -> datetime:
    """Parse a time in the clouds' formats. Invalid times become the first day."""
    try:
        time = datetime.fromisoformat(str(text))
    except ValueError:
        return FIRST_DAY
    return time if time.tzinfo else time.replace(tzinfo=CHINA)


def milliseconds(time: datetime) -> int:
    """Return a time as MLflow writes it: milliseconds since 1970."""
    return (time - EPOCH) // timedelta(milliseconds=1)


def folded(text: str) -> str:
    """Return a text as a search compares it: without case, and with the Turkish dotted I as an i. Not composed."""
    return text.casefold().replace("i\u0307", "i")


@dataclass(frozen=True, slots=True, eq=False)
class PaiModel:
    """A PAI model. ``head`` is GetModel's response without LatestVersion; ``listed`` overrides its fields in lists."""

    head: Json
    versions: Sequence[Json] = ()
    listed: Json = field(default_factory=dict)
    collections: tuple[str, ...] = ()

    @property
    def keys(self) -> tuple[str]:
        return (self.head["ModelId"],)

    @property
    def partition(self) -> str:
        return self.head.get("Provider") or ""

    @property
    def created(self) -> datetime:
        return parse_time(self.head.get("GmtCreateTime"))

    @property
    def detail(self) -> Json:
        return self.head | ({"LatestVersion": self.versions[-1]} if self.versions else {})

    @property
    def item(self) -> Json:
        return self.detail | self.listed

    @staticmethod
    def read(document: Json) -> "PaiModel":
        """Build a row from a JSON object in the cloud's format, with versions, oldest first, under ``Versions``."""
        head = dict(document)
        versions = head.pop("Versions", ())
        collections = tuple(head.pop("Collections", ()))
        head.pop("LatestVersion", None)
        listed = {"Tags": head.pop("Tags")} if "Tags" in head else {}
        return PaiModel(head, versions, listed, collections)


@dataclass(frozen=True, slots=True, eq=False)
class Algorithm:
    """A PAI algorithm. ``head`` is GetAlgorithm's response; ``versions`` are GetAlgorithmVersion's, oldest first."""

    head: Json
    versions: Sequence[Json] = ()

    @property
    def keys(self) -> tuple[str]:
        return (self.head["AlgorithmId"],)

    @property
    def partition(self) -> str:
        return self.head.get("AlgorithmProvider") or ""

    @property
    def created(self) -> datetime:
        return parse_time(self.head.get("GmtCreateTime"))

    @staticmethod
    def read(document: Json) -> "Algorithm":
        head = dict(document)
        return Algorithm(head, head.pop("Versions", ()))


@dataclass(frozen=True, slots=True, eq=False)
class QianfanModel:
    """A Qianfan model. ``head`` is modelDetail's result without versions.

    ``legacy`` is the result for a request by number, if it differs: the format of 2023 without text ids.
    """

    id: str
    head: Json
    versions: Sequence[Json] = ()
    listed: Json = field(default_factory=dict)
    legacy: Json | None = None

    @property
    def keys(self) -> tuple[str, int]:
        return (self.id, self.head["modelId"])

    @property
    def partition(self) -> str:
        return str(self.head["source"])

    @property
    def created(self) -> datetime:
        return parse_time(self.head.get("createTime"))

    @property
    def detail(self) -> Json:
        return self.head | {"modelVersionList": list(self.versions)}

    @staticmethod
    def read(document: Json, current: Json | None = None) -> "QianfanModel":
        """Build a row from a modelDetail result.

        A result without text ids is returned unchanged for requests by number; v2 uses the text ids of ``current``.
        """
        named = current or _with_text_ids(document)
        head = dict(named)
        versions = head.pop("modelVersionList", ())
        listed = {name: head.pop(name) for name in LIST_ONLY_FIELDS if name in head}
        return QianfanModel(head["modelIdStr"], head, versions, listed, None if "modelIdStr" in document else document)


def _with_text_ids(document: Json) -> Json:
    model = document.get("modelIdStr") or f"am-{document['modelId']:012d}"
    versions = [
        {"modelIdStr": model, "modelVersionIdStr": f"amv-{version['modelVersionId']:012d}"} | version
        for version in document.get("modelVersionList", ())
    ]
    return document | {"modelIdStr": model, "modelVersionList": versions}


@dataclass(frozen=True, slots=True, eq=False)
class MlflowModel:
    """An MLflow registered model. ``head`` is its JSON without versions; the versions are without their aliases.

    Fields without a value and empty lists are left out, as MLflow does.
    """

    head: Json
    versions: Sequence[Json] = ()

    @property
    def name(self) -> str:
        return str(self.head["name"])

    @property
    def keys(self) -> tuple[str]:
        return (self.name,)

    @property
    def partition(self) -> str:
        return ""

    @property
    def created(self) -> datetime:
        return datetime.fromtimestamp(self.head["creation_timestamp"] / 1000, UTC)

    @property
    def item(self) -> Json:
        latest = {version["current_stage"]: version for version in self.versions}
        return self.head | ({"latest_versions": list(latest.values())} if latest else {})

    def version(self, number: str) -> Json | None:
        """Return a version with its aliases, as it is read alone. None if there is no such version."""
        for version in self.versions:
            if version["version"] == number:
                aliases = [item["alias"] for item in self.head.get("aliases", ()) if item["version"] == number]
                return version | ({"aliases": aliases} if aliases else {})
        return None

    @staticmethod
    def read(document: Json) -> "MlflowModel":
        """Build a row from a JSON object in MLflow's format, with versions, oldest first, under ``versions``."""
        head = dict(document)
        return MlflowModel(head, head.pop("versions", ()))

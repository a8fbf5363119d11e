"""Generated Qianfan models of users and the platform, with all irregularities, and their fine-tuning tasks."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from gateway.twins import finetuning
from gateway.twins.finetuning import Recipe
from gateway.twins.lazy_rows import RowKey
from gateway.twins.rows import CHINA, FIRST_DAY, Json, LazySequence, QianfanModel, step
from gateway.twins.seeded_random import ABSENT, ReversibleIds, SeededRandom, present_fields

SALT = 0xBCE
USER, PRESET = "UserCreate", "PlatformPreset"
FIRST_MODEL = 20_000
FIRST_VERSION = 1_000_000
VERSION_IDS_PER_MODEL = 16

USER_NAMES = (
    ("工单分类助手", 0),
    ("faq_answerer", 0),
    ("合同审查", 0),
    ("poster-painter", 1),
    ("法律检索", 2),
    ("商品向量", 3),
    ("embedding_ft", 4),
    ("看图说话", 5),
    ("ticket-router", 0),
    ("强化_bloom", 0),
    ("营销文案生成", 0),
)
PRESET_NAMES = (
    ("ERNIE-4.0-Turbo", 0, "Baidu"),
    ("ERNIE-Speed-Pro", 0, "Baidu"),
    ("Llama-2-Chat", 0, "Meta"),
    ("Stable-Diffusion", 1, "Stability AI"),
    ("bge-large", 4, "BAAI"),
    ("Fuyu", 5, "Adept"),
    ("法律行业大模型", 6, "Baidu"),
    ("Yi-Chat", 0, "01.AI"),
    ("Qwen-Chat", 0, "Alibaba"),
)
PLAIN_TAGS: tuple[object, ...] = (None, None, [], ["demo"], ["客服", "prod"], ABSENT)
FRAMEWORKS = ("pytorch", "Pytorch", "PyTorch", "paddle", "paddle", "MindSpore", "")
STATES = ("Ready", "Ready", "Ready", "Ready", "Creating", "Fail", "Failed", "Frozen")
IO_LENGTHS = ("", "7K+1K", "3K+1K", "126K+2K")
PROPERTIES: tuple[object, ...] = ({}, {}, "", "{}", None, {"quantization": "int8"}, '{"quantization": "int4"}')
OPTIONS: tuple[object, ...] = (["Deploy", "Evaluation", "Acceleration"], ["Deploy"], [], None)
PRESET_OPTIONS: tuple[object, ...] = (
    ["Deploy", "Evaluation", "APIDoc", "FineTuning"],
    ["APIDoc", "OnlineTest"],
    ["Deploy", "APIDoc"],
)
COPYRIGHTS = ("", "Copyright (C) BigScience", "Copyright (C) Meta", ABSENT)
LICENSES = ("", "apache-2.0", "llama2", ABSENT)
DESCRIPTIONS = ("", "", "面向客服场景微调。", None, ABSENT)


class QianfanModels:
    residues: Mapping[str, tuple[int, ...]] = {USER: (1, 2, 3, 4), PRESET: (0,)}

    def __init__(self, count: int, recipes: Sequence[Recipe]) -> None:
        self.count = count
        self._recipes = recipes
        self._step = step(count)
        self._sets, self._versions = ReversibleIds("am-", 12), ReversibleIds("amv-", 12)
        self._jobs, self._tasks = ReversibleIds("job-", 12), ReversibleIds("task-", 12)

    def index(self, key: RowKey) -> int | None:
        return self._sets.number(key) if isinstance(key, str) else key - FIRST_MODEL

    def version_position(self, key: RowKey) -> tuple[int, int] | None:
        """Return the index of the model and the number of the version for a numeric or text version id."""
        number = self._versions.number(key) if isinstance(key, str) else key - FIRST_VERSION
        return None if number is None or number < 0 else divmod(number, VERSION_IDS_PER_MODEL)

    def created(self, index: int) -> datetime:
        jitter = SeededRandom(SALT, index, 1).below(self._step - 1)
        return (FIRST_DAY + timedelta(seconds=index * self._step + jitter)).astimezone(CHINA)

    def row(self, index: int) -> QianfanModel:
        rng = SeededRandom(SALT, index)
        preset = index % 5 == 0
        name, kind, vendor = self._subject(index)
        created = self.created(index)
        count = 1 + rng.below(4) if preset else rng.pick((0, 1, 1, 2, 3, 6, 12))
        apply_fault = created + timedelta(hours=26 * count + rng.below(300))
        head = present_fields(
            modelId=FIRST_MODEL + index,
            modelIdStr=self._sets.text(index),
            modelName=name,
            source=PRESET if preset else USER,
            modelType=kind,
            createUserId=0 if preset else 20 + rng.below(9),
            createUser="" if preset else rng.pick(("baidu_aipd", "li.na", "wang_wei")),
            createTime=created.isoformat(),
            modifyTime=apply_fault.isoformat(),
            description=f"{name}：{vendor} 提供的平台预置模型。" if preset else rng.pick(DESCRIPTIONS),
            languageSupport=rng.pick((ABSENT, None, ["zh"], ["zh", "en"])),
            expansion=rng.pick((ABSENT, [], ["8k"], ["32k"])),
            tags=rng.pick(PLAIN_TAGS),
            trainType=rng.pick((ABSENT, "")) if preset else self._recipe(index).model,
        )
        listed = {
            "isStarModel": rng.one_in(3),
            "isNewest": rng.one_in(4),
            "modelAdvantage": rng.pick((None, "响应快，成本低。")),
            "apiDocLink": rng.pick(("", "https://cloud.baidu.com/doc/WENXINWORKSHOP/s/Klkqubb9w")),
            "modelProviders": [vendor],
        }
        versions = LazySequence(count, lambda number: self.version(index, number))
        return QianfanModel(head["modelIdStr"], head, versions, listed if preset else {})  # type: ignore[arg-type]

    def version(self, index: int, number: int) -> Json:
        serial = index * VERSION_IDS_PER_MODEL + number
        rng = SeededRandom(SALT, index, 2, number)
        preset = index % 5 == 0
        name, kind, _vendor = self._subject(index)
        recipe = self._recipe(index)
        source = PRESET if preset else rng.pick(("Train", "Train", "Train", "Acceleration", "Import"))
        created = self.created(index) + timedelta(hours=26 * number)
        text = kind in (0, 2, 6)
        return present_fields(
            modelId=FIRST_MODEL + index,
            modelIdStr=self._sets.text(index),
            modelName=name,
            modelVersionId=FIRST_VERSION + serial,
            modelVersionIdStr=self._versions.text(serial),
            version=f"{name}-{('8K', '32K', '128K', '0725')[number]}" if preset else str(number + 1),
            description=rng.pick(DESCRIPTIONS),
            sourceType=source,
            sourceExtra=self._source_extra(serial, source, rng),
            framework=rng.pick(FRAMEWORKS),
            algorithm=f"ERNIE_EB-{name}" if preset else f"opensource-{recipe.model.lower()}",
            modelNet=f"paddlepaddle-{name}" if preset else recipe.model.lower(),
            state="Ready" if preset else rng.pick(STATES),
            ioMode=rng.pick(("chat", "chat", "completion")) if text else "",
            ioLength=rng.pick(IO_LENGTHS) if text else "",
            copyright=rng.pick(COPYRIGHTS),
            license=rng.pick(LICENSES) if preset else ABSENT,
            property=rng.pick(PROPERTIES),
            createTime=created.isoformat(),
            modifyTime=(created + timedelta(minutes=rng.below(900))).isoformat(),
            deployResource=rng.pick((["Private"], ["Public", "Private"], [], None)),
            supportOptions=rng.pick(PRESET_OPTIONS if preset else OPTIONS),
            trainType=rng.pick((ABSENT, "")) if preset else recipe.model,
        )

    def task(self, text: str) -> Json | None:
        """Return the fine-tuning task of a trained version, by the id of the task."""
        serial = self._tasks.number(text)
        if serial is None or not 0 <= serial < self.count * VERSION_IDS_PER_MODEL:
            return None
        index, number = divmod(serial, VERSION_IDS_PER_MODEL)
        if number >= len(self.row(index).versions):
            return None
        version = self.version(index, number)
        if version["sourceType"] != "Train":
            return None
        extra = version["sourceExtra"]
        parsed = json.loads(extra) if isinstance(extra, str) else extra
        finished = datetime.fromisoformat(version["modifyTime"])
        rng = SeededRandom(SALT, index, 3, number)
        same = [recipe for recipe in self._recipes if recipe.model == version["trainType"]]
        return finetuning.task(rng.pick(same), parsed["trainSourceExtra"], version["state"], finished, rng)

    def _subject(self, index: int) -> tuple[str, int, str]:
        if index % 5 == 0:
            name, kind, vendor = PRESET_NAMES[index // 5 % len(PRESET_NAMES)]
            return f"{name}-{index // 5 // len(PRESET_NAMES) + 1}", kind, vendor
        name, kind = USER_NAMES[index % len(USER_NAMES)]
        return f"{name}_{index // len(USER_NAMES) + 1:03d}", kind, ""

    def _recipe(self, index: int) -> Recipe:
        return SeededRandom(SALT, index, 4).pick(self._recipes)

    def _source_extra(self, serial: int, source: str, rng: SeededRandom) -> object:
        if source == PRESET:
            return {}
        if source != "Train":
            return rng.pick(({}, {"sourceType": source}, "{}", ""))
        extra = {
            "sourceType": "Train",
            "trainSourceExtra": {
                "taskId": 30_000 + serial,
                "taskName": rng.pick(("cmc_rlhf", "客服微调", "sft-run")),
                "iterationVersion": 1 + rng.below(5),
                "runId": 40_000 + serial,
                "devType": 1 + rng.below(3),
                "modelType": 20,
                "templateType": 2000,
                "taskIdStr": self._jobs.text(serial),
                "runIdStr": self._tasks.text(serial),
            },
        }
        return json.dumps(extra, ensure_ascii=False) if rng.one_in(7) else extra

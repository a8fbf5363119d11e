"""Baidu Qianfan: the model repository (v1) and the fine-tuning catalogue."""

from dataclasses import dataclass

from gateway.settings import RegistrySettings, Secret, setting


@dataclass(frozen=True, slots=True, kw_only=True)
class QianfanSettings(RegistrySettings):
    """One account of Baidu Qianfan."""

    access_key: str = setting("IAM access key.", variables=("QIANFAN_ACCESS_KEY",))
    secret_key: Secret = setting("IAM secret key.", variables=("QIANFAN_SECRET_KEY",))
    endpoint: str = setting("Qianfan address.", default="https://qianfan.baidubce.com", url=True)

"""Alibaba PAI: models of AIWorkSpace 2021-02-04, algorithms of PaiStudio 2022-01-12."""

from dataclasses import dataclass

from gateway.settings import RegistrySettings, Secret, setting


@dataclass(frozen=True, slots=True, kw_only=True)
class PaiSettings(RegistrySettings):
    """One account and region of Alibaba PAI."""

    region: str = setting(
        "Region of the account; data are regional.",
        variables=("ALIBABA_CLOUD_REGION_ID", "ALIBABA_CLOUD_REGION"),
        pattern=r"[a-z]{2}-[a-z0-9-]+",
        example="cn-hangzhou",
    )
    access_key_id: str = setting("AccessKey id.", variables=("ALIBABA_CLOUD_ACCESS_KEY_ID",))
    access_key_secret: Secret = setting("AccessKey secret.", variables=("ALIBABA_CLOUD_ACCESS_KEY_SECRET",))
    security_token: Secret = setting(
        "STS token, when the key is a temporary one.",
        default=Secret(""),
        variables=("ALIBABA_CLOUD_SECURITY_TOKEN",),
    )
    models_endpoint: str = setting("AIWorkSpace address.", default="https://aiworkspace.{region}.aliyuncs.com", url=True)
    algorithms_endpoint: str = setting("PaiStudio address.", default="https://pai.{region}.aliyuncs.com", url=True)

"""Stand-ins of the services that supply access keys: the clouds' token services and metadata services, on loopback.

Beside them are registries that accept the issued keys until these expire.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from aiohttp import web

from gateway.registries.signatures import acs3
from gateway.twins.signature_check import QianfanSignatureCheck, ReceivedRequest

OIDC_TOKEN = "test-oidc-token"
ROLE = "acs:ram::1234567890:role/reader"
AWS_ROLE = "arn:aws:iam::123456789012:role/reader"
BASE_KEY = ("test-base-key", "test-base-secret", "")
SECRET = "test-issued-secret"
METADATA_TOKEN = "test-metadata-token"
STS_XML = (
    '<{action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><{action}Result>'
    "<Credentials><AccessKeyId>{AccessKeyId}</AccessKeyId><SecretAccessKey>{AccessKeySecret}</SecretAccessKey>"
    "<SessionToken>{SecurityToken}</SessionToken><Expiration>{Expiration}</Expiration></Credentials>"
    "</{action}Result></{action}Response>"
)


@dataclass
class KeyServices:
    """What the services of a cloud know: the keys that they issued, by their tokens, with their expiry.

    ``lifetime`` is in seconds. With a ``failure``, the services answer with its status and body instead. A metadata
    service ``without_tokens`` has only the mode in which requests need none.
    """

    now: Callable[[], float]
    url: str = ""
    lifetime: float = 3600.0
    failure: tuple[int, str] | None = None
    without_tokens: bool = False
    calls: Counter[str] = field(default_factory=Counter)
    received: list[dict[str, str]] = field(default_factory=list)
    tokens: dict[str, float] = field(default_factory=dict)

    def issue(self) -> dict[str, str]:
        """Return a new key."""
        token = f"test-token-{len(self.tokens)}"
        self.tokens[token] = self.now() + self.lifetime
        expiration = datetime.fromtimestamp(self.tokens[token], UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {
            "AccessKeyId": f"test-key-{len(self.tokens) - 1}",
            "AccessKeySecret": SECRET,
            "SecurityToken": token,
            "Expiration": expiration,
        }

    def accepts(self, token: str) -> bool:
        return self.tokens.get(token, 0) > self.now()

    async def token_service(self, request: web.Request) -> web.StreamResponse:
        """The token services of Alibaba and AWS, and the registry of AWS, which share a path."""
        if "X-Amz-Target" in request.headers:
            return self.sagemaker(request)
        form = {name: str(value) for name, value in (await request.post()).items()}
        action = form.get("Action") or request.query.get("Action") or request.headers["x-acs-action"]
        self.calls[action] += 1
        self.received.append({**request.query, **form})
        if self.failure is not None:
            status, body = self.failure
            return web.Response(status=status, text=body, content_type="application/json")
        if action == "AssumeRoleWithOIDC":
            return self.assume_with_oidc(form)
        if action == "AssumeRoleWithWebIdentity" and form["WebIdentityToken"] != OIDC_TOKEN:
            return web.Response(
                status=400, text="<ErrorResponse><Error><Code>InvalidIdentityToken</Code></Error></ErrorResponse>"
            )
        if action in ("AssumeRoleWithWebIdentity", "AssumeRole") and "RoleArn" in form:
            return web.Response(text=STS_XML.format(action=action, **self.issue()), content_type="text/xml")
        return self.assume(request)

    def assume_with_oidc(self, form: dict[str, str]) -> web.Response:
        if form["OIDCToken"] != OIDC_TOKEN:
            error = {"Code": "AuthenticationFail.OIDCToken.Expired", "Message": f"{form['OIDCToken']} is bad"}
            return web.json_response(error, status=400)
        return web.json_response({"RequestId": "1", "AssumedRoleUser": {}, "Credentials": self.issue()})

    def assume(self, request: web.Request) -> web.Response:
        """AssumeRole of Alibaba: the signature must be that of the base key, or of an issued one."""
        headers = {name.lower(): value for name, value in request.headers.items()}
        token = headers.get("x-acs-security-token", "")
        secret = SECRET if token and self.accepts(token) else BASE_KEY[1]
        names = headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0]
        signed = {name: headers[name] for name in names.split(";")}
        digest = headers["x-acs-content-sha256"]
        _, expected = acs3(secret, request.method, request.path, request.query.items(), signed, digest)
        if not headers["authorization"].endswith(f"Signature={expected}"):
            return web.json_response({"Code": "SignatureDoesNotMatch"}, status=400)
        return web.json_response({"Credentials": self.issue()})

    async def baidu(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        received = ReceivedRequest(request.method, request.raw_path, headers, b"")
        QianfanSignatureCheck().check(received, datetime.fromtimestamp(self.now(), UTC))
        self.calls["assumeRole"] += 1
        self.received.append(dict(request.query))
        return web.json_response(self.baidu_key)

    baidu_key: dict[str, str] = field(default_factory=dict)

    async def metadata_token(self, request: web.Request) -> web.Response:
        self.calls["metadata"] += 1
        if self.without_tokens:
            return web.Response(status=404)
        assert any(name.lower().endswith("token-ttl-seconds") for name in request.headers)
        return web.Response(text=METADATA_TOKEN)

    async def metadata(self, request: web.Request) -> web.Response:
        """The hardened mode of the metadata services: every request needs the token."""
        if METADATA_TOKEN not in request.headers.values() and not self.without_tokens:
            return web.Response(status=403)
        if self.failure is not None:
            return web.Response(status=self.failure[0], text=self.failure[1])
        if not request.match_info["role"]:
            return web.Response(text="reader")
        key = self.issue()
        aws = {"SecretAccessKey": key["AccessKeySecret"], "Token": key["SecurityToken"], "Type": "AWS-HMAC"}
        return web.json_response({"Code": "Success", "LastUpdated": "2020-01-01T00:00:00Z", **key, **aws})

    async def get_model(self, request: web.Request) -> web.Response:
        self.calls["GetModel"] += 1
        if not self.accepts(request.headers.get("x-acs-security-token", "")):
            return web.json_response({"Code": "InvalidSecurityToken.Expired", "Message": "no"}, status=400)
        return web.json_response({"RequestId": "1", "ModelId": request.match_info["key"], "ModelName": "one"})

    async def list_models(self, request: web.Request) -> web.Response:
        if not self.accepts(request.headers.get("x-acs-security-token", "")):
            return web.json_response({"Code": "InvalidSecurityToken.Expired", "Message": "no"}, status=400)
        return web.json_response({"RequestId": "1", "TotalCount": 0, "Models": []})

    def sagemaker(self, request: web.Request) -> web.Response:
        if not self.accepts(request.headers.get("x-amz-security-token", "")):
            return web.json_response({"__type": "ExpiredTokenException"}, status=400)
        return web.json_response({"ModelPackageGroupSummaryList": []})


@asynccontextmanager
async def key_services(now: Callable[[], float]) -> AsyncIterator[KeyServices]:
    """Serve the stand-ins on a real socket."""
    services = KeyServices(now)
    app = web.Application()
    app.router.add_post("/", services.token_service)
    app.router.add_post("/v1/credential", services.baidu)
    app.router.add_put("/latest/api/token", services.metadata_token)
    app.router.add_get("/latest/meta-data/ram/security-credentials/{role:.*}", services.metadata)
    app.router.add_get("/latest/meta-data/iam/security-credentials/{role:.*}", services.metadata)
    app.router.add_get("/api/v1/models/{key}", services.get_model)
    app.router.add_get("/api/v1/models", services.list_models)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    services.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield services
    finally:
        await runner.cleanup()

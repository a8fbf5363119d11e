"""Baidu AI Cloud: how a role is assumed with an access key.

Source: Baidu AI Cloud, "AssumeRole" of its Security Token Service (STS).
"""

import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit

from gateway.config.settings import Credentials
from gateway.registries.signatures import bce_auth_v1, bce_prefix, timestamp
from gateway.upstream.access_keys import access_key
from gateway.upstream.credential_sources import SourceContext, TokenRequest
from gateway.upstream.url_encoding import query_string

SESSION_SECONDS: Final = 3600
"""How long the key of a role is valid."""
SIGNATURE_SECONDS: Final = 300
ERROR_CODE: Final = re.compile(r"[A-Za-z0-9._-]{1,100}")


async def assume_role(context: SourceContext, url: str, account: str, role: str, key: Credentials) -> Credentials:
    """Return the temporary key of a role that another key may assume. Raises ValueError.

    ``url`` is the address of the token service, ``account`` the id of the account to which the role belongs.
    """
    host, date = urlsplit(url).netloc, timestamp(datetime.fromtimestamp(context.now(), UTC))
    query = (
        ("assumeRole", ""),
        ("accountId", account),
        ("roleName", role),
        ("durationSeconds", str(SESSION_SECONDS)),
    )
    signed = {"content-type": "application/json", "host": host, "x-bce-date": date}
    if key.token:
        signed["x-bce-security-token"] = key.token.reveal()
    prefix = bce_prefix(key.key, date, SIGNATURE_SECONDS)
    names, signature = bce_auth_v1(key.secret.reveal(), prefix, "POST", "/v1/credential", query, signed)
    headers = {**signed, "Authorization": f"{prefix}/{names}/{signature}"}
    response = await context.send(TokenRequest("POST", f"{url}/v1/credential?{query_string(query)}", headers))
    members = response.document if isinstance(response.document, dict) else {}
    if response.status != 200:
        code = members.get("code")
        shown = f", {code}" if isinstance(code, str) and ERROR_CODE.fullmatch(code) else ""
        raise ValueError(f"{host}: status {response.status}{shown}")
    found = access_key(
        {
            "access_key_id": members.get("accessKeyId"),
            "access_key_secret": members.get("secretAccessKey"),
            "security_token": members.get("sessionToken"),
            "expiration": members.get("expiration"),
        }
    )
    return replace(found, source=f"the role {role}, assumed with {key.source or 'the configured key'}")

"""URLs of a Redis: at its own address, or behind Sentinel.

The URL of one Redis is read by redis-py. ``redis+sentinel://user:password@one:26379,two:26379/mymaster/0`` names the
Sentinels, the service that they monitor, and the database. ``rediss+sentinel`` is the same with TLS, to the Sentinels
and to the Redis servers. The login is that of the Redis servers; the options ``sentinel_username`` and
``sentinel_password`` have that of the Sentinels.

Source: redis-py, ``Redis.from_url`` and the classes of its connections.
"""

import re
import ssl
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode, urlsplit

TEXT, SWITCH, WHOLE, SECONDS = ".+", "(?i:true|false|yes|no|1|0)", "[0-9]{1,9}", r"[0-9]{1,9}(\.[0-9]{1,9})?"

OPTIONS = {
    "db": WHOLE,
    "username": TEXT,
    "password": TEXT,
    "client_name": TEXT,
    "protocol": "[23]",
    "health_check_interval": WHOLE,
    "max_connections": "[1-9][0-9]{0,8}",
    "retry_on_timeout": SWITCH,
    "socket_timeout": SECONDS,
    "socket_connect_timeout": SECONDS,
}
"""The options of every URL, with the patterns of their values."""

TCP = {**OPTIONS, "socket_keepalive": SWITCH}
TLS = {
    **TCP,
    "ssl_ca_certs": TEXT,
    "ssl_ca_path": TEXT,
    "ssl_cert_reqs": "none|optional|required",
    "ssl_certfile": TEXT,
    "ssl_check_hostname": SWITCH,
    "ssl_ciphers": TEXT,
    "ssl_keyfile": TEXT,
    "ssl_password": TEXT,
}
SENTINEL_LOGIN = {"sentinel_username": TEXT, "sentinel_password": TEXT}

SCHEMES = {
    "unix": OPTIONS,
    "redis": TCP,
    "rediss": TLS,
    "redis+sentinel": {**TCP, **SENTINEL_LOGIN},
    "rediss+sentinel": {**TLS, **SENTINEL_LOGIN},
}
"""The options that a URL of each scheme may have."""

SENTINEL_PORT = 26379
"""The port of a Sentinel whose address has none."""

SENTINEL_URL = re.compile(
    r"(?P<scheme>rediss?)\+sentinel://(?P<login>[^/?#]*@)?(?P<hosts>[^/?#@]+)"
    r"/(?P<service>[A-Za-z0-9._-]+)(/(?P<database>[0-9]{1,9}))?/?(\?(?P<query>.*))?"
)

ENCODE = "write /, ?, # and @ in a password as %2F, %3F, %23 and %40"


@dataclass(frozen=True, slots=True)
class SentinelUrl:
    """What the URL of a Redis behind Sentinel says.

    ``sentinels`` are URLs of the Sentinels, each with their login and the options of connections. ``redis`` is a URL of
    the Redis servers with the address of a Sentinel in place of theirs, which only the Sentinels know.
    """

    service: str
    sentinels: tuple[str, ...]
    redis: str


def sentinel_url(url: str) -> SentinelUrl | None:
    """Return what the URL of a Redis behind Sentinel says, None for other URLs."""
    found = SENTINEL_URL.fullmatch(url)
    if found is None:
        return None
    scheme, database, hosts = found["scheme"], found["database"] or "", found["hosts"].split(",")
    options = parse_qsl(found["query"] or "")
    login = [(name.removeprefix("sentinel_"), value) for name, value in options if name in SENTINEL_LOGIN]
    options = [(name, value) for name, value in options if name not in SENTINEL_LOGIN]
    shared = [(name, value) for name, value in options if name.startswith(("socket_", "ssl_"))]
    addresses = [host if re.search(":[0-9]+$", host) else f"{host}:{SENTINEL_PORT}" for host in hosts]
    return SentinelUrl(
        found["service"],
        tuple(f"{scheme}://{address}/?{urlencode(shared + login)}" for address in addresses),
        f"{scheme}://{found['login'] or ''}{addresses[0]}/{database}?{urlencode(options)}",
    )


def redis_url_problem(url: str) -> str | None:
    """Return why a URL is not one of a Redis, None if it is. The reason shows no part of the URL."""
    scheme = url.partition("://")[0].lower()
    if scheme not in SCHEMES:
        return f"its scheme is none of {', '.join(SCHEMES)}"
    if not scheme.endswith("+sentinel"):
        return _server_problem(url, SCHEMES[scheme])
    found = SENTINEL_URL.fullmatch(url)
    if found is None:
        return f"it is not like redis+sentinel://:password@one:26379,two:26379/mymaster/0; {ENCODE}"
    base, login, query = found["scheme"], found["login"] or "", found["query"] or ""
    servers = [f"{base}://{login}{host}/?{query}" for host in found["hosts"].split(",")]
    return next(filter(None, (_server_problem(server, SCHEMES[scheme]) for server in servers)), None)


def _server_problem(url: str, options: dict[str, str]) -> str | None:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return f"its host or port is not valid; {ENCODE}"
    if "#" in url:
        return f"it has a fragment; {ENCODE}"
    if parts.scheme == "unix":
        if host or len(parts.path) < 2:
            return "it has no path of a socket"
    elif not host or port == 0:
        return f"it has no valid host and port; {ENCODE}"
    elif not re.fullmatch("/?|/[0-9]{1,9}", parts.path):
        return f"its path is not the number of a database; {ENCODE}"
    return _options_problem(parts.query, options)


def _options_problem(query: str, options: dict[str, str]) -> str | None:
    try:
        given = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        return f"its query is not name=value; {ENCODE}"
    for name, value in given:
        if name not in options:
            return f"it has an unknown option (known: {', '.join(options)}); {ENCODE}"
        if not re.fullmatch(options[name], value):
            return f'the value of its option "{name}" is not valid'
    return None


def redis_tls_problem(url: str) -> str | None:
    """Return why TLS cannot be set up as the options of a valid URL say, None if it can."""
    given = dict(parse_qsl(urlsplit(url).query))
    context, option = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ""
    try:
        if "ssl_ca_certs" in given or "ssl_ca_path" in given:
            option = "ssl_ca_certs" if "ssl_ca_certs" in given else "ssl_ca_path"
            context.load_verify_locations(given.get("ssl_ca_certs"), given.get("ssl_ca_path"))
        if "ssl_certfile" in given or "ssl_keyfile" in given:
            option = "ssl_certfile" if "ssl_certfile" in given else "ssl_keyfile"
            password = given.get("ssl_password", "")
            context.load_cert_chain(given.get("ssl_certfile", ""), given.get("ssl_keyfile"), lambda: password)
        if "ssl_ciphers" in given:
            option = "ssl_ciphers"
            context.set_ciphers(given["ssl_ciphers"])
    except OSError as error:
        reason = "not valid for TLS" if isinstance(error, ssl.SSLError) else error.strerror
        return f'its option "{option}" cannot be used: {reason}'
    return None

"""URLs of a Redis, as redis-py reads them. Source: redis-py, ``Redis.from_url`` and the classes of its connections."""

import re
import ssl
from urllib.parse import parse_qsl, urlsplit

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

SCHEMES = {
    "unix": OPTIONS,
    "redis": {**OPTIONS, "socket_keepalive": SWITCH},
    "rediss": {
        **OPTIONS,
        "socket_keepalive": SWITCH,
        "ssl_ca_certs": TEXT,
        "ssl_ca_path": TEXT,
        "ssl_cert_reqs": "none|optional|required",
        "ssl_certfile": TEXT,
        "ssl_check_hostname": SWITCH,
        "ssl_ciphers": TEXT,
        "ssl_keyfile": TEXT,
        "ssl_password": TEXT,
    },
}
"""The options that a URL of each scheme may have."""

ENCODE = "write /, ?, # and @ in a password as %2F, %3F, %23 and %40"


def redis_url_problem(url: str) -> str | None:
    """Return why a URL is not one of a Redis, None if it is. The reason shows no part of the URL."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return f"its host or port is not valid; {ENCODE}"
    if parts.scheme not in SCHEMES:
        return f"its scheme is none of {', '.join(SCHEMES)}"
    if "#" in url:
        return f"it has a fragment; {ENCODE}"
    if parts.scheme == "unix":
        if host or len(parts.path) < 2:
            return "it has no path of a socket"
    elif not host or port == 0:
        return f"it has no valid host and port; {ENCODE}"
    elif not re.fullmatch("/?|/[0-9]{1,9}", parts.path):
        return f"its path is not the number of a database; {ENCODE}"
    return _options_problem(parts.query, SCHEMES[parts.scheme])


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

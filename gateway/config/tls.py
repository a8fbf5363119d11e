"""TLS settings of connections to registries and to the issuer of tokens."""

import ssl
from functools import cache

from gateway.config.settings import RegistrySettings, SettingsError


@cache
def default_tls() -> ssl.SSLContext:
    """Return the default: trust the system's authorities, or those of SSL_CERT_FILE and SSL_CERT_DIR."""
    return _context()


def registry_tls(settings: RegistrySettings) -> ssl.SSLContext | None:
    """Return the TLS settings of a registry, or None for the default. Raises `SettingsError` for an unusable file."""
    if not (settings.ca_file or settings.client_certificate):
        return None
    try:
        context = _context(settings.ca_file)
    except OSError as error:
        raise SettingsError((f"ca_file: {settings.ca_file}: {_reason(error)}",)) from None
    if settings.client_certificate:
        try:
            context.load_cert_chain(settings.client_certificate, settings.client_key or None, password="")
        except OSError as error:
            name = settings.client_certificate
            raise SettingsError((f"client_certificate: {name}: {_reason(error)}",)) from None
    return context


def _context(ca_file: str = "") -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca_file or None)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return "not a PEM file with certificates, or its key is missing, encrypted or another one's"
    return error.strerror or "cannot be read"

"""TLS settings of connections to registries, to the issuer of tokens, and from clients."""

import ssl
from functools import cache, partial
from pathlib import Path

from gateway.config.settings import RegistrySettings, ServerSettings, SettingsError

HOST_MISMATCH = (62, 64)
"""OpenSSL's verification errors X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH."""


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


class ServerTls:
    """TLS of the connections from clients, whose certificate can be replaced while it is used.

    Raises `SettingsError` for files that cannot be used.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self.context = _server_context(settings)

    def reload(self, settings: ServerSettings) -> None:
        """Use the certificate in the files for new connections. Raises `SettingsError`, and keeps the old one then."""
        _server_context(settings)
        self.context.load_cert_chain(settings.tls_certificate, settings.tls_key or None, password="")


def check_server_tls(settings: ServerSettings) -> None:
    """Raise `SettingsError` for a certificate that cannot be used."""
    if settings.tls_certificate:
        _server_context(settings)


def _server_context(settings: ServerSettings) -> ssl.SSLContext:
    context, name = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ""
    context.set_alpn_protocols(["http/1.1"])
    try:
        for name in filter(partial(getattr, settings), ("tls_key", "tls_certificate")):
            Path(getattr(settings, name)).read_bytes()
        context.load_cert_chain(settings.tls_certificate, settings.tls_key or None, password="")
    except OSError as error:
        raise SettingsError((f"server.{name}: {getattr(settings, name)}: {_reason(error)}",)) from None
    return context


def _context(ca_file: str = "") -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca_file or None)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return "not a PEM file with certificates, or its key is missing, encrypted or another one's"
    return error.strerror or "cannot be read"


def is_for_another_host(error: Exception) -> bool:
    """Return whether a certificate was refused since it is for another host."""
    return isinstance(error, ssl.SSLCertVerificationError) and error.verify_code in HOST_MISMATCH

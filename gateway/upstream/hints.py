"""What operators can do about a failed call to a registry, for `gateway check`."""

from gateway.errors import (
    Cause,
    RegistryBadAnswer,
    RegistryCredentialsMissing,
    RegistryError,
    RegistryForbidden,
    RegistryThrottled,
    RegistryTimeout,
    RegistryUnauthenticated,
)

OF_CAUSES = {
    Cause.NAME_NOT_RESOLVED: "Check the endpoint or region of the registry, and the DNS of this host.",
    Cause.CONNECTION_REFUSED: "Nothing listens there: check the endpoint and its port.",
    Cause.CONNECTION_FAILED: "Check the route and the firewalls between this host and the endpoint.",
    Cause.UNTRUSTED_CERTIFICATE: "Set ca_file to the authority of the registry, or of the proxy that opens TLS.",
    Cause.WRONG_HOST_NAME: "The certificate is for another host: check the endpoint.",
    Cause.TLS_FAILED: "Check that the endpoint speaks TLS, and whether it needs client_certificate.",
    Cause.PROXY_REFUSED: "Check proxy, or HTTPS_PROXY and NO_PROXY, and the user and password in them.",
    Cause.CONNECT_TIMEOUT: "A firewall may drop the packets: check the route to the endpoint, or set proxy.",
    Cause.READ_TIMEOUT: "The registry is slow, or the timeout of the registry is too short.",
    Cause.CONNECTION_RESET: "Check that the endpoint speaks HTTP, or HTTPS, as its address says.",
}

OF_ERRORS: dict[type[RegistryError], str] = {
    RegistryCredentialsMissing: "Check credentials_from, credentials_file or credentials_command.",
    RegistryUnauthenticated: "Check the key and its secret, and whether the key is still active.",
    RegistryForbidden: "Grant the account permission to list and read models.",
    RegistryThrottled: "Lower quota.requests_per_second, or ask the vendor for more.",
    RegistryTimeout: "Check the route to the endpoint, or set a longer timeout.",
    RegistryBadAnswer: "Another server may answer: check the endpoint and the proxy.",
}


def hint(error: RegistryError) -> str:
    """Return what to do, in a sentence: by the cause if there was no response, else by the error. Empty if unknown."""
    if error.cause is not None:
        return OF_CAUSES[error.cause]
    if "clock" in (error.detail or ""):
        return "Set the clock of this host, for example with NTP."
    return next((text for kind, text in OF_ERRORS.items() if isinstance(error, kind)), "")

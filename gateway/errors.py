"""stub: written soon"""


class GatewayError(Exception):
    """Base of every error this gateway raises on purpose."""

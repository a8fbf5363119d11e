"""Random digits for ids and nonces: every request needs some, and the system is asked for many of them at once."""

import os
import secrets

_digits: list[str] = []
os.register_at_fork(after_in_child=_digits.clear)


def random() -> str:
    """80 random hex digits."""
    if not _digits:
        many = secrets.token_hex(40 * 64)
        _digits.extend([many[at : at + 80] for at in range(0, len(many), 80)])
    return _digits.pop()

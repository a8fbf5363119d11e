"""Prints the access key that Alibaba's official credentials package loads from the source in the first argument.

It reads the environment when it is imported, so each question needs a process of its own.
"""

import json
import logging
import sys

logging.disable()

from alibabacloud_credentials.provider import (  # noqa: E402
    CLIProfileCredentialsProvider,
    EcsRamRoleCredentialsProvider,
    EnvironmentVariableCredentialsProvider,
    ProfileCredentialsProvider,
)
from alibabacloud_credentials.provider.default import DefaultCredentialsProvider  # noqa: E402

SOURCES = {
    "default": DefaultCredentialsProvider,
    "environment": EnvironmentVariableCredentialsProvider,
    "cli_profile": CLIProfileCredentialsProvider,
    "sdk_profile": ProfileCredentialsProvider,
    "instance_role": lambda: EcsRamRoleCredentialsProvider(async_update_enabled=False, disable_imds_v1=True),
}

if __name__ == "__main__":
    found = SOURCES[sys.argv[1]]().get_credentials()
    print(json.dumps([found.get_access_key_id(), found.get_access_key_secret(), found.get_security_token() or ""]))

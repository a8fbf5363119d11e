"""Signs requests with botocore: reads one as JSON from each line, and prints its headers as JSON.

A request has ``key``, ``secret``, ``token``, ``region``, ``service``, ``method``, ``url``, ``headers``, ``body`` and
``time``, in seconds since 1970.
"""

import json
import sys
from datetime import UTC, datetime

import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials


def signed(case):
    """Return the headers that botocore sends with a request."""
    now = datetime.fromtimestamp(case["time"], UTC)
    botocore.auth.get_current_datetime = lambda *_: now
    request = AWSRequest(case["method"], case["url"], case["headers"], case["body"].encode())
    credentials = Credentials(case["key"], case["secret"], case["token"] or None)
    botocore.auth.SigV4Auth(credentials, case["service"], case["region"]).add_auth(request)
    return dict(request.headers)


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(signed(json.loads(line))), flush=True)

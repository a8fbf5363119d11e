"""A SageMaker registry of moto that checks signatures, and boto3 as its client.

Prints its address and keys as JSON, and then a line for each line that it reads: a call ``{"operation": ..., "params":
..., "url": ...}`` becomes the answer of boto3, or ``{"error": code}``. Operations that are paged are read to their end.
"""

import json
import sys
from datetime import UTC, datetime, timedelta

import boto3
import moto.sagemaker.models
from botocore.config import Config
from botocore.exceptions import ClientError
from moto import settings
from moto.sagemaker.models import sagemaker_backends
from moto.server import ThreadedMotoServer

REGION, ACCOUNT = "eu-west-1", "123456789012"
START = datetime(2024, 1, 1, tzinfo=UTC).replace(tzinfo=None)
APPROVALS = ("Approved", "Rejected", "PendingManualApproval")
STATES = ("Completed", "Pending", "InProgress", "Failed", "Deleting")
GROUPS, PACKAGES = 230, 250


def client(service, url, key="any", secret="any", token=None):  # noqa: S107
    return boto3.client(
        service,
        region_name=REGION,
        endpoint_url=url,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        aws_session_token=token,
        config=Config(retries={"total_max_attempts": 1}),
    )


def at(moment):
    """Let moto create objects at a time."""
    moto.sagemaker.models.utcnow = lambda: moment


def seed(sagemaker):
    """Create groups, of which many share a creation time, and packages in some of them."""
    for number in range(GROUPS):
        at(START + timedelta(hours=number // 7, milliseconds=number // 7))
        name = f"{'Model' if number % 2 else 'model'}-{number:03}"
        described = {"ModelPackageGroupDescription": f"模型 {number}"} if number % 3 else {}
        sagemaker.create_model_package_group(ModelPackageGroupName=name, **described)
        packages = PACKAGES if number == 50 else number // 10 % 4
        for version in range(1, packages + 1):
            create_package(sagemaker, name, version)
    for number, package in enumerate(sagemaker_backends[ACCOUNT][REGION].model_packages.values()):
        package.model_package_status = STATES[number % len(STATES)]
        package.creation_time = START + timedelta(days=100, minutes=number // 3)


def create_package(sagemaker, name, number):
    approval = APPROVALS[len(sagemaker_backends[ACCOUNT][REGION].model_packages) % 3]
    container = {"Image": "image:1", "ModelDataUrl": f"s3://models/{name}.tar.gz", "Framework": "PYTORCH"}
    sagemaker.create_model_package(
        ModelPackageGroupName=name,
        ModelPackageDescription=f"第 {number} 版",
        ModelApprovalStatus=approval,
        InferenceSpecification={
            "Containers": [container],
            "SupportedContentTypes": ["text/csv"],
            "SupportedResponseMIMETypes": ["text/csv"],
        },
        SourceAlgorithmSpecification={
            "SourceAlgorithms": [{"AlgorithmName": f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:algorithm/boosted-trees"}]
        },
        CustomerMetadataProperties={"team": "crm", "部门": "销售"},
        MetadataProperties={"GeneratedBy": f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:training-job/job-{number}"},
    )


def users(url):
    """Create a user and a role that may read, and return a key of each."""
    iam, sts = client("iam", url), client("sts", url)
    policy = json.dumps({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}})
    iam.create_user(UserName="reader")
    iam.put_user_policy(UserName="reader", PolicyName="read", PolicyDocument=policy)
    key = iam.create_access_key(UserName="reader")["AccessKey"]
    role = iam.create_role(RoleName="reading", AssumeRolePolicyDocument=policy)["Role"]["Arn"]
    iam.put_role_policy(RoleName="reading", PolicyName="read", PolicyDocument=policy)
    temporary = sts.assume_role(RoleArn=role, RoleSessionName="session")["Credentials"]
    return {
        "user": [key["AccessKeyId"], key["SecretAccessKey"], ""],
        "role": [temporary[name] for name in ("AccessKeyId", "SecretAccessKey", "SessionToken")],
    }


def answer(sagemaker, operation, params):
    """Return the answer of boto3, with the rows of all pages."""
    try:
        if sagemaker.can_paginate(operation):
            result = sagemaker.get_paginator(operation).paginate(**params).build_full_result()
        else:
            result = getattr(sagemaker, operation)(**params)
            del result["ResponseMetadata"]
    except ClientError as error:
        return {"error": error.response["Error"]["Code"]}
    return result


def main():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    url = "http://{}:{}".format(*server.get_host_and_port())
    seed(client("sagemaker", url))
    keys = users(url)
    settings.INITIAL_NO_AUTH_ACTION_COUNT = 0
    print(json.dumps({"url": url, "keys": keys}), flush=True)
    for line in sys.stdin:
        call = json.loads(line)
        sagemaker = client("sagemaker", call.get("url", url), *keys["user"][:2])
        print(json.dumps(answer(sagemaker, call["operation"], call["params"]), default=datetime.isoformat), flush=True)


if __name__ == "__main__":
    main()

"""The enumerations of the schema.

A registry value that no member covers becomes ``OTHER``; a text field or ``raw`` holds the original.
"""

from enum import Enum
from typing import Any

import strawberry

from gateway.registries import KINDS


def value(name: str, description: str) -> Any:
    """Declare a member: records, code and responses all use its name."""
    return strawberry.enum_value(name, description=description)


def other(field: str) -> Any:
    """Declare ``OTHER``; ``field`` is the schema's field that holds the registry's own value."""
    return value("OTHER", f"A registry value that this schema does not define. `{field}` holds the original value.")


@strawberry.enum(description="The product that a registry belongs to.")
class RegistryKind(Enum):
    vars().update({kind.name: value(kind.name, kind.description) for kind in KINDS.values()})


@strawberry.enum(description="Whether a model belongs to your account or to the cloud platform.")
class Ownership(Enum):
    OWN = value("OWN", "The model belongs to the account that the registry is configured with.")
    PLATFORM = value("PLATFORM", "The cloud platform offers the model to every account.")
    OTHER = other("raw")


@strawberry.enum(description="Who can see a model in its registry.")
class Visibility(Enum):
    PRIVATE = value("PRIVATE", "The owner and the administrators of the workspace.")
    WORKSPACE = value("WORKSPACE", "All members of the workspace.")
    OTHER = other("raw")


@strawberry.enum(description="The file format of a model version.")
class ModelFormat(Enum):
    OFFLINE_MODEL = value("OFFLINE_MODEL", "OfflineModel, the format of PAI Designer.")
    SAVED_MODEL = value("SAVED_MODEL", "TensorFlow SavedModel.")
    KERAS_H5 = value("KERAS_H5", "Keras HDF5.")
    FROZEN_PB = value("FROZEN_PB", "TensorFlow frozen graph.")
    CAFFE_PROTOTXT = value("CAFFE_PROTOTXT", "Caffe prototxt.")
    TORCH_SCRIPT = value("TORCH_SCRIPT", "TorchScript.")
    XGBOOST = value("XGBOOST", "The native format of XGBoost.")
    PMML = value("PMML", "Predictive Model Markup Language.")
    ALINK_MODEL = value("ALINK_MODEL", "AlinkModel, the format of Alink.")
    ONNX = value("ONNX", "Open Neural Network Exchange.")
    BLADE_MODEL = value("BLADE_MODEL", "The format of PAI-Blade.")
    TFLITE = value("TFLITE", "TensorFlow Lite.")
    OTHER = other("formatName")


@strawberry.enum(description="The machine learning framework of a model version.")
class ModelFramework(Enum):
    PYTORCH = value("PYTORCH", "PyTorch.")
    TENSORFLOW = value("TENSORFLOW", "TensorFlow.")
    PADDLE = value("PADDLE", "PaddlePaddle.")
    KERAS = value("KERAS", "Keras.")
    XGBOOST = value("XGBOOST", "XGBoost.")
    CAFFE = value("CAFFE", "Caffe.")
    ALINK = value("ALINK", "Alink.")
    XFLOW = value("XFLOW", "XFlow.")
    TFLITE = value("TFLITE", "TensorFlow Lite.")
    BLADE = value("BLADE", "PAI-Blade.")
    OTHER = other("frameworkName")


@strawberry.enum(description="Whether the files of a model version are ready for use. Independent of `Approval`.")
class Readiness(Enum):
    CREATING = value("CREATING", "The registry is still creating the version.")
    READY = value("READY", "The version is ready for use.")
    FAILED = value("FAILED", "The registry could not create the version.")
    OTHER = other("raw")


@strawberry.enum(description="The result of the review of a model version. Independent of `Readiness`.")
class Approval(Enum):
    PENDING = value("PENDING", "Not reviewed yet.")
    APPROVED = value("APPROVED", "Approved.")
    REJECTED = value("REJECTED", "Rejected.")
    OTHER = other("raw")


@strawberry.enum(description="The stage of a model version in its life cycle. Independent of `Approval`.")
class ModelStage(Enum):
    DEVELOPMENT = value("DEVELOPMENT", "The version is under development.")
    STAGING = value("STAGING", "The version is being tested before production.")
    PRODUCTION = value("PRODUCTION", "The version is in production.")
    ARCHIVED = value("ARCHIVED", "The version is no longer in use.")
    OTHER = other("stageName")


@strawberry.enum(description="How a model version was created.")
class SourceType(Enum):
    CUSTOM = value("CUSTOM", "A user registered it manually.")
    PIPELINE = value("PIPELINE", "A pipeline run produced it.")
    TRAINING_SERVICE = value("TRAINING_SERVICE", "A job of the training service produced it.")
    TRAINING = value("TRAINING", "A training or fine-tuning task produced it.")
    ACCELERATION = value("ACCELERATION", "It is a compressed form of another version.")
    PLATFORM = value("PLATFORM", "The cloud platform provides it.")
    IMPORT = value("IMPORT", "It was imported from outside the registry.")
    OTHER = other("typeName")


@strawberry.enum(description="A type of object that a registry can list.")
class Capability(Enum):
    MODELS = value("MODELS", "Models and their versions.")
    ALGORITHMS = value("ALGORITHMS", "Algorithms and their versions.")


@strawberry.enum(description="The outcome of the last call from this gateway process to a registry.")
class RegistryState(Enum):
    UNKNOWN = value("UNKNOWN", "The gateway has not called the registry yet.")
    AVAILABLE = value("AVAILABLE", "The last call succeeded.")
    UNAVAILABLE = value("UNAVAILABLE", "The last call failed.")


@strawberry.enum(description="The state of the circuit breaker in front of a registry.")
class CircuitState(Enum):
    CLOSED = value("CLOSED", "The gateway sends calls to the registry as usual.")
    OPEN = value("OPEN", "The registry failed repeatedly. The gateway sends no calls until a pause is over.")
    HALF_OPEN = value("HALF_OPEN", "The pause is over. The gateway sends one call at a time to test the registry.")


@strawberry.enum(description="A field of models that has facets.")
class ModelFacetField(Enum):
    REGISTRY = value("REGISTRY", "The configured name of the registry.")
    KIND = value("KIND", "The product that the registry belongs to, a `RegistryKind`.")
    OWNERSHIP = value("OWNERSHIP", "`Model.ownership`.")
    TYPE = value("TYPE", "`Model.type`.")
    DOMAIN = value("DOMAIN", "`Model.domain`.")
    TASK = value("TASK", "`Model.task`.")
    FRAMEWORK = value("FRAMEWORK", "The framework of the newest version.")
    FORMAT = value("FORMAT", "The format of the newest version.")
    PROVIDER = value(
        "PROVIDER", "`Model.provider`. PAI lists the models of `pai` only, unless the filter names another."
    )
    ORIGIN = value("ORIGIN", "`Model.origin`.")
    LABEL_KEY = value("LABEL_KEY", "The keys of the labels. A model counts for each of its keys.")
    APPROVAL = value("APPROVAL", "The approval of the newest version.")
    READINESS = value("READINESS", "The readiness of the newest version.")


@strawberry.enum(description="A field of algorithms that has facets.")
class AlgorithmFacetField(Enum):
    REGISTRY = value("REGISTRY", "The configured name of the registry.")
    KIND = value("KIND", "The product that the registry belongs to, a `RegistryKind`.")
    PROVIDER = value("PROVIDER", "`Algorithm.provider`.")
    METHOD = value("METHOD", "`Algorithm.method`.")
    SCALE = value("SCALE", "`Algorithm.scale`.")


@strawberry.enum(description="How the count of a total relates to the number of matching objects.")
class TotalRelation(Enum):
    EXACT = value("EXACT", "There are exactly as many.")
    AT_LEAST = value("AT_LEAST", "There are as many or more.")


@strawberry.enum(description="How much of a registry a list covers.")
class CoverageState(Enum):
    COMPLETE = value("COMPLETE", "The whole list, from fresh responses.")
    STALE = value("STALE", "The whole list, partly from cached responses past their lifetime. See `age`.")
    PARTIAL = value(
        "PARTIAL",
        "A part of the list: a call failed, the gateway reached its limit of rows to read, or the registry did not "
        "send every row. See `error`.",
    )
    UNAVAILABLE = value("UNAVAILABLE", "Nothing of the list, because every call failed. See `error`.")

"""The words of the graph. A registry's own word that none of them covers is OTHER, and stands beside it as text."""

from enum import Enum
from typing import Any

import strawberry


def word(name: str, description: str) -> Any:
    """An enumeration value: the same text in records, in code and on the wire."""
    return strawberry.enum_value(name, description=description)


OTHER = "A word that this graph does not know; the text beside it is the registry's own."


@strawberry.enum(description="The product that a registry is an account of.")
class RegistryKind(Enum):
    PAI = word("PAI", "Alibaba Cloud PAI: AIWorkSpace for models, PaiStudio for algorithms.")
    QIANFAN = word("QIANFAN", "Baidu AI Cloud Qianfan: the model repository and the fine-tuning catalogue.")


@strawberry.enum(description="Whose a model is.")
class Ownership(Enum):
    OWN = word("OWN", "The account's own.")
    PLATFORM = word("PLATFORM", "Offered by the platform to every account.")
    OTHER = word("OTHER", OTHER)


@strawberry.enum(description="Who may see a model, as its registry says.")
class Visibility(Enum):
    PRIVATE = word("PRIVATE", "Its owner and the administrators of its workspace.")
    WORKSPACE = word("WORKSPACE", "Every member of its workspace.")
    OTHER = word("OTHER", OTHER)


@strawberry.enum(description="The file format of a model version.")
class ModelFormat(Enum):
    OFFLINE_MODEL = word("OFFLINE_MODEL", "OfflineModel, of PAI's designer.")
    SAVED_MODEL = word("SAVED_MODEL", "TensorFlow SavedModel.")
    KERAS_H5 = word("KERAS_H5", "Keras HDF5.")
    FROZEN_PB = word("FROZEN_PB", "TensorFlow frozen graph.")
    CAFFE_PROTOTXT = word("CAFFE_PROTOTXT", "Caffe prototxt.")
    TORCH_SCRIPT = word("TORCH_SCRIPT", "TorchScript.")
    XGBOOST = word("XGBOOST", "XGBoost's own.")
    PMML = word("PMML", "Predictive Model Markup Language.")
    ALINK_MODEL = word("ALINK_MODEL", "AlinkModel.")
    ONNX = word("ONNX", "Open Neural Network Exchange.")
    BLADE_MODEL = word("BLADE_MODEL", "PAI-Blade.")
    TFLITE = word("TFLITE", "TensorFlow Lite.")
    OTHER = word("OTHER", OTHER)


@strawberry.enum(description="The framework of a model version.")
class ModelFramework(Enum):
    PYTORCH = word("PYTORCH", "PyTorch.")
    TENSORFLOW = word("TENSORFLOW", "TensorFlow.")
    PADDLE = word("PADDLE", "PaddlePaddle.")
    KERAS = word("KERAS", "Keras.")
    XGBOOST = word("XGBOOST", "XGBoost.")
    CAFFE = word("CAFFE", "Caffe.")
    ALINK = word("ALINK", "Alink.")
    XFLOW = word("XFLOW", "Xflow.")
    TFLITE = word("TFLITE", "TensorFlow Lite.")
    BLADE = word("BLADE", "PAI-Blade.")
    OTHER = word("OTHER", OTHER)


@strawberry.enum(description="Whether the files of a version can be used. Another fact than its approval.")
class Readiness(Enum):
    CREATING = word("CREATING", "Being made.")
    READY = word("READY", "Ready for use.")
    FAILED = word("FAILED", "Could not be made.")
    OTHER = word("OTHER", OTHER)


@strawberry.enum(description="Whether people approved a version. Another fact than its readiness.")
class Approval(Enum):
    PENDING = word("PENDING", "Not decided.")
    APPROVED = word("APPROVED", "Approved.")
    REJECTED = word("REJECTED", "Rejected.")
    OTHER = word("OTHER", OTHER)


@strawberry.enum(description="Where a version came from.")
class SourceType(Enum):
    CUSTOM = word("CUSTOM", "Registered by hand.")
    PIPELINE = word("PIPELINE", "A pipeline run.")
    TRAINING_SERVICE = word("TRAINING_SERVICE", "A job of the training service.")
    TRAINING = word("TRAINING", "A training or fine-tuning task.")
    ACCELERATION = word("ACCELERATION", "Compression of another version.")
    PLATFORM = word("PLATFORM", "Preset by the platform.")
    IMPORT = word("IMPORT", "Imported from outside.")
    OTHER = word("OTHER", OTHER)


@strawberry.enum(description="What a registry lists.")
class Capability(Enum):
    MODELS = word("MODELS", "Models and their versions.")
    ALGORITHMS = word("ALGORITHMS", "Algorithms and their versions.")


@strawberry.enum(description="How a registry has been answering this gateway.")
class RegistryState(Enum):
    UNKNOWN = word("UNKNOWN", "Not asked yet.")
    AVAILABLE = word("AVAILABLE", "Its last call succeeded.")
    UNAVAILABLE = word("UNAVAILABLE", "Its last call failed.")


@strawberry.enum(description="Whether calls to a registry go through.")
class CircuitState(Enum):
    CLOSED = word("CLOSED", "They go through.")
    OPEN = word("OPEN", "It kept failing, and is left alone for a while.")
    HALF_OPEN = word("HALF_OPEN", "One call at a time tries whether it is back.")


@strawberry.enum(description="How much of a registry a list stands on.")
class CoverageState(Enum):
    COMPLETE = word("COMPLETE", "All of it, as of now.")
    STALE = word("STALE", "All of it, as of `age` seconds ago: older than wanted, and not renewed yet.")
    PARTIAL = word("PARTIAL", "A part of it: `error` says what failed, or the scan stopped at its bound.")
    UNAVAILABLE = word("UNAVAILABLE", "Nothing of it: `error` says why.")

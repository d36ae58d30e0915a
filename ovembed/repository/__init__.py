"""The OVMS model repository: folders, config file, graphs for each OVMS version, ovembed.json beside models."""

from ovembed.repository.golden import LEAST_COSINE, Golden
from ovembed.repository.golden import read as read_golden
from ovembed.repository.golden import write as write_golden
from ovembed.repository.graph import Graph
from ovembed.repository.layout import ServingOptions, check_options, find_layout, read_serving, write_serving_files
from ovembed.repository.model import Decision, Efficiency, Fidelity, ModelEntry, Tried, is_model
from ovembed.repository.model import read as read_model
from ovembed.repository.model import write as write_model
from ovembed.repository.repository import DEFAULT_CONFIG_NAME, ModelRepository, StagedModel
from ovembed.repository.tuning import FILE_NAME as TUNING_FILE
from ovembed.repository.tuning import Tuning
from ovembed.repository.tuning import check_writable as check_tuning_writable
from ovembed.repository.tuning import read as read_tuning
from ovembed.repository.tuning import write as write_tuning
from ovembed.repository.versions import NEWEST, SUPPORTED, Layout, OvmsVersion, ovms_version, serving_all

__all__ = [
    "DEFAULT_CONFIG_NAME",
    "LEAST_COSINE",
    "NEWEST",
    "SUPPORTED",
    "TUNING_FILE",
    "Decision",
    "Efficiency",
    "Fidelity",
    "Golden",
    "Graph",
    "Layout",
    "ModelEntry",
    "ModelRepository",
    "OvmsVersion",
    "ServingOptions",
    "StagedModel",
    "Tried",
    "Tuning",
    "check_options",
    "check_tuning_writable",
    "find_layout",
    "is_model",
    "ovms_version",
    "read_golden",
    "read_model",
    "read_serving",
    "read_tuning",
    "serving_all",
    "write_golden",
    "write_model",
    "write_serving_files",
    "write_tuning",
]

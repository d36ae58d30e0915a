"""The OVMS model repository: folders, config file, graphs for each OVMS version, ovembed.json beside models."""

from ovembed.repository.graph import Graph
from ovembed.repository.layout import ServingOptions, check_options, find_layout, read_serving, write_serving_files
from ovembed.repository.model import Decision, Fidelity, ModelEntry, is_model
from ovembed.repository.model import read as read_model
from ovembed.repository.model import write as write_model
from ovembed.repository.repository import DEFAULT_CONFIG_NAME, ModelRepository, StagedModel
from ovembed.repository.versions import NEWEST, SUPPORTED, Layout, OvmsVersion, ovms_version

__all__ = [
    "DEFAULT_CONFIG_NAME",
    "NEWEST",
    "SUPPORTED",
    "Decision",
    "Fidelity",
    "Graph",
    "Layout",
    "ModelEntry",
    "ModelRepository",
    "OvmsVersion",
    "ServingOptions",
    "StagedModel",
    "check_options",
    "find_layout",
    "is_model",
    "ovms_version",
    "read_model",
    "read_serving",
    "write_model",
    "write_serving_files",
]

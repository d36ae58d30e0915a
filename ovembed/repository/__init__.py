"""The OVMS model repository: its folders, its config file, its graphs, and ovembed.json beside each model."""

from ovembed.repository.graph import write as write_graph
from ovembed.repository.model import Decision, Fidelity, ModelEntry, is_model
from ovembed.repository.model import read as read_model
from ovembed.repository.model import write as write_model
from ovembed.repository.repository import DEFAULT_CONFIG_NAME, ModelRepository, StagedModel

__all__ = [
    "DEFAULT_CONFIG_NAME",
    "Decision",
    "Fidelity",
    "ModelEntry",
    "ModelRepository",
    "StagedModel",
    "is_model",
    "read_model",
    "write_graph",
    "write_model",
]

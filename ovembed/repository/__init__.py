"""The OVMS model repository: its folders, its config file, its graphs, and ovembed.json beside each model."""

from ovembed.repository.model import Decision, Fidelity, ModelEntry
from ovembed.repository.repository import DEFAULT_CONFIG_NAME, ModelRepository, StagedModel

__all__ = ["DEFAULT_CONFIG_NAME", "Decision", "Fidelity", "ModelEntry", "ModelRepository", "StagedModel"]

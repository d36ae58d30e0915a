"""From a Hugging Face model to a checked model in an OVMS repository."""

from ovembed.export.pipeline import export_model
from ovembed.export.request import ExportRequest

__all__ = ["ExportRequest", "export_model"]

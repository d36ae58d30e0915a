"""From a Hugging Face model to a checked model in an OVMS repository."""

from ovembed.export.pipeline import ExportRequest, export_model

__all__ = ["ExportRequest", "export_model"]

"""OpenVINO: texts to token ids, token ids to rows. The only room, beside export/, that imports openvino."""

from ovembed.engine.openvino_engine import EngineSettings, ModelFiles, OpenVINOEngine, default_cache_dir

__all__ = ["EngineSettings", "ModelFiles", "OpenVINOEngine", "default_cache_dir"]

"""The embed job on a Ray cluster: blocks of texts to actors that hold the model, Parquet parts out of them."""

from ovembed.cluster.job import RayCluster, embed_on_ray, is_complete

__all__ = ["RayCluster", "embed_on_ray", "is_complete"]

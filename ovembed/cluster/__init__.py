"""The embed job on a Ray cluster: blocks of texts to actors that hold the model, Parquet parts out of them."""

from ovembed.cluster.gathering import is_complete
from ovembed.cluster.job import RayCluster, embed_on_ray

__all__ = ["RayCluster", "embed_on_ray", "is_complete"]

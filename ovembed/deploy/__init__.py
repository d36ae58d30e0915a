"""Files that deploy the models of a repository: a Dockerfile, a compose project, Kubernetes manifests.

Templates are text with comments, for people edit what comes out. Paths and whatever else may hold any character are
put in as quoted scalars.
"""

from ovembed.deploy.files import Files, write
from ovembed.deploy.render import compose, dockerfile, kubernetes
from ovembed.deploy.settings import (
    DEFAULT_BASE,
    ComposeSettings,
    ImageSettings,
    KubernetesSettings,
    ModelSource,
    Server,
)
from ovembed.deploy.subject import Subject, movable_config, survey

__all__ = [
    "DEFAULT_BASE",
    "ComposeSettings",
    "Files",
    "ImageSettings",
    "KubernetesSettings",
    "ModelSource",
    "Server",
    "Subject",
    "compose",
    "dockerfile",
    "kubernetes",
    "movable_config",
    "survey",
    "write",
]

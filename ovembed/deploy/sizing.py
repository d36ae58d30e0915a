"""What pods ask a cluster for, by the size of the models and the CPUs they get."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ovembed.deploy.settings import Server

_MIB = 2**20
_STEP_MIB = 64

# Of the process, beside the models, as seen with texts of ever new lengths: of our server, which bounds the kernels
# that OpenVINO keeps, and of OpenVINO with its defaults, which OVMS leaves as they are.
_BESIDE_MODELS_MIB = {"ovembed": 320, "ovms": 512}
_KERNELS_OF_OVMS_MIB = 4096

# Weights as they are, and as the CPU wants them: our server compiles them twice, for many requests and for one alone.
_COPIES_OF_MODELS = {"ovembed": 3, "ovms": 2}


def memory_request(server: Server, models_bytes: int) -> str:
    """Room for every copy of the weights."""
    return f"{_request_mib(server, models_bytes)}Mi"


def memory_limit(server: Server, models_bytes: int) -> str:
    """Room for many long texts at once."""
    request_mib = _request_mib(server, models_bytes)
    return f"{request_mib + (_KERNELS_OF_OVMS_MIB if server == 'ovms' else request_mib)}Mi"


def storage(models_bytes: int) -> str:
    """Room for tokenizers, and for a second generation of models beside the first."""
    return f"{max(1, math.ceil(3 * models_bytes / 2**30))}Gi"


def rest_workers(cpus: int) -> int:
    """OVMS runs requests on its HTTP threads, and probes wait for a free one."""
    return max(4, 2 * cpus)


def _request_mib(server: Server, models_bytes: int) -> int:
    return _STEP_MIB * math.ceil(
        (_BESIDE_MODELS_MIB[server] + _COPIES_OF_MODELS[server] * models_bytes / _MIB) / _STEP_MIB
    )

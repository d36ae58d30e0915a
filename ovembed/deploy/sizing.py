"""What pods ask a cluster for, by the size of the models and the CPUs they get."""

from __future__ import annotations

import math

_MIB = 2**20
_STEP_MIB = 64

# Interpreter, OpenVINO, and the kernels it keeps for the shapes it has met.
_BESIDE_MODELS_MIB = 512


def memory_request(models_bytes: int) -> str:
    """Weights once as they are and once as the CPU wants them."""
    return f"{_request_mib(models_bytes)}Mi"


def memory_limit(models_bytes: int) -> str:
    """Room for many long texts at once."""
    return f"{2 * _request_mib(models_bytes)}Mi"


def storage(models_bytes: int) -> str:
    """Room for tokenizers, and for a second generation of models beside the first."""
    return f"{max(1, math.ceil(3 * models_bytes / 2**30))}Gi"


def rest_workers(cpus: int) -> int:
    """OVMS runs requests on its HTTP threads, and probes wait for a free one."""
    return max(4, 2 * cpus)


def _request_mib(models_bytes: int) -> int:
    return _STEP_MIB * math.ceil((_BESIDE_MODELS_MIB + 2 * models_bytes / _MIB) / _STEP_MIB)

"""How many CPUs this process may use: by its affinity, and by the CPU quotas of its control groups.

Formats: man 5 proc_pid_cgroup and proc_pid_mountinfo; cpu.max of cgroup v2
(https://docs.kernel.org/admin-guide/cgroup-v2.html), cpu.cfs_quota_us and cpu.cfs_period_us of v1
(https://docs.kernel.org/scheduler/sched-bwc.html).
"""

from __future__ import annotations

import itertools
import math
import os
import platform
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOT = Path("/")


@dataclass(frozen=True, slots=True)
class Cores:
    """CPUs to run on, by `affinity`; CPU seconds to use in each second, by `quota` (None: as many as there are)."""

    affinity: int
    quota: float | None = None

    @property
    def usable(self) -> int:
        """Threads that can make progress at once; part of a CPU counts as one, for one thread needs no more."""
        return self.affinity if self.quota is None else max(1, min(self.affinity, math.ceil(self.quota)))

    def __str__(self) -> str:
        by_affinity = f"{self.affinity} core{'s' if self.affinity > 1 else ''}"
        return by_affinity if self.quota is None else f"{by_affinity}, CPU quota {self.quota:g}"


def find(root: Path = _ROOT) -> Cores:
    """What this process is allowed now; `root` is where /proc and the control groups are looked for."""
    return Cores(len(os.sched_getaffinity(0)), min(_quotas(root), default=None))


def split(count: int) -> list[tuple[int, ...]]:
    """The CPUs of this process's affinity in so many groups of neighbours; where there are fewer, groups share them."""
    cpus = sorted(os.sched_getaffinity(0))
    if count >= len(cpus):
        return [(cpus[number % len(cpus)],) for number in range(count)]
    bounds = [number * len(cpus) // count for number in range(count + 1)]
    return [tuple(cpus[begin:end]) for begin, end in itertools.pairwise(bounds)]


def describe_machine(root: Path = _ROOT) -> str:
    """The kind of machine: its processor, and how much of it this process may use."""
    named = (line.partition(":")[2].strip() for line in _lines(root / "proc/cpuinfo") if line.startswith("model name"))
    return f"{next(named, platform.machine())}, {find(root).usable} cores"


def _quotas(root: Path) -> Iterator[float]:
    """Every quota that holds for this process: of its own groups, and of those they are in."""
    paths = _paths_of_groups(root)
    for version, group_root, mount in _mounts(root):
        if version in paths:
            for folder in _upwards(root / mount.relative_to("/"), _beneath(paths[version], group_root)):
                quota = _quota(folder)
                if quota is not None:
                    yield quota


def _paths_of_groups(root: Path) -> dict[int, PurePosixPath]:
    """By version of cgroup: the path of the group that limits this process's CPU time."""
    paths = {}
    for line in _lines(root / "proc/self/cgroup"):
        number, controllers, path = line.split(":", 2)
        if number == "0" and not controllers:
            paths[2] = PurePosixPath(path)
        elif "cpu" in controllers.split(","):
            paths[1] = PurePosixPath(path)
    return paths


def _mounts(root: Path) -> Iterator[tuple[int, PurePosixPath, PurePosixPath]]:
    """(version, group that is mounted, mount point) of each mount that shows CPU limits."""
    for line in _lines(root / "proc/self/mountinfo"):
        mount, _, file_system = line.partition(" - ")
        kind, _, options = file_system.split(" ", 2)
        group_root, mount_point = map(PurePosixPath, mount.split(" ")[3:5])
        if kind == "cgroup2":
            yield 2, group_root, mount_point
        elif kind == "cgroup" and "cpu" in options.split(","):
            yield 1, group_root, mount_point


def _beneath(path: PurePosixPath, group_root: PurePosixPath) -> PurePosixPath:
    """The group's place under the mount point. In a container the mount may show the container's own group only."""
    return path.relative_to(group_root) if path.is_relative_to(group_root) else PurePosixPath()


def _upwards(mount: Path, group: PurePosixPath) -> Iterator[Path]:
    for part in (group, *group.parents):
        yield mount / part


def _quota(folder: Path) -> float | None:
    """The group's limit as (quota, period), in one file by v2 and in two by v1; "max" and -1 are none."""
    words = _words(folder / "cpu.max") or _words(folder / "cpu.cfs_quota_us") + _words(folder / "cpu.cfs_period_us")
    if len(words) != 2 or not words[0].isdecimal():
        return None
    return int(words[0]) / int(words[1])


def _words(path: Path) -> list[str]:
    return [word for line in _lines(path) for word in line.split()]


def _lines(path: Path) -> list[str]:
    """Of a file that may not be there: not every system has control groups, nor every level a limit."""
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []

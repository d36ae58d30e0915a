from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from ovembed import cores
from ovembed.cores import Cores
from ovembed.engine import EngineSettings

if TYPE_CHECKING:
    from pathlib import Path

V2 = "30 24 0:26 {root} /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate"
V1 = "33 31 0:30 {root} /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct"
OTHERS = (
    "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755",
    "34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset",
)


@pytest.fixture(autouse=True)
def _eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))


def machine(folder: Path, groups: str, mounts: tuple[str, ...], files: dict[str, str]) -> Path:
    """A root with /proc/self and /sys/fs/cgroup as the kernel would show them."""
    files = {
        "proc/self/cgroup": groups + "\n",
        "proc/self/mountinfo": "\n".join((*OTHERS, *mounts)) + "\n",
        **{f"sys/fs/cgroup/{name}": content + "\n" for name, content in files.items()},
    }
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder


def v2(folder: Path, files: dict[str, str], *, group: str = "/", root: str = "/") -> Cores:
    return cores.find(machine(folder, f"0::{group}", (V2.format(root=root),), files))


def v1(folder: Path, files: dict[str, str], *, group: str = "/", root: str = "/") -> Cores:
    groups = f"4:memory:/elsewhere\n3:cpuset:/elsewhere\n2:cpu,cpuacct:{group}\n0::/elsewhere"
    return cores.find(
        machine(
            folder, groups, (V1.format(root=root),), {f"cpu,cpuacct/{name}": content for name, content in files.items()}
        )
    )


@pytest.mark.parametrize(
    ("cpu_max", "usable"),
    [
        ("max 100000", 8),
        ("200000 100000", 2),
        ("250000 100000", 3),
        ("50000 100000", 1),
        ("1000 100000", 1),
        ("1600000 100000", 8),
        ("100000 50000", 2),
    ],
)
def test_a_quota_of_v2_is_rounded_up_to_whole_threads(tmp_path: Path, cpu_max: str, usable: int) -> None:
    assert v2(tmp_path, {"cpu.max": cpu_max}).usable == usable


@pytest.mark.parametrize(("quota", "usable"), [("-1", 8), ("200000", 2), ("150000", 2), ("10000", 1)])
def test_a_quota_of_v1(tmp_path: Path, quota: str, usable: int) -> None:
    assert v1(tmp_path, {"cpu.cfs_quota_us": quota, "cpu.cfs_period_us": "100000"}).usable == usable


@pytest.mark.parametrize("tightest", ["a", "a/b", "a/b/c"])
def test_the_tightest_of_nested_groups_counts(tmp_path: Path, tightest: str) -> None:
    files = {f"{group}/cpu.max": "600000 100000" for group in ("a", "a/b", "a/b/c")}
    found = v2(tmp_path, files | {f"{tightest}/cpu.max": "300000 100000", "z/cpu.max": "100000 100000"}, group="/a/b/c")
    assert found == Cores(8, 3.0)


def test_nested_groups_of_v1(tmp_path: Path) -> None:
    files = {
        "a/cpu.cfs_quota_us": "200000",
        "a/cpu.cfs_period_us": "100000",
        "a/b/cpu.cfs_quota_us": "-1",
        "a/b/cpu.cfs_period_us": "100000",
    }
    assert v1(tmp_path, files, group="/a/b") == Cores(8, 2.0)


@pytest.mark.parametrize("group", ["/docker/4f", "/docker/4f/inner", "/", "/../other"])
def test_a_container_sees_its_own_group_at_the_mount_point(tmp_path: Path, group: str) -> None:
    files = {"cpu.max": "400000 100000", "inner/cpu.max": "max 100000"}
    assert v2(tmp_path, files, group=group, root="/docker/4f").quota == 4.0


def test_both_versions_at_once(tmp_path: Path) -> None:
    root = machine(
        tmp_path,
        "1:cpu:/pod\n0::/",
        (V1.format(root="/"), V2.format(root="/").replace("/sys/fs/cgroup", "/sys/fs/cgroup/unified")),
        {"cpu,cpuacct/pod/cpu.cfs_quota_us": "250000", "cpu,cpuacct/pod/cpu.cfs_period_us": "100000"},
    )
    assert cores.find(root) == Cores(8, 2.5)


@pytest.mark.parametrize("files", [{}, {"cpu.max": ""}])
def test_no_limit_anywhere(tmp_path: Path, files: dict[str, str]) -> None:
    assert v2(tmp_path, files) == Cores(8, None)


def test_a_system_without_control_groups(tmp_path: Path) -> None:
    assert cores.find(tmp_path) == Cores(8, None)


def test_this_machine_can_be_read() -> None:
    assert 1 <= cores.find().usable <= 8


def test_what_is_allowed_is_told_in_words() -> None:
    assert str(Cores(1)) == "1 core"
    assert str(Cores(8)) == "8 cores"
    assert str(Cores(8, 2.5)) == "8 cores, CPU quota 2.5"


@pytest.mark.parametrize(
    ("quota", "settings", "resolved"),
    [
        (None, EngineSettings(), (2, 8)),
        (2.5, EngineSettings(), (2, 3)),
        (0.5, EngineSettings(), (1, 1)),
        (0.5, EngineSettings(threads=6), (2, 6)),
        (4.0, EngineSettings(streams=4), (4, 4)),
        (1.0, EngineSettings(streams=3, threads=5), (3, 5)),
    ],
)
def test_streams_and_threads_follow_unless_they_are_set(
    monkeypatch: pytest.MonkeyPatch, quota: float | None, settings: EngineSettings, resolved: tuple[int, int]
) -> None:
    monkeypatch.setattr(cores, "find", lambda: Cores(8, quota))
    assert settings.resolve() == resolved

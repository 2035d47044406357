"""Limits of memory, as the kernel tells them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gatewayd.observe.memory import Memory

MB = 2**20


def machine(tmp_path: Path, cgroup: str, **files: str) -> Memory:
    """A machine with these files below /sys/fs/cgroup; `__` stands for `/` and `_` for `.` in their names."""
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(cgroup)
    for name, text in files.items():
        path = tmp_path / "sys/fs/cgroup" / name.replace("__", "/").replace("limit_in_bytes", "limit-in-bytes")
        path = path.with_name(path.name.replace("_", ".").replace("-", "_"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return Memory(str(tmp_path))


STAT = f"anon {40 * MB}\nfile {900 * MB}\nkernel {5 * MB}\nsock {4 * MB}\nshmem {MB}\nslab 7"


def test_the_soft_limit_of_a_cgroup_and_not_its_page_cache(tmp_path: Path) -> None:
    """F-08"""
    files = {"a__b__memory_high": str(100 * MB), "a__b__memory_max": str(200 * MB), "a__b__memory_stat": STAT}
    memory = machine(tmp_path, "0::/a/b\n", **files)
    assert memory.limited
    assert memory.fullness() == pytest.approx(0.5)


def test_file_names_that_the_kernel_remembers_do_not_count(tmp_path: Path) -> None:
    """F-08: something else in the same slice has looked at a million files."""
    stat = f"anon {40 * MB}\nkernel {50 * MB}\nslab_reclaimable {40 * MB}\nslab_unreclaimable {3 * MB}"
    assert machine(tmp_path, "0::/a\n", a__memory_max=str(100 * MB), a__memory_stat=stat).fullness() == pytest.approx(
        0.5
    )


def test_before_linux_told_of_its_own_memory(tmp_path: Path) -> None:
    stat = f"anon {40 * MB}\nslab_reclaimable {30 * MB}"
    assert machine(tmp_path, "0::/a\n", a__memory_max=str(100 * MB), a__memory_stat=stat).fullness() == pytest.approx(
        0.4
    )


def test_the_nearest_of_several_limits(tmp_path: Path) -> None:
    """A slice above the service may be the tighter one."""
    files = {"a__memory_max": str(80 * MB), "a__memory_high": "max", "a__memory_stat": f"anon {60 * MB}"}
    files |= {"a__b__memory_max": str(100 * MB), "a__b__memory_stat": f"anon {10 * MB}"}
    assert machine(tmp_path, "0::/a/b\n", **files).fullness() == pytest.approx(0.75)


@pytest.mark.parametrize("cgroup", ["0::/\n", "0::/../../host/path\n", "0::/host/path\n"])
def test_a_container_that_sees_its_cgroup_at_the_top(cgroup: str, tmp_path: Path) -> None:
    files = {"memory_max": str(200 * MB), "memory_stat": STAT}
    assert machine(tmp_path, cgroup, **files).fullness() == pytest.approx(0.25)


def test_the_older_kind_of_cgroup(tmp_path: Path) -> None:
    files = {"memory__x__memory_limit_in_bytes": str(100 * MB), "memory__x__memory_stat": f"total_rss {25 * MB}\nrss 1"}
    files |= {"memory__memory_limit_in_bytes": "9223372036854771712"}
    assert machine(tmp_path, "4:cpu,memory:/x\n0::/\n", **files).fullness() == pytest.approx(0.25)


@pytest.mark.parametrize("cgroup", ["", "0::/a\n", "3:cpu:/a\n"])
def test_without_limits_there_is_nothing_to_watch(cgroup: str, tmp_path: Path) -> None:
    memory = machine(tmp_path, cgroup, a__memory_max="max", a__memory_stat=STAT)
    assert not memory.limited
    assert memory.fullness() == 0.0


@pytest.mark.parametrize("limit", ["RLIMIT_AS", "RLIMIT_DATA"])
def test_the_limits_of_the_process_itself(limit: str) -> None:
    """G-10: the fullness grows with what is held."""
    program = f"""
import resource
from gatewayd.observe.memory import Memory
resource.setrlimit(resource.{limit}, (500 * 2**20, 500 * 2**20))
memory = Memory()
before = memory.fullness()
held = bytearray(b'x') * (100 * 2**20)
print(memory.limited, 0 < before < memory.fullness() - 0.15 < 1)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout == "True True\n"


@pytest.mark.parametrize("limit", ["RLIMIT_AS", "RLIMIT_DATA"])
def test_addresses_without_memory_do_not_count(limit: str) -> None:
    """U-F1: virtual size alone decides nothing. What was held and given back is no reason to refuse."""
    program = f"""
import mmap, resource
from gatewayd.observe.memory import Memory, give_back
resource.setrlimit(resource.{limit}, (600 * 2**20, 600 * 2**20))
memory = Memory()
before = memory.fullness()
reserved = mmap.mmap(-1, 200 * 2**20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
held = [bytes([i % 256]) * 60_000 for i in range(2000)]
full = memory.fullness()
pins = held[::100]
del held
give_back()
print(full > before + 0.15, memory.fullness() < before + 0.05)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout == "True True\n"


def test_the_stacks_of_threads_count() -> None:
    """U-F1: the kernel counts them in full, and memory runs out when it says so."""
    program = """
import resource, threading
resource.setrlimit(resource.RLIMIT_STACK, (8 * 2**20, resource.getrlimit(resource.RLIMIT_STACK)[1]))
from gatewayd.observe.memory import Memory
resource.setrlimit(resource.RLIMIT_DATA, (400 * 2**20, 400 * 2**20))
memory = Memory()
before = memory.fullness()
end = threading.Event()
threads = [threading.Thread(target=end.wait) for _ in range(10)]
for thread in threads:
    thread.start()
print(memory.fullness() > before + 0.15)
end.set()
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout == "True\n"


def test_what_is_used_with_no_client_connected_leaves_room_for_answers(tmp_path: Path) -> None:
    """U-F1: nine tenths of the limit are for answers; more, if other processes hold most of it anyway."""
    memory = machine(tmp_path, "0::/\n", memory_max=str(100 * MB), memory_stat=f"anon {88 * MB}")
    assert memory.has_room(MB)
    assert not memory.has_room(3 * MB)
    memory.rest = 0.88
    assert memory.has_room(3 * MB)
    assert not memory.has_room(6 * MB)

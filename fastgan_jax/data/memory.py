"""How many pixels are decoded at the same time: as many as memory has room for, and on the CPUs of this process."""

import contextlib
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fastgan_jax.data.kinds import NoRoom, Refused
from fastgan_jax.errors import UserError

BYTES_PER_PIXEL = 12  # while one is decoded: as it is loaded, converted and prepared for the resize
BYTES_PER_DEEP_PIXEL = 24  # with samples of more than 8 bits
BYTES_PER_COEFFICIENT = 6  # more per pixel of a progressive JPEG, which is held whole, before it is made smaller
SHARE = 0.5  # of the free memory that decoding may take
UNKNOWN_MEMORY = 4 * 2**30  # where the system does not say what is free
CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")
# Files of a control group about memory, by what names its hierarchy: limit, use, and what of it is which.
VERSION_2 = ("memory.max", "memory.current", "memory.stat")
VERSION_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat")
FILE_CACHE = {"active_file", "inactive_file", "total_active_file", "total_inactive_file"}  # in use, and free at need


def cpu_threads() -> int:
    """The CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def threads_for_files() -> Iterator[ThreadPoolExecutor]:
    """A thread on each CPU; what has not begun when the block ends, say by Ctrl-C, is given up."""
    pool = ThreadPoolExecutor(cpu_threads())
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def check_room(needed: int, cure: str) -> None:
    """Raises a UserError that ends with `cure` if so many bytes are not free."""
    if needed > (free := free_memory()):
        raise UserError(f"this needs {needed / 1e9:.1f} GB of main memory, of which {free / 1e9:.1f} are free: {cure}")


def free_memory() -> int:
    """Bytes of memory that this process can still take, by the system and by the container that it runs in."""
    free = []
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free.append(1024 * int(next(line.split()[1] for line in lines if line.startswith("MemAvailable"))))
    for limit, used, kinds in _control_groups():
        with contextlib.suppress(OSError, ValueError):  # "max": no limit
            free.append(int(limit.read_text()) - int(used.read_text()) + _file_cache(kinds))
    return max(0, min(free, default=UNKNOWN_MEMORY))


def _control_groups() -> Iterator[list[Path]]:
    """The files about memory of the control groups that this process is in, of those around them, and of the root.

    A container sees its own group as the root; a job on a cluster is in one far below.
    """
    groups = {(CGROUPS, VERSION_2), (CGROUPS / "memory", VERSION_1)}
    with contextlib.suppress(OSError, ValueError):
        for line in OWN_CGROUPS.read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers or "memory" in controllers.split(","):
                root, names = (CGROUPS / "memory", VERSION_1) if controllers else (CGROUPS, VERSION_2)
                own = root / path.lstrip("/")
                groups |= {(group, names) for group in (own, *own.parents) if group.is_relative_to(root)}
    for group, names in sorted(groups):
        yield [group / name for name in names]


def _machine_memory() -> int:
    """Bytes of memory that the machine has."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else UNKNOWN_MEMORY


def _file_cache(kinds: Path) -> int:
    """Bytes of a container's memory that hold files which were read; 0 if that is not known."""
    sizes: dict[str, int] = {}
    with contextlib.suppress(OSError, ValueError):
        lines = map(str.split, kinds.read_text(encoding="ascii").splitlines())
        sizes = {name: int(size) for name, size in lines if name in FILE_CACHE}
    totals = {name: size for name, size in sizes.items() if name.startswith("total_")}  # in version 1 beside its own
    return sum((totals or sizes).values())


class Gate:
    """Lets images in while their pixels fit into the memory that was free when the first one came, or one alone."""

    def __init__(self) -> None:
        self._changed, self._held, self._free = threading.Condition(), 0, 0

    @contextlib.contextmanager
    def hold(self, width: int, height: int, needed: int) -> Iterator[None]:
        """Waits for room for an image's `needed` bytes, and keeps it while the block runs.

        Raises:
            NoRoom: if the image needs more memory than is free; Refused: more than the machine has.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._held or self._held + needed <= SHARE * self._free)
            if not self._held:
                self._free = free_memory()
            if needed > self._free:
                unit, name = (1e9, "GB") if needed >= 1e9 else (1e6, "MB")
                sizes = f"{needed / unit:.1f} {name} of memory, and {self._free / unit:.1f} {name} are free"
                kind = NoRoom if needed <= _machine_memory() else Refused
                raise kind(f"{width}x{height} pixels need {sizes}: make the image smaller")
            self._held += needed
        try:
            yield
        finally:
            with self._changed:
                self._held -= needed
                self._changed.notify_all()


GATE = Gate()

_lock, _unlimited, _limit = threading.Lock(), 0, None


@contextlib.contextmanager
def without_pixel_limit() -> Iterator[None]:
    """Lifts Pillow's limit of pixels per image, in all threads while one is in such a block: `GATE` has a better."""
    from PIL import Image

    global _unlimited, _limit
    with _lock:
        if not _unlimited:
            _limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        _unlimited += 1
    try:
        yield
    finally:
        with _lock:
            _unlimited -= 1
            if not _unlimited:
                Image.MAX_IMAGE_PIXELS = _limit

"""The walls around a student's process, of Linux namespaces: what is not inside does not exist for it.

No network; processes, users and shared memory of its own; a file system that is read-only but for its own
/tmp and shows the system, this Python and the program to run, nothing of the teacher's. No privileges are
needed to build it and none are left inside. Imported by `launcher`, which has the standard library alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import signal
import stat

NEWNS, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET = (
    0x20000,
    0x4000000,
    0x8000000,
    0x10000000,
    0x20000000,
    0x40000000,
)
RDONLY, NOSUID, NODEV, NOEXEC, REMOUNT, NOATIME, NODIRATIME = 1, 2, 4, 8, 32, 1024, 2048
BIND, REC, PRIVATE, RELATIME, DETACH = 4096, 16384, 1 << 18, 1 << 21, 2
SET_PDEATHSIG, CAPBSET_DROP, SET_SECUREBITS, SET_NO_NEW_PRIVS = 1, 24, 28, 38
NOBODY = 65534
OCTAL = re.compile(r"\\([0-7]{3})")
"""How the kernel writes a blank in a path."""
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "riscv64": 41}
DEVICES = ("null", "zero", "full", "random", "urandom")

libc = ctypes.CDLL(None, use_errno=True)


def _done(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _mount(source: str, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    words = [word.encode() if word is not None else None for word in (source, target, kind, options)]
    _done(libc.mount(words[0], words[1], words[2], ctypes.c_ulong(flags), words[3]), f"mount {target}")


def _prctl(option: int, value: int) -> int:
    return libc.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0))


def enter(plan: dict) -> None:
    """Return inside the walls, in a new process; the one that called waits for it and ends as it ends."""
    _prctl(SET_PDEATHSIG, signal.SIGKILL)
    inner = _own_users()
    ends = (plan["reading"], plan["writing"])
    _wait_outside(ends)  # the first process of the new numbering is the child
    _prctl(SET_PDEATHSIG, signal.SIGKILL)
    _own_files(plan)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")
    _wait_outside(ends)
    _give_up_privileges(inner)
    _prctl(SET_PDEATHSIG, signal.SIGKILL)


def _own_users() -> int:
    """Leave every shared namespace; return the user to become inside."""
    user, group = os.geteuid(), os.getegid()
    tell, told = os.pipe()
    mapper = os.fork() if user == 0 else 0
    if user == 0 and mapper == 0:
        os.close(told)
        os.read(tell, 1)
        os._exit(_maps(os.getppid(), f"0 0 1\n{NOBODY} {NOBODY} 1"))
    _done(libc.unshare(NEWUSER | NEWNS | NEWUTS | NEWIPC | NEWPID | NEWNET), "unshare")
    if user == 0:
        os.write(told, b".")
        if os.waitpid(mapper, 0)[1] == 0:
            return NOBODY
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"0 {user} 1")
    _write("/proc/self/gid_map", f"0 {group} 1")
    return 0


def _maps(pid: int, lines: str) -> int:
    try:
        _write(f"/proc/{pid}/uid_map", lines)
        _write(f"/proc/{pid}/gid_map", lines)
    except OSError:
        return 1
    return 0


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def _wait_outside(ends: tuple[int, ...]) -> None:
    """Return in a child; the parent keeps nothing open, waits for it and ends with its exit code."""
    child = os.fork()
    if not child:
        return
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    for number in ends:
        os.close(number)
    while True:
        pid, status = os.wait()
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


def _own_files(plan: dict) -> None:
    """Build a file system of what may be seen, and leave the other one."""
    root = plan["room"]
    _write("/proc/sys/user/max_user_namespaces", "0")  # no second set of privileges further in
    _mount("none", "/", None, REC | PRIVATE)
    _mount("tmpfs", root, "tmpfs", NOSUID | NODEV, "size=1m,mode=755")
    _own_room(root + "/tmp", plan["file_size"])  # first: what is seen may lie below /tmp
    for path in plan["seen"]:
        _show(path, root + path)
    _show(plan["inside"], root + "/inside")
    for path in plan["hidden"]:
        _hide(root + os.path.realpath(path))
    _own_devices(root + "/dev")
    _own_processes(root + "/proc")
    _turn_to(root)


def _show(source: str, target: str) -> None:
    """Bind a file or folder, read-only with all that is mounted below it; a link stays a link."""
    if os.path.lexists(target) or not os.path.lexists(source):
        return
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if os.path.islink(source):
        os.symlink(os.readlink(source), target)
        return
    _place(target, os.path.isdir(source))
    _mount(source, target, None, BIND | REC)
    for point in _mounts_below(target):
        _read_only(point)


def _place(target: str, folder: bool) -> None:
    if folder:
        os.makedirs(target, exist_ok=True)
    else:
        open(target, "w").close()


def _mounts_below(target: str) -> list[str]:
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        points = [
            line.split()[4].encode("ascii", "surrogateescape").decode("unicode_escape") for line in file
        ]
    return [point for point in points if point == target or point.startswith(target + "/")]


def _read_only(point: str) -> None:
    """Mount again as read-only, with the flags that it must keep."""
    kept = os.statvfs(point).f_flag
    flags = NOSUID | NODEV | kept & (NOEXEC | NOATIME | NODIRATIME) | (RELATIME if kept & 4096 else 0)
    _mount("none", point, None, BIND | REMOUNT | RDONLY | flags)


def _hide(target: str) -> None:
    """Put nothing in the place of a file or folder that would be seen."""
    if not os.path.lexists(target):
        return
    if stat.S_ISDIR(os.stat(target).st_mode):
        if not any(os.path.ismount(f"{target}/{name}") for name in os.listdir(target)):
            _mount("tmpfs", target, "tmpfs", RDONLY | NOSUID | NODEV | NOEXEC, "size=4k,mode=555")
    else:
        _mount("/dev/null", target, None, BIND)


def _own_devices(dev: str) -> None:
    os.makedirs(dev, exist_ok=True)
    for name in DEVICES:
        _place(f"{dev}/{name}", False)
        _mount(f"/dev/{name}", f"{dev}/{name}", None, BIND)
    os.makedirs(f"{dev}/shm")
    _mount("tmpfs", f"{dev}/shm", "tmpfs", NOSUID | NODEV | NOEXEC, "size=16m,nr_inodes=64,mode=1777")


def _own_room(room: str, size: int) -> None:
    os.makedirs(room, exist_ok=True)
    _mount("tmpfs", room, "tmpfs", NOSUID | NODEV, f"size={size},nr_inodes=4096,mode=1777")


def _own_processes(proc: str) -> None:
    """Show its own processes; inside some containers that is refused, and then there is no /proc at all."""
    os.makedirs(proc, exist_ok=True)
    try:
        _mount("proc", proc, "proc", RDONLY | NOSUID | NODEV | NOEXEC)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EACCES, errno.EBUSY):
            raise


def _turn_to(root: str) -> None:
    """Make ``root`` the root and forget the old one."""
    os.chdir(root)
    call = PIVOT_ROOT.get(os.uname().machine)
    if call is None:
        raise OSError(errno.ENOSYS, f"pivot_root: not known for {os.uname().machine}")
    _done(libc.syscall(ctypes.c_long(call), b".", b"."), "pivot_root")
    _done(libc.umount2(b".", DETACH), "umount")
    _mount("none", "/", None, BIND | REMOUNT | RDONLY | NOSUID | NODEV)
    os.chdir("/tmp")


def _give_up_privileges(user: int) -> None:
    for capability in range(64):
        _prctl(CAPBSET_DROP, capability)
    _done(_prctl(SET_SECUREBITS, 0b11000011), "securebits")  # being user 0 means nothing, and stays so
    if user:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    _done(_prctl(SET_NO_NEW_PRIVS, 1), "no_new_privs")
    header, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    _done(libc.capset(header, none), "capset")

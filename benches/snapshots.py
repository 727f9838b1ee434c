#!/usr/bin/env python3
"""What a night of snapshots, and removing old ones, takes beside other tools, on file systems of its own.

As root, with rsync, rsnapshot and restic installed, and rustic where it is on PATH (`cargo install rustic-rs`), after `cargo build
--release`. Each round runs every tool once, one after the other; what is printed is the median of the rounds, and its ratio to
ringsync's. `--files N` and `--rounds N` make it shorter, `--only nights` or `--only removals` leaves out the other half.
"""

import argparse
import os
import random
import shutil
import statistics
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

PROGRAM = Path(__file__).resolve().parent.parent / "target/release/ringsync"


def run(*command, **options):
    options.setdefault("stdout", subprocess.DEVNULL)
    subprocess.run([str(word) for word in command], check=True, **options)


def timed(work):
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


@contextmanager
def file_system(kind, size):
    """A file system that is gone afterwards: a tmpfs, or one in an image that lies in memory."""
    home = Path(tempfile.mkdtemp(prefix="ringsync-bench-", dir="/dev/shm"))
    point = home / "mnt"
    point.mkdir()
    try:
        if kind == "tmpfs":
            run("mount", "-t", "tmpfs", "-o", f"size={size},nr_inodes=0", "tmpfs", point)
        else:
            run("truncate", "-s", size, home / "image")
            options = ["-N", "3000000"] if kind == "ext4" else []
            run(f"mkfs.{kind}", "-q", *options, home / "image")
            run("mount", "-o", "loop", home / "image", point)
        yield point
    finally:
        subprocess.run(["umount", point], check=False)
        shutil.rmtree(home)


def make_source(source, files):
    for number in range(files):
        directory = source / f"{number // 1000}" / f"{number // 100 % 10}"
        if number % 100 == 0:
            directory.mkdir(parents=True)
        (directory / f"file-{number}").write_bytes(random.Random(number).randbytes(1024))


class Nights:
    """The same source, backed up by each tool, night after night."""

    def __init__(self, point, files):
        self.source, self.point, self.night = point / "source", point, 0
        make_source(self.source, files)
        self.has_rustic = shutil.which("rustic") is not None
        for tool in ("rsync", "ringsync", "rsnapshot", "restic", "rustic"):
            (point / tool).mkdir()
        self.configuration = point / "rsnapshot.conf"
        self.configuration.write_text(
            f"config_version\t1.2\nsnapshot_root\t{point}/rsnapshot/\ncmd_rsync\t/usr/bin/rsync\n"
            f"cmd_cp\t/bin/cp\ncmd_rm\t/bin/rm\nretain\tdaily\t50\nlink_dest\t1\nrsync_short_args\t-a\n"
            f"lockfile\t{point}/rsnapshot.pid\nbackup\t{self.source}/\tlocal/\n"
        )
        self.secret = {**os.environ, "RESTIC_PASSWORD": "x", "RESTIC_CACHE_DIR": str(point / "cache")}
        run("restic", "init", "-q", "-r", point / "restic", env=self.secret)
        self.rustic_options = ("-r", point / "rustic", "--password", "x", "--cache-dir", point / "rustic-cache", "--no-progress")
        if self.has_rustic:
            self.rustic("init")

    def ringsync(self, *options):
        run(PROGRAM, "snapshot", "take", "-q", *options, self.source, self.point / "ringsync/store")

    def rsync(self):
        new, old = (self.point / f"rsync/{number}" for number in (self.night, self.night - 1))
        link = [f"--link-dest={old}"] if old.exists() else []
        run("rsync", "-a", *link, f"{self.source}/", f"{new}/")

    def rsnapshot(self):
        run("rsnapshot", "-c", self.configuration, "daily")

    def restic(self):
        run("restic", "backup", "-q", "-r", self.point / "restic", self.source, env=self.secret)

    def rustic(self, command, *arguments):
        run("rustic", *self.rustic_options, "--log-level", "error", command, *arguments)

    def tools(self):
        tools = {
            "ringsync": self.ringsync,
            "ringsync --no-fsync": lambda: self.ringsync("--no-fsync"),
            "rsync --link-dest": self.rsync,
            "rsnapshot": self.rsnapshot,
            "restic": self.restic,
        }
        if self.has_rustic:
            tools["rustic"] = lambda: self.rustic("backup", self.source)
        return tools

    def restores(self, back):
        restores = {
            "ringsync": lambda: run(PROGRAM, "snapshot", "restore", "-q", self.point / "ringsync/store", back),
            "rsync": lambda: run("rsync", "-a", f"{self.point}/rsync/1/", f"{back}/"),
            "restic": lambda: run(
                "restic", "restore", "-q", "latest", "-r", self.point / "restic", "-t", back, env=self.secret
            ),
        }
        if self.has_rustic:
            restores["rustic"] = lambda: self.rustic("restore", "latest", back)
        return restores


def taken(directory):
    """Bytes that all below a directory takes, and its entries: each inode once."""
    size = subprocess.run(["du", "-s", "--block-size=1", directory], check=True, capture_output=True, text=True).stdout
    entries = subprocess.run(["du", "-s", "--inodes", directory], check=True, capture_output=True, text=True).stdout
    return int(size.split()[0]), int(entries.split()[0])


def show_taken(backup, kind):
    print(f"\nwhat the backups take, {kind}, of a source of {taken(backup.source)[0] / 1e6:.1f} MB")
    for tool in ("ringsync", "rsync", "rsnapshot", "restic", "rustic"):
        if tool == "rustic" and not backup.has_rustic:
            continue
        size, inodes = taken(backup.point / tool)
        print(f"  {tool:24} {size / 1e6:8.1f} MB {inodes:10} inodes")


def show(title, figures):
    print(f"\n{title}")
    base = statistics.median(next(iter(figures.values())))
    for name, times in figures.items():
        median = statistics.median(times)
        print(f"  {name:24} {median:8.3f} s  {median / base:6.2f}")


def nights(kind, files, rounds):
    with file_system(kind, "6G") as point:
        backup = Nights(point, files)
        for tool in backup.tools().values():
            tool()
        figures = {name: [] for name in backup.tools()}
        for _ in range(rounds):
            backup.night += 1
            for name, tool in backup.tools().items():
                figures[name].append(timed(tool))
        show(f"a night of {files} files that did not change, {kind}", figures)
        show_taken(backup, kind)
        restore = backup.restores(point / "back")
        figures = {name: [] for name in restore}
        for _ in range(min(rounds, 3)):
            for name, tool in restore.items():
                figures[name].append(timed(tool))
                shutil.rmtree(point / "back")
        show(f"a restore of {files} files, {kind}", figures)


def removals(kind, files, rounds, count=10):
    figures = {"ringsync snapshot prune": [], "rm -rf": []}
    with file_system(kind, "6G") as point:
        make_source(point / "source", files)
        store, copies = point / "store", point / "copies"
        for _ in range(rounds):
            for _ in range(count + 1):
                run(PROGRAM, "snapshot", "take", "-q", "--no-fsync", point / "source", store)
            copies.mkdir()
            newest = store / os.readlink(store / "latest")
            for number in range(count):
                run("cp", "-al", newest, copies / str(number))
            prune = ("snapshot", "prune", "--yes", "--keep-last=1", store)
            figures["ringsync snapshot prune"].append(timed(lambda: run(PROGRAM, *prune)))
            figures["rm -rf"].append(timed(lambda: run("rm", "-rf", copies)))
    show(f"removing {count} snapshots of {files} hard links, {kind}", figures)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=("nights", "removals"))
    options = parser.parse_args()
    for kind in ("tmpfs", "ext4"):
        if options.only != "removals":
            nights(kind, options.files, options.rounds)
        if options.only != "nights":
            removals(kind, options.files, options.rounds)


if __name__ == "__main__":
    main()

"""A throw-away SLURM cluster on loopback: two CPU nodes, two nodes with four pretended GPUs each, accounting; Debian, root.

`python tests/slurm/cluster.py up|down` starts and stops it by hand.
"""

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

NODES = ("cpu1", "cpu2", "gpu1", "gpu2")
PROGRAMS = ("slurmctld", "slurmd", "slurmdbd", "sbatch", "munged", "mariadbd")
ETC = Path("/etc/slurm")
FILES = ("slurm.conf", "gres.conf", "cgroup.conf", "slurmdbd.conf")

_OURS = "# Written by preftune's tests.\n"
_SLURM = """\
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CryptoType=crypto/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=2
JobAcctGatherParams=OverMemoryKill
SwitchType=switch/none
ReturnToService=2
RebootProgram=/bin/true
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd-%n.pid
SlurmdSpoolDir={root}/spool-%n
StateSaveLocation={root}/state
SlurmctldPort=16817
SlurmdParameters=config_overrides
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd-%n.log
# Short, so that a test of a failure does not wait for minutes.
SlurmctldTimeout=10
SlurmdTimeout=20
MinJobAge=300
KillWait=20
BatchStartTimeout=10
MessageTimeout=10
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,batch_sched_delay=0,bf_interval=1,sched_min_interval=0,requeue_delay=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
{accounting}
GresTypes=gpu
DefMemPerCPU=256
NodeName=cpu[1-2] NodeHostname={host} NodeAddr=127.0.0.1 Port=[17001-17002] CPUs=16 CoresPerSocket=16 RealMemory=64000
NodeName=gpu[1-2] NodeHostname={host} NodeAddr=127.0.0.1 Port=[17003-17004] CPUs=16 CoresPerSocket=16 RealMemory=128000 Gres=gpu:a100:4
PartitionName=cpu Nodes=cpu[1-2] Default=YES MaxTime=1-00:00:00 State=UP PriorityTier=10 PreemptMode=off
PartitionName=gpu Nodes=gpu[1-2] MaxTime=1-00:00:00 State=UP PriorityTier=10 PreemptMode=off
PartitionName=low Nodes=cpu[1-2] MaxTime=02:00:00 State=UP PriorityTier=1 PreemptMode=requeue GraceTime=20
"""
_ACCOUNTING = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=16819
AccountingStorageTRES=gres/gpu,gres/gpu:a100
AccountingStorageEnforce=associations
JobCompType=jobcomp/none
AccountingStoreFlags=job_comment"""
_NO_ACCOUNTING = "AccountingStorageType=accounting_storage/none\nJobCompType=jobcomp/none"
_DATABASE = """\
AuthType=auth/munge
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort=16819
SlurmUser=root
LogFile={root}/slurmdbd.log
PidFile={root}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=slurm
StorageLoc=slurm_acct_db
CommitDelay=0
"""


def lacking() -> str | None:
    """Why no cluster can be started here, or None."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if getpass.getuser() != "root":
        return "a SLURM cluster on loopback needs root"
    if missing:
        return f"SLURM is not installed ({', '.join(missing)} missing)"
    others = [
        path
        for path in (ETC / name for name in FILES)
        if path.is_file() and not path.read_text().startswith(_OURS)
    ]
    others += [
        Path(path)
        for path in ("/run/slurm/conf", os.environ.get("SLURM_CONF", ""))
        if path and Path(path).exists()
    ]
    if others:
        return f"this machine has a SLURM of its own ({others[0]}), which the tests must not change"
    if succeeds("scontrol", "ping"):
        return "a cluster of the tests runs here already"
    with tempfile.TemporaryDirectory() as folder:
        makes_devices = succeeds("mknod", f"{folder}/gpu", "c", "1", "3")
    return None if makes_devices else "no device files, which SLURM wants for GPUs, can be made here (mknod)"


class Cluster:
    """The cluster whose files lie in `root`."""

    def __init__(self, root: Path, accounting: bool = True) -> None:
        self.root, self.accounting = root, accounting

    def up(self) -> None:
        """Start everything and wait until all nodes are idle (5 s)."""
        self.root.mkdir(parents=True, exist_ok=True)
        (self.root / "state").mkdir(exist_ok=True)
        self._start_munge()
        if self.accounting:
            self._start_database()
        self._configure()
        if self.accounting:
            self._start_accounting()
        run("slurmctld")
        wait_until(lambda: succeeds("scontrol", "ping"), "slurmctld to answer")
        for node in NODES:
            self.start_node(node)
        wait_until(self.idle, "four idle nodes")

    def down(self) -> None:
        """Stop everything."""
        for name in (*(f"slurmd-{node}" for node in NODES), "slurmctld", "slurmdbd", "mariadb"):
            self._kill(name, signal.SIGTERM)
        wait_until(lambda: not self._running("slurmctld"), "slurmctld to stop")
        for name in FILES:
            (ETC / name).unlink(missing_ok=True)

    def idle(self) -> bool:
        """Whether no node has a job and all are up."""
        states = run("sinfo", "--noheader", "--Node", "--format=%N %T").split("\n")
        return {line for line in states if line} == {f"{node} idle" for node in NODES}

    def start_node(self, node: str) -> None:
        """Start a node's daemon."""
        run("slurmd", "-N", node)

    def crash(self, node: str) -> None:
        """As when a machine loses power: the daemon and every process of its jobs are gone at once, and nobody reports."""
        stepds = run("pgrep", "-f", "slurmstepd: ", check=False).split()
        jobs = run("squeue", "--noheader", "--nodelist", node, "--format=%A").split()
        doomed = [int((self.root / f"slurmd-{node}.pid").read_text())]
        for pid in map(int, stepds):
            command = Path(f"/proc/{pid}/cmdline").read_bytes().decode()
            if any(f"[{job}." in command for job in jobs):
                doomed += descendants(pid)
        for pid in doomed:
            _send(pid, signal.SIGKILL)

    def restart_controller(self, seconds: float) -> None:
        """Stop the controller, leave it away for a while, start it again."""
        self._kill("slurmctld", signal.SIGTERM)
        wait_until(lambda: not self._running("slurmctld"), "slurmctld to stop")
        time.sleep(seconds)
        run("slurmctld")
        wait_until(lambda: succeeds("scontrol", "ping"), "slurmctld to answer")

    def _start_munge(self) -> None:
        if not succeeds("munge", "-n"):
            run("install", "-d", "-o", "munge", "-g", "munge", "-m", "755", "/run/munge")
            run("runuser", "-u", "munge", "--", "munged")
            wait_until(lambda: succeeds("munge", "-n"), "munge")

    def _start_database(self) -> None:
        data, socket_file = self.root / "mysql", self.root / "mysqld.sock"
        if not data.is_dir():
            self.root.chmod(0o777)
            data.mkdir()
            shutil.chown(data, "mysql", "mysql")
            run("mariadb-install-db", "--no-defaults", "--user=mysql", f"--datadir={data}", "--skip-test-db",
                "--auth-root-authentication-method=socket")  # fmt: skip
        with (self.root / "mariadb.log").open("w") as log:
            subprocess.Popen(
                ["mariadbd", "--no-defaults", "--user=mysql", f"--datadir={data}", f"--socket={socket_file}",
                 f"--pid-file={self.root}/mariadb.pid", "--skip-networking", "--innodb-buffer-pool-size=64M",
                 "--innodb-flush-log-at-trx-commit=0", "--innodb-lock-wait-timeout=900"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        ask = ("mariadb", "--no-defaults", "-uroot", "-S", str(socket_file), "-e")
        wait_until(lambda: succeeds(*ask, "select 1"), "mariadb")
        run(*ask, "create database if not exists slurm_acct_db; create or replace user slurm@localhost identified by ''; "
            "grant all on slurm_acct_db.* to slurm@localhost;")  # fmt: skip

    def _configure(self) -> None:
        """The files must lie at the default place: a job's own srun gets no SLURM_CONF from Snakemake."""
        words = {"host": socket.gethostname().split(".")[0], "root": self.root}
        accounting = _ACCOUNTING if self.accounting else _NO_ACCOUNTING
        ETC.mkdir(parents=True, exist_ok=True)
        for number in range(4):  # slurmd wants device files; nobody opens them
            device = self.root / f"gpu{number}"
            if not device.exists():
                run("mknod", str(device), "c", "1", "3")
        files = {
            "slurm.conf": _SLURM.format(**words, accounting=accounting),
            "gres.conf": f"NodeName=gpu[1-2] Name=gpu Type=a100 File={self.root}/gpu[0-3]\n",
            "cgroup.conf": "CgroupAutomount=no\n",
            "slurmdbd.conf": _DATABASE.format(**words),
        }
        for name, text in files.items():
            (ETC / name).write_text(_OURS + text)
            (ETC / name).chmod(0o600 if name == "slurmdbd.conf" else 0o644)

    def _start_accounting(self) -> None:
        run("slurmdbd", environment={"MYSQL_UNIX_PORT": str(self.root / "mysqld.sock")})
        wait_until(lambda: succeeds("sacctmgr", "-n", "list", "cluster"), "slurmdbd")
        for words in (
            ("cluster", "loopback"),
            ("account", "ml", "Description=ml", "Organization=test"),
            ("user", "root", "Account=ml", "DefaultAccount=ml"),
        ):
            run("sacctmgr", "-i", "add", *words, check=False)

    def _pid(self, name: str) -> int | None:
        try:
            return int((self.root / f"{name}.pid").read_text())
        except (OSError, ValueError):
            return None

    def _running(self, name: str) -> bool:
        pid = self._pid(name)
        return pid is not None and Path(f"/proc/{pid}").is_dir()

    def _kill(self, name: str, number: int) -> None:
        pid = self._pid(name)
        if pid is not None:
            _send(pid, number)


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def descendants(pid: int) -> list[int]:
    """A process and all below it."""
    children = run("pgrep", "-P", str(pid), check=False).split()
    return [pid, *(one for child in children for one in descendants(int(child)))]


def run(*words: str, check: bool = True, environment: dict[str, str] | None = None) -> str:
    """Run a command and return what it prints."""
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, env={**os.environ, **(environment or {})}
    )  # fmt: skip
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def succeeds(*words: str) -> bool:
    """Whether a command ends well."""
    return subprocess.run(words, capture_output=True, check=False, stdin=subprocess.DEVNULL).returncode == 0


def wait_until(test: Callable[[], object], what: str, seconds: float = 60.0) -> None:
    """Wait for something, or fail."""
    end = time.monotonic() + seconds
    while not test():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(
        (sys.argv[1] == "up" and lacking()) or getattr(Cluster(Path("/tmp/preftune-slurm")), sys.argv[1])()
    )

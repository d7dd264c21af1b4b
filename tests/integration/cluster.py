"""Two hosts on one machine, for the tests of several nodes: network namespaces joined by a link, each with a name, an address
and loopback of its own; and a Slurm over them. Needs root."""

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path


def call(*words, check=True, **options):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False, **options)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, words))}: {done.stderr or done.stdout}")
    return done


def commands():
    """The command lines of all processes."""
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield file.read_bytes()
        except OSError:  # it ended meanwhile
            continue


class Hosts:
    """node1 and node2 with the addresses 10.99.<n>.1 and .2."""

    NAMES = ("node1", "node2")

    def __init__(self):
        # Tests of several clones may run at once: the process is in the names, and in the network.
        self.network = f"10.{100 + os.getpid() // 250 % 100}.{os.getpid() % 250}"
        self.spaces = {name: f"lockstep-{os.getpid()}-{name}" for name in self.NAMES}
        links = [f"ls{os.getpid()}{letter}" for letter in "ab"]
        for space in self.spaces.values():
            call("ip", "netns", "add", space)
        call("ip", "link", "add", links[0], "type", "veth", "peer", "name", links[1])
        for number, (space, link) in enumerate(zip(self.spaces.values(), links), 1):
            call("ip", "link", "set", link, "netns", space)
            call("ip", "-n", space, "addr", "add", f"{self.network}.{number}/24", "dev", link)
            call("ip", "-n", space, "link", "set", link, "up")
            call("ip", "-n", space, "link", "set", "lo", "up")
        self.links = dict(zip(self.NAMES, links))

    def address(self, name):
        return f"{self.network}.{self.NAMES.index(name) + 1}"

    def on(self, name, *words):
        """The command line that runs `words` on a host, under its name and with shared memory of its own."""
        script = f'hostname {name}; mount -t tmpfs tmpfs /dev/shm; exec "$@"'
        return ["nsenter", f"--net=/run/netns/{self.spaces[name]}", "unshare", "--uts", "--mount", "--ipc", "sh", "-c", script, "sh",
                *map(str, words)]

    def processes(self, name):
        """All that runs on a host."""
        space, found = os.stat(f"/run/netns/{self.spaces[name]}").st_ino, []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if (entry / "ns" / "net").stat().st_ino == space:
                    found.append(int(entry.name))
            except OSError:  # it ended meanwhile
                continue
        return found

    def seen_from(self, name, *words):
        """The command line that runs `words` with a host's network alone, for what asks and ends."""
        return ["nsenter", f"--net=/run/netns/{self.spaces[name]}", *map(str, words)]

    def cut(self):
        call("ip", "-n", self.spaces["node2"], "link", "set", self.links["node2"], "down")

    def close(self):
        for space in self.spaces.values():
            call("ip", "netns", "delete", space, check=False)


CONFIGURATION = """\
ClusterName=lockstep
SlurmctldHost=node1({network}.1)
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
SlurmUser=root
SlurmdUser=root
ReturnToService=2
KillWait=2
SlurmdTimeout=10
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
MinJobAge=600
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmdLogFile={folder}/slurmd-%n.log
SlurmdSpoolDir={folder}/spool-%n
StateSaveLocation={folder}/state
TmpFS={folder}/tmp-%n
SlurmdParameters=config_overrides
NodeName=node1 NodeAddr={network}.1 CPUs=4 RealMemory=8000 State=UNKNOWN
NodeName=node2 NodeAddr={network}.2 CPUs=4 RealMemory=8000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP GraceTime=120
PartitionName=urgent Nodes=ALL PriorityTier=10 MaxTime=INFINITE State=UP
"""


class Slurm:
    """A Slurm with one slurmd on each of the hosts; all of it lives in `folder`."""

    def __init__(self):
        self.temporary = tempfile.TemporaryDirectory(prefix="lockstep-slurm-", ignore_cleanup_errors=True)
        self.folder = Path(self.temporary.name)
        self.processes = {}
        self.hosts = Hosts()
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    def start(self):
        for name in ("state", "spool-node1", "spool-node2", "tmp-node1", "tmp-node2"):
            (self.folder / name).mkdir()
        (self.folder / "slurm.conf").write_text(
            CONFIGURATION.format(folder=self.folder, network=self.hosts.network))
        self.environment = {**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf"),
                            "MUNGE_SOCKET": f"{self.folder}/munge.socket"}
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        self.folder.chmod(0o711)
        self.daemon("munged", "node1", "munged", "--foreground", "--force", f"--socket={self.folder}/munge.socket",
                    f"--key-file={key}", f"--pid-file={self.folder}/munged.pid", f"--log-file={self.folder}/munged.log",
                    f"--seed-file={self.folder}/munged.seed")
        self.wait("munge", lambda: (self.folder / "munge.socket").exists())
        self.daemon("slurmctld", "node1", "slurmctld", "-D")
        for name in Hosts.NAMES:
            self.start_node(name)
        self.wait("idle nodes", lambda: self.client("sinfo", "-h", "-t", "idle", "-o", "%D").stdout.strip() == "2")

    def start_node(self, name):
        self.daemon(name, name, "slurmd", "-D", "-N", name)

    def kill_node(self, name):
        """slurmd goes without a word; what it started goes on."""
        os.kill(self.processes[name].pid, signal.SIGKILL)
        self.processes.pop(name).wait()

    def daemon(self, key, host, *words):
        log = (self.folder / f"{key}.out").open("w")
        self.processes[key] = subprocess.Popen(self.hosts.on(host, *words), stdout=log, stderr=log,
                                               env=self.environment, start_new_session=True)
        log.close()

    def client(self, *words, check=False, **extra):
        """A command of Slurm, as somebody on the first node gives it."""
        environment = {**self.environment, **{name: str(value) for name, value in extra.items()}}
        # srun is called back under its host's name.
        where = self.hosts.on if words[0] == "srun" else self.hosts.seen_from
        return call(*where("node1", *words), check=check, env=environment)

    def wait(self, what, condition, seconds=60):
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise AssertionError(f"no {what} after {seconds} s\n{self.logs()}")
            time.sleep(0.2)  # asking costs processor time, which the jobs want

    def logs(self):
        return "\n".join(f"== {file.name}\n{file.read_text()[-2000:]}" for file in self.folder.glob("*.log"))

    def submit(self, *words, **extra):
        return int(self.client("sbatch", "--parsable", *words, check=True, **extra).stdout.strip().split(";")[0])

    def job(self, job):
        """{"JobState": ..., "ExitCode": ..., ...}; empty where Slurm knows it no more."""
        done = self.client("scontrol", "show", "job", "-o", job)
        return dict(word.split("=", 1) for word in done.stdout.split() if "=" in word)

    def state(self, job):
        return self.job(job).get("JobState", "")

    def start_again(self, job):
        """Waits until the job is back in the queue, and spares it the two minutes that Slurm then lets pass."""
        def requeued():
            shown = self.job(job)
            # In those two minutes the daemons of its steps have long gone; here they may still be there.
            steps = f"slurmstepd: [{shown.get('JobId')}.".encode()
            return (shown.get("Restarts") == "1" and shown["JobState"] == "PENDING"
                    and not any(command.startswith(steps) for command in commands()))
        self.wait(f"requeue of {job}", requeued)
        # slurmd refuses a job of the very second in which it ended one of that number.
        self.client("scontrol", "update", f"job={job}", "StartTime=now+2", check=True)

    def close(self):
        if self.processes.get("slurmctld"):
            self.client("scancel", "--signal=KILL", "--user=root")
        for process in reversed(self.processes.values()):
            try:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait(timeout=10)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                process.kill()
        for process in self.left():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self.hosts.close()
        self.temporary.cleanup()

    def left(self):
        """What a job started and is still there."""
        mine = f"SLURM_CONF={self.folder}/slurm.conf".encode()
        for file in Path("/proc").glob("[0-9]*/environ"):
            try:
                if mine in file.read_bytes().split(b"\0"):
                    yield int(file.parent.name)
            except OSError:  # it ended meanwhile
                continue

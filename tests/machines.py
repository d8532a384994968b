"""Two machines for a test: network namespaces joined by a cable, each with a host name of its own."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

FIRST, SECOND = "HOST", "OTHER"
"""Host names. The first is what printed command lines call the machine where the processes meet."""


class NotAllowedError(Exception):
    """This machine lets the tests make no network namespaces; its reason."""


@dataclass(frozen=True)
class Machine:
    """A network namespace in which a shell sees the host name and the hosts of the small network."""

    name: str
    namespace: str
    hosts: Path

    def start(self, line: str, folder: Path) -> subprocess.Popen[str]:
        """Run a command line there, as a user would in a shell."""
        set_up = 'mount --bind "$HOSTS_FILE" /etc/hosts && hostname "$HOST_NAME" && '
        inside = ["unshare", "--mount", "--uts", "sh", "-c", f"{set_up}exec {line}"]
        own = {"HOSTS_FILE": str(self.hosts), "HOST_NAME": self.name}
        return start_line(["ip", "netns", "exec", self.namespace, *inside], folder, own)


@contextmanager
def two_machines(folder: Path) -> Iterator[list[Machine]]:
    """Two machines that reach each other and nothing else.

    Raises:
        NotAllowedError: only root may do this, on Linux with iproute2.
    """
    needed = ("ip", "unshare", "mount", "hostname")
    missing = [program for program in needed if shutil.which(program) is None]
    if missing:
        raise NotAllowedError(f"there is no {' and no '.join(missing)} here")
    hosts = folder / "hosts"
    hosts.write_text(f"127.0.0.1 localhost\n10.77.0.1 {FIRST}\n10.77.0.2 {SECOND}\n")
    machines = [Machine(name, f"repro-{os.getpid()}-{name}", hosts) for name in (FIRST, SECOND)]
    one, two = (machine.namespace for machine in machines)
    try:
        for machine in machines:
            _ip("netns", "add", machine.namespace)
        _ip("link", "add", "cable", "netns", one, "type", "veth", "peer", "name", "cable", "netns", two)
        for number, machine in enumerate(machines, start=1):
            _ip("-n", machine.namespace, "address", "add", f"10.77.0.{number}/24", "dev", "cable")
            for device in ("lo", "cable"):
                _ip("-n", machine.namespace, "link", "set", device, "up")
        tried = machines[0].start("true", folder)
        _, said = tried.communicate(timeout=60)
        if tried.returncode:
            raise NotAllowedError(said.strip())
        yield machines
    finally:
        for machine in machines:
            subprocess.run(["ip", "netns", "delete", machine.namespace], check=False, capture_output=True)


def start_line(command: list[str], folder: Path, own: dict[str, str]) -> subprocess.Popen[str]:
    """Start a command in a folder with the scripts of this environment on the path."""
    scripts = Path(sys.executable).parent
    path = f"{scripts}{os.pathsep}{os.environ['PATH']}"
    taken_out = ("REPRO_DATA_ROOT", "PYTHONPATH")
    environment = {key: value for key, value in os.environ.items() if key not in taken_out}
    return subprocess.Popen(
        command,
        text=True,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment | {"PATH": path, "OMP_NUM_THREADS": "1"} | own,
    )


def end_all(processes: list[subprocess.Popen[str]], patience: float) -> list[tuple[str, str]]:
    """What each has written once it ended; none is left behind when one does not."""
    try:
        return [process.communicate(timeout=patience) for process in processes]
    finally:
        for process in processes:
            if process.poll() is None:
                process.terminate()
                process.communicate()


def _ip(*arguments: str) -> None:
    ended = subprocess.run(["ip", *arguments], check=False, capture_output=True, text=True)
    if ended.returncode:
        raise NotAllowedError(f"ip {' '.join(arguments)}: {ended.stderr.strip()}")

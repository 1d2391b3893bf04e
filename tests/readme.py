#!/usr/bin/env python3
"""Runs what the README says, as it says it, on machines of its own: tests/readme.py [DIST_FOLDER [PAGE]]

A block ```sh NAME runs on the machine NAME, in one login shell a machine, in the order of the page; every command
must succeed. A block ```text after it is what it prints: these lines, in this order, among others. In both `…`
stands for what differs: in a command for the join token, in output for anything; white space and ages may differ.

The machines are Debian with a real systemd in containers (systemd-nspawn), in one network namespace that ends with
this program, next to a server that hands out DIST_FOLDER (default: what `just dist` made) as
https://releases.example.com/midge; it is /media/midge, too. As root, on Debian. The last line counts the tests.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SITE = "releases.example.com"
GATEWAY = "10.99.0.254"
ADDRESSES = {"server": "10.99.0.1", "pi-1": "10.99.0.2"}
PACKAGES = (
    "systemd,systemd-sysv,dbus,iproute2,iptables,containerd,runc,containernetworking-plugins,"
    "curl,ca-certificates,kmod,procps,busybox-static,openssl"
)
BLOCK_SECONDS = 180


class Failed(Exception):
    pass


def run(*command, **options):
    return subprocess.run(command, check=True, text=True, **options)


def blocks(page):
    """The page's blocks that run: (machine, script, expected lines, line number)."""
    found, fence = [], re.compile(r"^```(\w*) ?([\w-]*)\n(.*?)^```$", re.M | re.S)
    for match in fence.finditer(page):
        language, machine, text = match.groups()
        if language == "sh" and machine:
            found.append([machine, text, [], page.count("\n", 0, match.start()) + 1])
        elif language == "text" and machine == "" and found:
            found[-1][2] = text.splitlines()
    return found


def pattern(line):
    """What `line` of the page stands for."""
    text = re.escape(line.strip())
    text = re.sub(r"(\\ )+", r"\\s+", text).replace("…", ".*")
    return re.compile(re.sub(r"\b\d+[smhd]\b", r"[0-9smhd]+", text))


def missing(expected, printed):
    """The first line of `expected` that does not come, in order, in `printed`."""
    lines = iter(printed.splitlines())
    for line in expected:
        if line.strip() and not any(pattern(line).search(other) for other in lines):
            return line
    return None


class Machine:
    """A Debian with systemd as its first process and one shell in it."""

    def __init__(self, name, folder, authority, dist):
        self.name = name
        self.dist = dist
        self.root = folder / name
        self.root.mkdir()
        run("tar", "-C", self.root, "-xf", base(), "--warning=no-timestamp")
        (self.root / "etc/hostname").write_text(name + "\n")
        hosts = [f"127.0.0.1 localhost", f"{GATEWAY} {SITE}"]
        hosts += [f"{address} {other}" for other, address in ADDRESSES.items()]
        (self.root / "etc/hosts").write_text("\n".join(hosts) + "\n")
        with open(self.root / "etc/ssl/certs/ca-certificates.crt", "a") as bundle:
            bundle.write(authority.read_text())
        shutil.copy(kubectl(), self.root / "usr/local/bin/kubectl")
        self.boot()

    def boot(self):
        unified = Path("/sys/fs/cgroup/cgroup.controllers").exists()
        environment = dict(os.environ, SYSTEMD_NSPAWN_UNIFIED_HIERARCHY="1" if unified else "0")
        self.log = open(self.root.parent / f"{self.name}.log", "w")
        self.container = subprocess.Popen(
            ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", f"--directory={self.root}", f"--machine={self.name}"]
            + [f"--bind-ro={self.dist}:/media/midge", "--network-bridge=outside", "--capability=all", "--link-journal=no", "--console=pipe", "--boot"],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, env=environment, preexec_fn=self.join_groups,
        )
        self.leader = wait_for(30, f"{self.name} boots", self.first_process)
        self.enter("ip", "link", "set", "host0", "up")
        self.enter("ip", "address", "add", f"{ADDRESSES[self.name]}/24", "dev", "host0")
        self.enter("ip", "route", "add", "default", "via", GATEWAY)
        wait_for(60, f"containerd on {self.name}", lambda: self.enter("ctr", "version", check=False).returncode == 0)
        self.shell = subprocess.Popen(
            self.inside("env", "-i", "HOME=/root", "TERM=dumb", "LC_ALL=C.UTF-8", "bash", "--login"),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )

    def groups(self):
        """The machine's control group in each hierarchy: what is made in it can be removed with it."""
        mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
        return [Path(mount[1]) / f"midge-readme-{self.name}" for mount in mounts if mount[2] in ("cgroup", "cgroup2")]

    def join_groups(self):
        for group in self.groups():
            group.mkdir(exist_ok=True)
            # cpuset of version 1 takes no process before it has both.
            for file in ("cpuset.cpus", "cpuset.mems"):
                if (group / "tasks").exists() and (group / file).exists():
                    (group / file).write_text((group.parent / file).read_text())
            (group / "cgroup.procs").write_text("0")

    def remove_groups(self):
        def gone():
            for group in self.groups():
                for folder, _, _ in os.walk(group, topdown=False):
                    try:
                        os.rmdir(folder)
                    except OSError:
                        pass
            return not any(group.exists() for group in self.groups())

        wait_for(20, f"the control groups of {self.name} are empty", gone)

    def first_process(self):
        if self.container.poll() is not None:
            raise Failed(f"systemd-nspawn ended: {Path(self.log.name).read_text()}")
        children = Path(f"/proc/{self.container.pid}/task/{self.container.pid}/children").read_text().split()
        for child in children:
            try:
                if Path(f"/proc/{child}/comm").read_text() == "systemd\n":
                    return child
            except OSError:
                pass
        return None

    def inside(self, *command):
        return ["nsenter", "--all", f"--target={self.leader}", "--", *command]

    def enter(self, *command, check=True):
        return subprocess.run(self.inside(*command), check=check, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def paste(self, script):
        """What `script` prints in the machine's shell; an error when a command of it fails, or it does not end."""
        end = "== the block has ended"
        self.shell.stdin.write(f"broken=; trap 'broken=$?' ERR\n{script}\ntrap - ERR; echo; echo '{end}' $broken\n")
        self.shell.stdin.flush()
        printed, late = [], threading.Event()
        timer = threading.Timer(BLOCK_SECONDS, lambda: (late.set(), self.shell.kill()))
        timer.start()
        for line in self.shell.stdout:
            if line.startswith(end):
                timer.cancel()
                text, code = "".join(printed), line[len(end):].strip()
                if code:
                    raise Failed(f"a command failed with {code}:\n{text}")
                return text
            sys.stdout.write(f"    {line}")
            sys.stdout.flush()
            printed.append(line)
        timer.cancel()
        raise Failed(f"{'no end in time' if late.is_set() else 'the shell ended'}:\n{''.join(printed)}")

    def stop(self):
        # First: a shutdown stops all processes for a moment, and nsenter would stay stopped.
        self.shell.stdin.close()
        self.shell.wait()
        if self.container.poll() is None:
            # nspawn asks the first process to power off.
            self.container.send_signal(signal.SIGTERM)
            try:
                self.container.wait(30)
            except subprocess.TimeoutExpired:
                self.container.kill()
                self.container.wait()
        self.log.close()
        self.remove_groups()


def wait_for(seconds, what, condition):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.1)
    raise Failed(f"not in {seconds} s: {what}")


def base():
    """The root that all machines start from, made once."""
    archive = ROOT / "target/readme/bookworm.tar"
    if not archive.exists():
        print("== making a Debian root (a minute)", flush=True)
        archive.parent.mkdir(parents=True, exist_ok=True)
        partial = archive.with_suffix(".partial.tar")
        run("mmdebstrap", "--quiet", "--variant=minbase", f"--include={PACKAGES}", "bookworm", partial, *mirror())
        partial.rename(archive)
    return archive


def mirror():
    """Where this machine has Debian's packages from; mmdebstrap has a default."""
    sources = [Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*")]
    text = "".join(file.read_text() for file in sources if file.is_file())
    return re.findall(r"^(?:URIs:|deb) *(https?://\S+/debian)\b", text, re.M)[:1]


def kubectl():
    found = shutil.which("kubectl", path=f"{ROOT}/target/tools/bin:{os.environ['PATH']}")
    return found or sys.exit("tests/readme.py: there is no kubectl: tests/setup.sh installs it")


def hand_out(dist, folder):
    """Serves the release folder, as the page says it is laid out; returns the server and its authority's certificate."""
    site = folder / "site/midge"
    site.mkdir(parents=True)
    for name in (dist.name, "stable"):
        shutil.copytree(dist, site / name)
    with open(site / "install.sh", "w") as script:
        run(ROOT / "packaging/install/assemble.sh", f"https://{SITE}/midge", stdout=script)
    key, certificate = folder / "site.key", folder / "site.pem"
    run(
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
        "-subj", f"/CN={SITE}", "-addext", f"subjectAltName=DNS:{SITE}", "-keyout", key, "-out", certificate,
        stderr=subprocess.DEVNULL,
    )
    program = (
        "import http.server, ssl, sys, functools\n"
        "folder, key, certificate, address = sys.argv[1:]\n"
        "handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)\n"
        "server = http.server.ThreadingHTTPServer((address, 443), handler)\n"
        "context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n"
        "context.load_cert_chain(certificate, key)\n"
        "server.socket = context.wrap_socket(server.socket, server_side=True)\n"
        "server.serve_forever()\n"
    )
    with open(folder / "site.log", "w") as log:
        server = subprocess.Popen(
            [sys.executable, "-c", program, folder / "site", key, certificate, GATEWAY], stdout=log, stderr=log
        )
    return server, certificate


def main(dist, page):
    if os.environ.get("MIDGE_README_INSIDE") is None:
        base()
        # A network namespace of this program's own, and mounts that go with it.
        os.environ["MIDGE_README_INSIDE"] = "1"
        os.execvp("unshare", ["unshare", "--net", "--mount", sys.executable, __file__, str(dist), str(page)])
    run("ip", "link", "set", "lo", "up")
    run("ip", "link", "add", "outside", "type", "bridge")
    run("ip", "address", "add", f"{GATEWAY}/24", "dev", "outside")
    run("ip", "link", "set", "outside", "up")
    steps = blocks(page.read_text())
    if not steps:
        sys.exit(f"tests/readme.py: no block of {page} names a machine")
    machines, failed, token = {}, 0, None
    folder = Path(tempfile.mkdtemp(prefix="midge-readme-"))
    server, authority = hand_out(dist, folder)
    try:
        for name, script, expected, line in steps:
            print(f"== {page.name}:{line} on {name}\n{''.join('    $ ' + text for text in script.splitlines(True))}", end="", flush=True)
            if name not in ADDRESSES:
                raise Failed(f"there is no machine {name}")
            if name not in machines:
                machines[name] = Machine(name, folder, authority, dist)
            if "K10…" in script:
                token = token or (machines["server"].root / "var/lib/midge/server/token").read_text().strip()
                script = script.replace("K10…", token)
            printed = machines[name].paste(script)
            absent = missing(expected, printed)
            if absent is not None:
                raise Failed(f"it does not print what the page shows:\n    {absent}")
    except (Failed, subprocess.CalledProcessError) as error:
        failed = 1
        print(f"FAILED {error}", file=sys.stderr)
        for machine in machines.values():
            print(machine.enter("journalctl", "-u", "midge*", "-n", "30", "--no-pager", check=False).stdout, file=sys.stderr)
    finally:
        for machine in machines.values():
            machine.stop()
        server.terminate()
        server.wait()
        run("rm", "-rf", "--one-file-system", folder)
    print(f"{0 if failed else 1} passed, {failed} failed")
    return failed


def built():
    version = re.search(r'^version = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.M).group(1)
    return ROOT / f"target/dist/v{version}"


if __name__ == "__main__":
    if len(sys.argv) > 3 or "--help" in sys.argv:
        sys.exit(__doc__)
    dist, page = [*map(Path, sys.argv[1:]), *[built(), ROOT / "README.md"][len(sys.argv) - 1:]]
    if not (dist / "SHA256SUMS").exists():
        sys.exit(f"tests/readme.py: there is no release in {dist}: run cross/dist.sh")
    sys.exit(main(dist.resolve(), page.resolve()))

"""tests/packages/contents.py FOLDER VERSION DATE: what lies in the packages that packaging/build-packages.sh made there.

Prints `ok` or `FAILED` for each package, and how many they were to the file COUNTS, if given as fourth argument."""

import gzip
import hashlib
import io
import subprocess
import sys
import tarfile
from pathlib import Path

folder, version, date = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
top = Path(__file__).resolve().parents[2]
OPENWRT_FILES = {
    "usr/bin/midge": 0o755,
    "etc/init.d/midge": 0o755,
    "etc/config/midge": 0o600,
    "usr/share/nftables.d/chain-pre/forward/midge.nft": 0o644,
    "lib/upgrade/keep.d/midge": 0o644,
}
APK_FILES = {f"lib/apk/packages/midge.{end}": 0o644 for end in ("list", "conffiles", "conffiles_static")}
DEB_FILES = {
    "usr/bin/midge": 0o755,
    "usr/lib/systemd/system/midge.service": 0o644,
    "usr/lib/systemd/system/midge-agent.service": 0o644,
    "etc/midge/midge.env": 0o600,
    "etc/midge/midge-agent.env": 0o600,
    "usr/share/doc/midge/changelog.gz": 0o644,
    "usr/share/doc/midge/copyright": 0o644,
    "usr/share/lintian/overrides/midge": 0o644,
}
OPENWRT_NEEDS = {"containerd", "runc", "cni-plugins", "iptables", "kmod-ipt-nat", "kmod-veth"}


def read(data):
    """The members of a tar archive, by name without `./`."""
    archive = tarfile.open(fileobj=io.BytesIO(data))
    return {member.name.removeprefix("./"): (member, archive.extractfile(member)) for member in archive}


def text(members, name):
    return members[name][1].read().decode()


def equal(what, found, expected):
    if found != expected:
        raise ValueError(f"{what}: {found!r}, expected {expected!r}")


def check_files(members, expected, binary):
    files = {}
    for name, (member, _) in members.items():
        equal(f"owner of {name}", (member.uid, member.gid), (0, 0))
        equal(f"date of {name}", int(member.mtime), date)
        if member.isdir():
            equal(f"mode of {name}", member.mode, 0o755)
        else:
            files[name] = member.mode
    equal("files and modes", files, expected)
    found = hashlib.sha256(members["usr/bin/midge"][1].read()).digest()
    equal("program", found, hashlib.sha256(binary.read_bytes()).digest())


def check_paths(members, names):
    for name in names:
        content = text(members, name)
        if "/usr/local" in content or "/usr/bin/midge" not in content:
            raise ValueError(f"{name} does not name /usr/bin/midge, or /usr/local")


def fields(control):
    return dict(line.split(": ", 1) for line in control.splitlines() if ": " in line and line[0] != " ")


def check_ipk(data, arch, binary):
    outer = read(data)
    equal("members", list(outer), ["debian-binary", "control.tar.gz", "data.tar.gz"])
    equal("debian-binary", text(outer, "debian-binary"), "2.0\n")
    control = read(outer["control.tar.gz"][1].read())
    equal("control's members", set(control), {"control", "conffiles", "postinst", "prerm", "postrm"})
    for name in ("postinst", "prerm", "postrm"):
        equal(f"mode of {name}", control[name][0].mode, 0o755)
    found = fields(text(control, "control"))
    equal("Package", found["Package"], "midge")
    equal("Version", found["Version"], version)
    equal("Architecture", found["Architecture"], arch)
    equal("Depends", set(found["Depends"].split(", ")), OPENWRT_NEEDS)
    equal("conffiles", text(control, "conffiles").split(), ["/etc/config/midge"])
    members = read(outer["data.tar.gz"][1].read())
    check_files(members, OPENWRT_FILES, binary)
    check_paths(members, ["etc/init.d/midge"])


def gzip_streams(data):
    """An .apk is two gzip streams, one after the other: control and data."""
    whole = gzip.decompress(data)
    for end in range(len(data) - 2, 0, -1):
        if data[end : end + 3] == b"\x1f\x8b\x08":
            try:
                second = gzip.decompress(data[end:])
            except (OSError, EOFError, gzip.zlib.error):
                continue
            return whole[: len(whole) - len(second)], second, data[end:]
    raise ValueError("no second gzip stream")


def check_apk(data, arch, binary):
    control, files, packed = gzip_streams(data)
    # The first stream's archive has no end mark: apk reads both as one.
    control = read(control + bytes(1024))
    scripts = {".post-install", ".post-upgrade", ".pre-deinstall", ".post-deinstall"}
    equal("control's members", set(control), scripts | {".PKGINFO"})
    lines = [line.split(" = ", 1) for line in text(control, ".PKGINFO").splitlines() if " = " in line]
    found = dict(lines)
    equal("pkgname", found["pkgname"], "midge")
    equal("pkgver", found["pkgver"], version)
    equal("arch", found["arch"], arch)
    equal("depend", {value for key, value in lines if key == "depend"}, OPENWRT_NEEDS)
    equal("datahash", found["datahash"], hashlib.sha256(packed).hexdigest())
    members = read(files)
    check_files(members, OPENWRT_FILES | APK_FILES, binary)
    listed = text(members, "lib/apk/packages/midge.list").split()
    equal("midge.list", listed, sorted("/" + name for name in OPENWRT_FILES | APK_FILES))
    config = hashlib.sha256(members["etc/config/midge"][1].read()).hexdigest()
    equal("conffiles", text(members, "lib/apk/packages/midge.conffiles_static"), f"/etc/config/midge {config}\n")


def check_deb(data, arch, binary, path):
    def dpkg(*arguments):
        return subprocess.run(["dpkg-deb", *arguments, path], check=True, capture_output=True).stdout

    found = fields(dpkg("--field").decode())
    equal("Package", found["Package"], "midge")
    equal("Version", found["Version"], version)
    equal("Architecture", found["Architecture"], arch)
    control = read(dpkg("--ctrl-tarfile"))
    equal("conffiles", set(text(control, "conffiles").split()), {"/etc/midge/midge.env", "/etc/midge/midge-agent.env"})
    members = read(dpkg("--fsys-tarfile"))
    check_files(members, DEB_FILES, binary)
    check_paths(members, ["usr/lib/systemd/system/midge.service", "usr/lib/systemd/system/midge-agent.service"])


def expected():
    """Name, check, architecture and binary of each package, as cross/targets.txt has them."""
    for line in (top / "cross/targets.txt").read_text().splitlines():
        if line.startswith("#") or not line.strip():
            continue
        _, dist, deb, openwrt, *_ = line.split()
        binary = folder / f"midge-{dist}"
        if not binary.exists():
            continue
        if deb != "-":
            yield f"midge_{version}_{deb}.deb", check_deb, deb, binary
        for arch in openwrt.split(",") if openwrt != "-" else []:
            yield f"midge_{version}_{arch}.ipk", check_ipk, arch, binary
            yield f"midge-{version}-{arch}.apk", check_apk, arch, binary


passed = failed = 0
made = {path.name for path in folder.iterdir() if path.suffix in (".deb", ".ipk", ".apk")}
for name, check, arch, binary in expected():
    made.discard(name)
    path = folder / name
    try:
        check(path.read_bytes(), arch, binary, *([path] if check is check_deb else []))
        passed += 1
        print(f"ok     {name}")
    except (OSError, ValueError, KeyError, tarfile.TarError, subprocess.CalledProcessError) as error:
        failed += 1
        print(f"FAILED {name}: {error}")
for name in sorted(made):
    failed += 1
    print(f"FAILED {name}: cross/targets.txt has no such package")
if len(sys.argv) > 4:
    Path(sys.argv[4]).write_text(f"{passed} {failed}\n")
sys.exit(0 if passed and not failed else 1)

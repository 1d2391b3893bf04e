"""Parses meta-midge with bitbake's own parser, runs its recipes' do_install, and compares what comes out
with what midge's sources say. Run by tests/yocto.sh."""

import fnmatch, hashlib, logging, os, re, shutil, subprocess, sys, tomllib, traceback, types

# bitbake names its client of a hash server when it is loaded; PyPI's package is without, and parsing needs none.
for module in ("hashserv", "hashserv.client"):
    sys.modules[module] = types.ModuleType(module)

import bb, bb.build, bb.cookerdata, bb.fetch2

ROOT, BUILD, CONFIGS = sys.argv[1:]
LAYER = f"{ROOT}/packaging/yocto/meta-midge"
VERSION = tomllib.load(open(f"{ROOT}/Cargo.toml", "rb"))["package"]["version"]
SOURCE = f"{LAYER}/recipes-containers/midge/midge_{VERSION}.bb"
PREBUILT = f"{LAYER}/recipes-containers/midge/midge-prebuilt_{VERSION}.bb"
KERNEL = f"{ROOT}/tests/yocto/core/recipes-kernel/linux/linux-yocto_6.12.bb"

# What machines expand to in OE-core; the last of PACKAGE_EXTRA_ARCHS only where there are many.
ARM6 = "arm armv4 armv5 armv5hf-vfp armv6hf-vfp"
MACHINES = {
    "qemuarm": ("arm", "hard", ARM6 + " armv7ahf-vfp armv7vehf-neon cortexa15hf-neon cortexa15t2hf-neon"),
    "raspberrypi0": ("arm", "hard", ARM6 + " armv6thf-vfp arm1176jzfshf-vfp"),
    "softfp": ("arm", "softfp", "arm armv4 armv5 armv5-vfp armv6-vfp armv7a armv7a-vfp cortexa8-vfp"),
    "qemuarm64": ("aarch64", "", "aarch64 armv8a crc cortexa57"),
    "qemux86-64": ("x86_64", "", "x86_64 core2-64"),
    "qemux86": ("i686", "", "i686 core2-32"),
    "qemuriscv64": ("riscv64", "", "riscv64"),
    "qemuarmv5": ("arm", "soft", "arm armv4 armv4t armv5 armv5t armv5e armv5te"),
    "armv5-vfp": ("arm", "hard", "arm armv4 armv5 armv5hf-vfp"),
    "i586": ("i586", "", "x86 i586"),
    "qemumips": ("mips", "", "mips32r2"),
    "qemumips64": ("mips64", "", "mips64"),
    "qemuppc": ("powerpc", "", "ppc7400"),
}
SUM = "ab" * 32
SET = {
    "MIDGE_GIT_URI": "git://git.example.org/midge.git;protocol=https;branch=main",
    "SRCREV:pn-midge": "0123456789012345678901234567890123456789",
    "MIDGE_ARTIFACT_URL": "https://example.org/midge",
    **{f"MIDGE_SHA256[midge-{arch}]": SUM for arch in "amd64 i386 arm64 armv7 armv6 riscv64".split()},
}
for path in (SOURCE, PREBUILT):
    if not os.path.exists(path):
        sys.exit(f"there is no {path}: rename the recipe to the version in Cargo.toml")


def base(machine="qemuarm", series="wrynose", rust="1.94.1%", **settings):
    """The configuration of a build: the layer above the stubs, and local.conf's settings."""
    arch, fpu, packages = MACHINES[machine]
    values = {"MACHINE": machine, "TARGET_ARCH": arch, "TARGET_FPU": fpu, "PACKAGE_EXTRA_ARCHS": packages}
    values |= {"DEFAULTTUNE": f"tune-of-{machine}", "SERIES": series, "RUSTVERSION": rust}
    # scarthgap has no UNPACKDIR, and its S is elsewhere.
    values |= {"S": "${WORKDIR}/${BP}"} if series == "scarthgap" else {"UNPACKDIR": "${WORKDIR}/sources", "S": "${UNPACKDIR}/${BP}"}
    values |= {"BBLAYERS": f"{ROOT}/tests/yocto/core {LAYER}", "BBPATH": BUILD, "BBFILES": ""}
    values |= settings
    os.makedirs(f"{BUILD}/conf", exist_ok=True)
    with open(f"{BUILD}/conf/bblayers.conf", "w") as file:
        file.writelines(f'{name} = "{value}"\n' for name, value in values.items())
    cooker = bb.cookerdata.CookerConfiguration()
    cooker.env = {"PATH": os.environ["PATH"]}
    builder = bb.cookerdata.CookerDataBuilder(cooker)
    builder.parseBaseConfiguration()
    return builder


def recipe(path, appends=(), **config):
    """The recipe's variables, or why it was skipped."""
    builder = base(**config)
    data = builder.parseRecipe(path, list(appends), "midge")
    return data.getVar("__SKIPPED") or data


def files_of_packages(data):
    """Runs do_install, and gives each package the files that its FILES take, in PACKAGES' order."""
    for name in ("T", "D", "S", "B"):
        os.makedirs(data.getVar(name), exist_ok=True)
    if data.getVarFlag("do_compile", "noexec") is None:
        bb.build.exec_func("do_compile", data)
    bb.build.exec_func("do_install", data)
    root = data.getVar("D")
    left = sorted(os.path.join(at, name)[len(root):] for at, _, names in os.walk(root) for name in names)
    taken = {}
    for package in data.getVar("PACKAGES").split():
        globs = (data.getVar(f"FILES:{package}") or "").split()
        here = [path for path in left if any(fnmatch.fnmatch(path, g) or path.startswith(g.rstrip("/") + "/") for g in globs)]
        left = [path for path in left if path not in here]
        if here:
            taken[package] = here
    assert not left, f"in no package: {left}"
    assert os.path.isdir(f"{root}/etc/midge")
    return taken


def fetched(data, binary=b"a program"):
    """Puts the release's binary among the downloads, and fetches and unpacks as bitbake does."""
    shutil.rmtree(data.getVar("TMPDIR"), ignore_errors=True)
    shutil.rmtree(data.getVar("DL_DIR"), ignore_errors=True)
    os.makedirs(data.getVar("DL_DIR"))
    fetch = bb.fetch2.Fetch(data.getVar("SRC_URI").split(), data)
    name = fetch.ud[fetch.urls[0]].localfile
    with open(f"{data.getVar('DL_DIR')}/{name}", "wb") as file:
        file.write(binary)
    fetch.download()
    os.makedirs(data.getVar("S"), exist_ok=True)
    fetch.unpack(data.getVar("S"))


def check_units(data):
    root = data.getVar("D") + data.getVar("systemd_system_unitdir")
    for name, command in (("midge", "server"), ("midge-agent", "agent")):
        unit = open(f"{root}/{name}.service").read()
        assert "/usr/local" not in unit, f"{name}.service names /usr/local"
        assert re.search(rf"^ExecStart=/usr/bin/midge {command} \$MIDGE_ARGS$", unit, re.M), f"{name}.service does not start midge {command}"
        assert "=-/usr/sbin/modprobe overlay" in unit, f"{name}.service does not load overlay"
        assert oct(os.stat(f"{root}/{name}.service").st_mode)[-3:] == "644"
        original = open(f"{ROOT}/packaging/systemd/{name}.service").read()
        assert unit == original.replace("/usr/local/bin/", "/usr/bin/").replace("/sbin/modprobe", "/usr/sbin/modprobe")


PACKAGED = {
    "": ["/usr/bin/midge"],
    "-server": ["/usr/lib/systemd/system/midge.service"],
    "-agent": ["/usr/lib/systemd/system/midge-agent.service"],
}


def check_packages(data):
    name = data.getVar("PN")
    found = files_of_packages(data)
    assert found == {name + suffix: files for suffix, files in PACKAGED.items()}, found
    check_units(data)
    assert data.getVar(f"SYSTEMD_AUTO_ENABLE:{name}-agent") == "disable"
    assert data.getVar(f"SYSTEMD_AUTO_ENABLE:{name}-server") is None
    for role in ("server", "agent"):
        assert data.getVar(f"RDEPENDS:{name}-{role}") == name
        assert [f"/usr/lib/systemd/system/{data.getVar(f'SYSTEMD_SERVICE:{name}-{role}')}"] == PACKAGED[f"-{role}"]
    # A hard dependency would end parsing where meta-virtualization is not there.
    assert data.getVar(f"RDEPENDS:{name}") == "iptables"
    assert {"virtual-containerd", "cni"} <= set(data.getVar(f"RRECOMMENDS:{name}").split())


def test_each_machine_gets_the_binary_that_it_can_run():
    wanted = {"qemuarm": "armv7", "raspberrypi0": "armv6", "softfp": "armv7", "qemuarm64": "arm64"}
    wanted |= {"qemux86-64": "amd64", "qemux86": "i386", "qemuriscv64": "riscv64"}
    for machine, arch in wanted.items():
        data = recipe(PREBUILT, machine=machine, **SET)
        uri = data.getVar("SRC_URI").split()[0].split(";")
        assert uri[0] == f"https://example.org/midge/v{VERSION}/midge-{arch}", f"{machine}: {uri}"
        assert data.getVarFlag("SRC_URI", "midge.sha256sum") == SUM


def test_machines_without_a_binary_are_refused_by_name():
    for machine, why in {
        "qemuarmv5": "soft-float ARM (DEFAULTTUNE is tune-of-qemuarmv5)",
        "armv5-vfp": "ARM before ARMv6",
        "i586": "i586",
        "qemuppc": "powerpc",
        "qemumips": "incompatible with host mips-",
        "qemumips64": "incompatible with host mips64-",
    }.items():
        skipped = recipe(PREBUILT, machine=machine, **SET)
        assert isinstance(skipped, str) and why in skipped, f"{machine}: {skipped}"
    assert "incompatible with host mips-" in recipe(SOURCE, machine="qemumips", **SET)


def test_what_is_not_set_is_named():
    for path, variable in ((SOURCE, "MIDGE_GIT_URI"), (SOURCE, "SRCREV:pn-midge"), (PREBUILT, "MIDGE_ARTIFACT_URL"), (PREBUILT, "MIDGE_SHA256[midge-armv7]")):
        skipped = recipe(path, **{name: value for name, value in SET.items() if name != variable})
        assert isinstance(skipped, str) and skipped.startswith(f"{variable} is not set: set it to "), f"{variable}: {skipped}"
    for path in (SOURCE, PREBUILT):
        assert "systemd" in recipe(path, DISTRO_FEATURES="sysvinit", **SET)


def test_a_rust_that_is_too_old_is_named():
    wanted = tomllib.load(open(f"{ROOT}/Cargo.toml", "rb"))["package"]["rust-version"]
    assert recipe(SOURCE, **SET).getVar("MIDGE_RUST") == wanted
    for rust in ("1.75%", "1.87.0%"):
        skipped = recipe(SOURCE, rust=rust, **SET)
        assert f"midge needs Rust {wanted} or later, and RUSTVERSION is {rust[:-1]}" in str(skipped), skipped
    for rust in ("1.88%", "1.90.0%", "1.100.0%", ""):
        assert not isinstance(recipe(SOURCE, rust=rust, **SET), str), rust


def test_every_series_is_taken_and_another_is_not():
    listed = re.search(r'LAYERSERIES_COMPAT_midge = "(.*)"', open(f"{LAYER}/conf/layer.conf").read())[1]
    for series in listed.split():
        assert not isinstance(recipe(PREBUILT, series=series, **SET), str)
    try:
        base(series="kirkstone")
    except (bb.BBHandledException, SystemExit):
        return
    raise AssertionError("kirkstone is taken")


def test_prebuilt_installs_and_packages():
    right = SET | {"MIDGE_SHA256[midge-armv7]": hashlib.sha256(b"a program").hexdigest()}
    for series in ("scarthgap", "wrynose"):
        data = recipe(PREBUILT, series=series, **right)
        fetched(data)
        check_packages(data)
        assert open(data.getVar("D") + "/usr/bin/midge").read() == "a program"
    try:
        fetched(recipe(PREBUILT, **right), b"another program")
    except bb.fetch2.BBFetchException:
        return
    raise AssertionError("a binary with another checksum is taken")


def test_source_installs_and_packages():
    data = recipe(SOURCE, **SET)
    shutil.copytree(f"{ROOT}/packaging/systemd", data.getVar("S") + "/packaging/systemd", dirs_exist_ok=True)
    check_packages(data)
    assert "stripped: none" in open(data.getVar("D") + "/usr/bin/midge").read(), "do_package could not split off symbols"


def test_crates_are_those_of_the_lock():
    locked = {f"{p['name']}-{p['version']}": p["checksum"] for p in tomllib.load(open(f"{ROOT}/Cargo.lock", "rb"))["package"] if "source" in p}
    data = recipe(SOURCE, **SET)
    fetch = bb.fetch2.Fetch(data.getVar("SRC_URI").split(), data)
    crates = {}
    for ud in fetch.ud.values():
        if ud.type == "crate":
            crates[ud.parm["name"]] = ud.sha256_expected
    assert crates == locked, f"packaging/yocto/crates.sh --write makes it so: {sorted(set(crates.items()) ^ set(locked.items()), key=str)[:4]}"
    made = subprocess.run([f"{ROOT}/packaging/yocto/crates.sh"], capture_output=True, text=True, check=True).stdout
    assert made == open(f"{os.path.dirname(SOURCE)}/midge-crates.inc").read(), "run packaging/yocto/crates.sh --write"


def test_licence_is_the_one_that_is_named():
    data = recipe(SOURCE, **SET)
    told = re.search("md5=(.*)", data.getVar("LIC_FILES_CHKSUM"))[1]
    assert hashlib.md5(open(f"{ROOT}/LICENSE", "rb").read()).hexdigest() == told
    for name, value in (("LICENSE", "Apache-2.0"), ("S", None)):
        assert data.getVar(name) == (value or data.getVar("UNPACKDIR") + f"/midge-{VERSION}")
    assert f";destsuffix=midge-{VERSION}" in data.getVar("SRC_URI")


def test_the_readme_configures_an_agent():
    readme = open(f"{LAYER}/README.md").read()
    append = f"{BUILD}/midge-prebuilt_%.bbappend"
    with open(append, "w") as file:
        file.write(re.search(r"```\n(FILESEXTRAPATHS.*?)```", readme, re.S)[1])
    os.makedirs(f"{BUILD}/files", exist_ok=True)
    open(f"{BUILD}/files/midge-agent.env", "w").close()
    sums = f"{hashlib.sha256(b'a program').hexdigest()}  midge-armv7\n{SUM}  midge_{VERSION}_armhf.deb\n{SUM}  install.sh\n"
    command = re.search(r"^(sed .*) SHA256SUMS >> conf/local.conf$", readme, re.M)[1]
    flags = subprocess.run(command, shell=True, input=sums, capture_output=True, text=True, check=True).stdout
    (name, value), = re.findall(r'^(\S+) = "(.*)"$', flags, re.M)
    data = recipe(PREBUILT, (append,), **SET | {name: value})
    fetched(data)
    assert files_of_packages(data)["midge-prebuilt-agent"][0] == "/etc/midge/midge-agent.env"
    assert data.getVar("SYSTEMD_AUTO_ENABLE:midge-prebuilt-agent") == "enable"


def test_kernel_is_left_alone_until_asked():
    append = f"{LAYER}/recipes-kernel/linux/linux-yocto_%.bbappend"
    without, inert = (
        {name: data.getVar(name, False) for name in data.keys() if not name.startswith("__") and name != "BBINCLUDED"}
        for data in (recipe(KERNEL, appends) for appends in ((), (append,)))
    )
    differ = {name for name in without.keys() | inert.keys() if without.get(name) != inert.get(name)}
    assert not differ, f"a layer may not change {differ} unasked"
    asked = recipe(KERNEL, (append,), DISTRO_FEATURES="systemd midge")
    fetch = bb.fetch2.Fetch(asked.getVar("SRC_URI").split(), asked)
    paths = [fetch.localpath(url) for url in fetch.urls if fetch.ud[url].type == "file"]
    assert [os.path.basename(path) for path in paths] == ["midge.scc", "midge.cfg"]
    assert all(os.path.exists(path) for path in paths), paths
    assert "kconf non-hardware midge.cfg" in open(paths[0]).read()


def test_kernel_options_exist():
    """Against Debian's configurations: each name is known and on there."""
    options = re.findall(r"^CONFIG_(\w+)=[ym]$", open(f"{LAYER}/recipes-kernel/linux/files/midge.cfg").read(), re.M)
    assert len(options) > 40 and len(set(options)) == len(options)
    # New in Linux 6.17
    options.remove("NETFILTER_XTABLES_LEGACY")
    for config in sorted(os.listdir(CONFIGS)):
        text = open(f"{CONFIGS}/{config}").read()
        off = [option for option in options if not re.search(rf"^CONFIG_{option}=[ym]$", text, re.M)]
        assert not off, f"{config} has not {off}"


bb.msg.logger = logging.getLogger("BitBake")
logging.getLogger("BitBake").addHandler(logging.NullHandler())
tests = [(name, test) for name, test in globals().items() if name.startswith("test_")]
failed = 0
for name, test in tests:
    try:
        test()
        print(f"ok {name}", flush=True)
    except BaseException:
        failed += 1
        print(f"FAILED {name}", flush=True)
        traceback.print_exc(file=sys.stdout)
print(f"{len(tests) - failed} passed, {failed} failed")
sys.exit(failed > 0)

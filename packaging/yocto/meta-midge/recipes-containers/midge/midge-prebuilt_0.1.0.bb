require midge.inc

SUMMARY .= " (binary of the release)"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/Apache-2.0;md5=89aea4e17d99a7cacdbeed46a0096b10"

# The folder that releases are published in, as install.sh takes it, and the checksums in the release's
# SHA256SUMS: MIDGE_SHA256[midge-armv7] = "…"
MIDGE_ARTIFACT_URL ?= ""
MIDGE_BINARY = "${@midge_binary(d)[0]}"

SRC_URI = "\
    ${MIDGE_ARTIFACT_URL}/v${PV}/${MIDGE_BINARY};name=midge;downloadfilename=${MIDGE_BINARY}-${PV} \
    file://midge.service \
    file://midge-agent.service \
"
SRC_URI[midge.sha256sum] = "${@d.getVarFlag('MIDGE_SHA256', d.getVar('MIDGE_BINARY')) or ''}"

# scarthgap has no UNPACKDIR.
S = "${@d.getVar('UNPACKDIR') or d.getVar('WORKDIR')}"
MIDGE_UNITS = "${S}"

do_configure[noexec] = "1"
do_compile[noexec] = "1"

do_install() {
    install -D -m 0755 ${S}/${MIDGE_BINARY}-${PV} ${D}${bindir}/midge
}

RPROVIDES:${PN} = "midge"
RPROVIDES:${PN}-server = "midge-server"
RPROVIDES:${PN}-agent = "midge-agent"
RCONFLICTS:${PN} = "midge"

INHIBIT_PACKAGE_STRIP = "1"
INHIBIT_SYSROOT_STRIP = "1"
INHIBIT_PACKAGE_DEBUG_SPLIT = "1"
INSANE_SKIP:${PN} += "already-stripped"

# The name of the release's binary for this machine and '', or '' and why there is none.
def midge_binary(d):
    arch = d.getVar('TARGET_ARCH')
    if arch == 'arm':
        if d.getVar('TARGET_FPU') == 'soft':
            return '', 'soft-float ARM'
        # A tune names the packages that its CPU can run. TUNE_FEATURES is no help: cortexa15 has no armv7a there.
        runs = (d.getVar('PACKAGE_EXTRA_ARCHS') or '').split()
        for prefix, binary in (('armv7a', 'midge-armv7'), ('armv7ve', 'midge-armv7'), ('armv6', 'midge-armv6')):
            if any(name.startswith(prefix) for name in runs):
                return binary, ''
        return '', 'ARM before ARMv6'
    binaries = {'aarch64': 'midge-arm64', 'i686': 'midge-i386', 'riscv64': 'midge-riscv64', 'x86_64': 'midge-amd64'}
    return binaries.get(arch, ''), arch

python () {
    binary, why = midge_binary(d)
    if not binary:
        raise bb.parse.SkipRecipe("midge has no binary for %s (DEFAULTTUNE is %s)" % (why, d.getVar('DEFAULTTUNE')))
    if not d.getVar('MIDGE_ARTIFACT_URL'):
        raise bb.parse.SkipRecipe("MIDGE_ARTIFACT_URL is not set: set it to the URL of the folder that midge's "
            "releases are in, and MIDGE_SHA256[%s] to the checksum" % binary)
    if not d.getVarFlag('MIDGE_SHA256', binary):
        raise bb.parse.SkipRecipe("MIDGE_SHA256[%s] is not set: set it to the checksum in the SHA256SUMS of "
            "version %s" % (binary, d.getVar('PV')))
}

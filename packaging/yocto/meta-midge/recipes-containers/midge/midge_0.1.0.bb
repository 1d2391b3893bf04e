require midge.inc
require midge-crates.inc

LIC_FILES_CHKSUM = "file://LICENSE;md5=3b83ef96387f14655fc854ddc3c6bd57"

# Where the sources are, as SRC_URI names it: git://host/midge.git;protocol=https;branch=main
MIDGE_GIT_URI ?= ""
SRC_URI += "${@'${MIDGE_GIT_URI};destsuffix=${BP}' if d.getVar('MIDGE_GIT_URI') else ''}"

inherit cargo cargo-update-recipe-crates

# OE strips, and keeps what it strips in ${PN}-dbg.
export CARGO_PROFILE_RELEASE_STRIP = "none"

# rust-version of Cargo.toml
MIDGE_RUST = "1.88"

python () {
    rust = (d.getVar('RUSTVERSION') or '').rstrip('%')
    if rust and bb.utils.vercmp_string_op(rust, d.getVar('MIDGE_RUST'), '<'):
        raise bb.parse.SkipRecipe("midge needs Rust %s or later, and RUSTVERSION is %s: use midge-prebuilt, or a "
            "layer with a newer Rust" % (d.getVar('MIDGE_RUST'), rust))
    if not d.getVar('MIDGE_GIT_URI'):
        raise bb.parse.SkipRecipe("MIDGE_GIT_URI is not set: set it to the git:// URI of midge's sources and "
            "SRCREV:pn-midge to the commit, or use midge-prebuilt")
    if d.getVar('SRCREV') in (None, '', 'INVALID'):
        raise bb.parse.SkipRecipe("SRCREV:pn-midge is not set: set it to the commit of version %s" % d.getVar('PV'))
}

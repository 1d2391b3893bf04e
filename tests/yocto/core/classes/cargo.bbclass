B = "${WORKDIR}/build"

# The real one builds; this one has built.
cargo_do_compile() {
    echo "midge, stripped: $CARGO_PROFILE_RELEASE_STRIP" > ${B}/midge
}
cargo_do_install() {
    install -d ${D}${bindir}
    install -m755 ${B}/midge ${D}${bindir}
}
do_compile[dirs] = "${B}"

EXPORT_FUNCTIONS do_compile do_install

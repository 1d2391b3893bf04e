# A host that does not fit, a licence without a file and an URI that cannot be parsed end it here as there.
python () {
    import re
    host = d.getVar('COMPATIBLE_HOST')
    if host and not re.match(host, d.getVar('HOST_SYS')):
        raise bb.parse.SkipRecipe("incompatible with host %s (not in COMPATIBLE_HOST)" % d.getVar('HOST_SYS'))
    for name in ('SUMMARY', 'LICENSE', 'LIC_FILES_CHKSUM'):
        if not d.getVar(name):
            bb.fatal("%s: no %s" % (d.getVar('PN'), name))
    for uri in (d.getVar('SRC_URI') or '').split():
        bb.fetch2.decodeurl(uri)
}

addtask fetch
addtask unpack after do_fetch
addtask patch after do_unpack
addtask configure after do_patch
addtask compile after do_configure
addtask install after do_compile

base_do_fetch() {
    :
}
base_do_unpack() {
    :
}
base_do_patch() {
    :
}
base_do_configure() {
    :
}
base_do_compile() {
    :
}
base_do_install() {
    :
}
EXPORT_FUNCTIONS do_fetch do_unpack do_patch do_configure do_compile do_install

do_install[dirs] = "${B}"
do_install[cleandirs] = "${D}"

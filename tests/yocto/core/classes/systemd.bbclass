python () {
    for package in (d.getVar('SYSTEMD_PACKAGES') or d.getVar('PN')).split():
        if package not in d.getVar('PACKAGES').split():
            bb.fatal("%s is in SYSTEMD_PACKAGES and not in PACKAGES" % package)
        if not d.getVar('SYSTEMD_SERVICE:' + package):
            bb.fatal("%s has no SYSTEMD_SERVICE" % package)
}

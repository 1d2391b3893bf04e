# Included while parsing: a condition inside a variable would change the kernel's signature for everybody.
require ${@bb.utils.contains('DISTRO_FEATURES', 'midge', 'linux-midge.inc', '', d)}

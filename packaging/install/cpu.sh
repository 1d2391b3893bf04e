# Which build this machine runs.

# header_bytes FIRST COUNT: of the shell's own ELF header, in hexadecimal. The kernel may be a 64-bit one under a 32-bit
# system, so what runs here tells more than `uname -m`. OpenWrt's busybox has hexdump and no od.
header_bytes() {
    if have od; then
        od -An -v -tx1 -j "$1" -N "$2" /bin/sh
    else
        hexdump -v -s "$1" -n "$2" -e '1/1 "%02x "' /bin/sh
    fi 2>/dev/null | tr -d ' \n'
}

# cpu_has FEATURE: unless /proc/cpuinfo tells of features and this is none of them. `vfpv3` is in vfpv3d16 as well.
cpu_has() {
    features=$(sed -n 's/^\(Features\|flags\)[[:space:]]*: *//p' /proc/cpuinfo 2>/dev/null | sed -n 1p)
    case "$features " in " " | *"$1"*) ;; *) return 1 ;; esac
}

# Every ARMv8 CPU that runs 32-bit programs runs those of ARMv7. /proc/cpuinfo takes ARM1176 for an ARMv7, uname doesn't.
arm_build() {
    case $1 in
    armv6* | armv7*) cpu_has vfp || die "this ARM CPU has no floating-point unit, which midge's builds need" ;;
    esac
    case $1 in
    armv6*) cpu=armv6 ;;
    armv7*) if cpu_has vfpv3 || cpu_has vfpv4; then cpu=armv7; else cpu=armv6; fi ;;
    armv8* | aarch64*) cpu=armv7 ;;
    *) die "there is no midge for $1: ARM CPUs from ARMv6 with floating point are supported" ;;
    esac
}

# find_cpu: sets `cpu` to the end of the build's name
find_cpu() {
    kernel=$(uname -m)
    magic=$(header_bytes 0 4)
    machine=$(header_bytes 18 2)
    if [ "$magic" != 7f454c46 ]; then
        # No tool to look with.
        case $kernel in
        x86_64) machine=3e00 ;; i?86) machine=0300 ;; aarch64) machine=b700 ;; arm*) machine=2800 ;;
        riscv64) machine=f300 ;; *) machine=unknown ;;
        esac
    fi
    case $machine in
    3e00) cpu=amd64 ;;
    0300)
        cpu_has sse2 || die "this CPU has no SSE2, which midge's i386 build needs"
        cpu=i386
        ;;
    b700) cpu=arm64 ;;
    2800) arm_build "$kernel" ;;
    f300)
        [ "$kernel" = riscv64 ] || die "there is no midge for $kernel: of RISC-V, riscv64 is supported"
        cpu=riscv64
        ;;
    0800 | 0008) die 'there is no midge for MIPS' ;;
    *) die "there is no midge for $kernel: there are builds for amd64, i386, arm64, armv7, armv6 and riscv64" ;;
    esac
}

#!/bin/sh
# Makes a small image without any registry: busybox-image.sh BUSYBOX NAME OUT.tar
# BUSYBOX is a static busybox, NAME what pods call the image, for instance localhost/busybox:1.
set -eu
[ $# -eq 3 ] || { echo 'usage: busybox-image.sh BUSYBOX NAME OUT.tar' >&2; exit 2; }
busybox=$1 name=$2 out=$3

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/root/bin" "$work/root/tmp" "$work/root/etc" "$work/image"
chmod 1777 "$work/root/tmp"
cp "$busybox" "$work/root/bin/busybox"
chmod 755 "$work/root/bin/busybox"
for applet in $("$work/root/bin/busybox" --list); do
    [ "$applet" = busybox ] || ln -s busybox "$work/root/bin/$applet"
done
printf 'root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' >"$work/root/etc/passwd"
printf 'root:x:0:\nnogroup:x:65534:\n' >"$work/root/etc/group"

case $(uname -m) in
x86_64) arch=amd64 ;;
aarch64) arch=arm64 ;;
armv*) arch=arm ;;
i?86) arch=386 ;;
*) arch=$(uname -m) ;;
esac
# The same input gives the same bytes, and so the same digest.
pack() {
    from=$1 to=$2
    shift 2
    tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C "$from" -cf "$to" "$@"
}
pack "$work/root" "$work/image/layer.tar" bin etc tmp
layer=$(sha256sum "$work/image/layer.tar" | cut -d' ' -f1)
printf '{"architecture":"%s","os":"linux","config":{"Env":["PATH=/bin"],"Cmd":["sh"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
    "$arch" "$layer" >"$work/image/config.json"
printf '[{"Config":"config.json","RepoTags":["%s"],"Layers":["layer.tar"]}]' "$name" >"$work/image/manifest.json"
pack "$work/image" "$work/out.tar" manifest.json config.json layer.tar
mv "$work/out.tar" "$out"

#!/bin/sh
# A throwaway CA, and a certificate by it: certificate.sh FOLDER NAME
# Both are valid from 1970 on, for curl on a machine whose clock is there.
set -eu
mkdir -p "$1/ca"
cd "$1"
: >ca/index
cat >openssl.cnf <<CONFIGURATION
[ca]
default_ca = throwaway
[throwaway]
database = ca/index
new_certs_dir = ca
rand_serial = yes
default_md = sha256
policy = any
[any]
commonName = supplied
[req]
distinguished_name = none
[none]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[server]
subjectAltName = DNS:$2
CONFIGURATION
# sign NAME SUBJECT EXTENSIONS FLAG…
sign() {
    name=$1 subject=$2 extensions=$3
    shift 3
    openssl req -config openssl.cnf -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes \
        -keyout "$name-key.pem" -subj "/CN=$subject" -out "$name.csr" 2>/dev/null
    openssl ca -batch -notext -config openssl.cnf -in "$name.csr" -out "$name.pem" -extensions "$extensions" \
        -startdate 19700101000000Z -enddate 20491231235959Z "$@" 2>log || { cat log >&2; exit 1; }
}
sign ca 'throwaway CA' authority -selfsign -keyfile ca-key.pem
sign cert "$2" server -cert ca.pem -keyfile ca-key.pem
mv cert-key.pem key.pem

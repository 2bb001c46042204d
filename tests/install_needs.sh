#!/bin/sh
# `make test-deps`: the programs the tests drive that do not come from Python. It installs them
# where it may (root on Debian). Otherwise the tests that need them are skipped with the reason;
# in CI a missing program is a failure.
set -u
missing=""
command -v chromium-headless-shell >/dev/null 2>&1 || missing="$missing chromium-headless-shell"
command -v nginx    >/dev/null 2>&1 || missing="$missing nginx-light"
command -v curl     >/dev/null 2>&1 || missing="$missing curl"
command -v strace   >/dev/null 2>&1 || missing="$missing strace"
command -v mkfs.ext4 >/dev/null 2>&1 || missing="$missing e2fsprogs"
command -v pgbouncer >/dev/null 2>&1 || missing="$missing pgbouncer"
command -v unzip >/dev/null 2>&1 || missing="$missing unzip"
command -v bsdtar >/dev/null 2>&1 || missing="$missing libarchive-tools"
command -v firefox-esr >/dev/null 2>&1 || missing="$missing firefox-esr"
command -v npm >/dev/null 2>&1 || missing="$missing npm"
command -v ip >/dev/null 2>&1 || missing="$missing iproute2"
# The long proofs run `sluiceway doctor` through these, build the images of deploy/, and scan for
# viruses; without ClamAV, tests/journeys/test_virus_scan.py has a stand-in for it.
if [ "${1:-}" = torture ]; then
    command -v buildah     >/dev/null 2>&1 || missing="$missing buildah"
    command -v debootstrap >/dev/null 2>&1 || missing="$missing debootstrap"
    command -v apache2     >/dev/null 2>&1 || missing="$missing apache2"
    command -v haproxy     >/dev/null 2>&1 || missing="$missing haproxy"
    command -v caddy       >/dev/null 2>&1 || missing="$missing caddy"
    command -v clamd       >/dev/null 2>&1 || missing="$missing clamav-daemon"
    command -v clamdscan   >/dev/null 2>&1 || missing="$missing clamdscan"
fi

# What tests/npm/package.json lists. No lock file: it would record where the packages came from.
npm_packages() {
    cd "$(dirname "$0")/npm" || return
    npm ls >/dev/null 2>&1 ||
        npm install --no-package-lock --no-audit --no-fund --loglevel=error >/dev/null 2>&1 ||
        echo "could not install the packages of tests/npm; their tests are skipped" >&2
}

if [ -z "$missing" ]; then
    npm_packages
    exit 0
fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "The tests need these programs, which apt-get installs now:$missing"
    (apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing) >/dev/null 2>&1 ||
        echo "could not install:$missing; the tests that need them are skipped" >&2
else
    echo "Not installed:$missing. The tests that need them are skipped." >&2
    echo "\`sudo make test-deps\` installs them on Debian." >&2
fi
command -v npm >/dev/null 2>&1 && npm_packages
exit 0

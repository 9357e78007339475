#!/bin/sh
# Installs what the tests type at a shell and a bare Debian lacks; says so where it cannot.
set -eu
command -v curl >/dev/null && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -qq && apt-get install -y -qq --no-install-recommends curl >/dev/null
else
    echo "the tests of the documentation need curl; install it with your system's packages" >&2
    exit 1
fi

#!/bin/sh
# Installs what the tests use and a bare Debian lacks: curl, and Chromium for the tests in a browser; says so where it cannot.
# Node is not among it: Debian 12 has version 18, too old for the JavaScript client, and the package playwright brings a newer one.
set -eu
as_root() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }
lacks_curl() { ! command -v curl >/dev/null; }
lacks_chromium() { [ -z "${CHROMIUM:-}" ] && ! command -v chromium >/dev/null && ! command -v google-chrome >/dev/null; }

lacks_curl || lacks_chromium || exit 0
if as_root; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    if lacks_curl; then apt-get install -y -qq --no-install-recommends curl >/dev/null; fi
    if lacks_chromium; then
        echo "installing chromium for the tests in a browser …"
        apt-get install -y -qq --no-install-recommends chromium >/dev/null || echo "chromium cannot be installed here" >&2
    fi
fi
if lacks_chromium; then echo "there is no chromium: the tests in a browser will be skipped" >&2; fi
if lacks_curl; then
    echo "the tests of the documentation need curl; install it with your system's packages" >&2
    exit 1
fi

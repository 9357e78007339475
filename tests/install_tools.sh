#!/bin/sh
# Installs what the tests use and a bare Debian lacks: curl, Chromium for the tests in a browser, servers for those that need them; says
# so where it cannot. Servers are only installed, not started: each test starts its own.
# Node is not among it: Debian 12 has version 18, too old for the JavaScript client, and the package playwright brings a newer one.
set -eu
as_root() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }
lacks_curl() { ! command -v curl >/dev/null; }
lacks_chromium() { [ -z "${CHROMIUM:-}" ] && ! command -v chromium >/dev/null && ! command -v google-chrome >/dev/null; }

servers="redis-server postgresql"
lacks_server() { ! command -v "$1" >/dev/null && [ ! -x "/usr/sbin/$1" ] && ! ls /usr/lib/"$1"/*/bin/initdb >/dev/null 2>&1; }
missing_servers() { for each in $servers; do if lacks_server "$each"; then echo "$each"; fi; done; }

lacks_curl || lacks_chromium || [ -n "$(missing_servers)" ] || exit 0
if as_root; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    if lacks_curl; then apt-get install -y -qq --no-install-recommends curl >/dev/null; fi
    if [ -n "$(missing_servers)" ]; then
        # a policy of 101 keeps Debian from starting what it installs
        [ -e /usr/sbin/policy-rc.d ] || { printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d; chmod +x /usr/sbin/policy-rc.d; ours=1; }
        # shellcheck disable=SC2046  # one word for each package
        apt-get install -y -qq --no-install-recommends $(missing_servers) >/dev/null || echo "no $(missing_servers) here" >&2
        [ -z "${ours:-}" ] || rm /usr/sbin/policy-rc.d
    fi
    if lacks_chromium; then
        echo "installing chromium for the tests in a browser …"
        apt-get install -y -qq --no-install-recommends chromium >/dev/null || echo "chromium cannot be installed here" >&2
    fi
fi
if lacks_chromium; then echo "there is no chromium: the tests in a browser will be skipped" >&2; fi
for each in $(missing_servers); do echo "there is no $each: the tests that need it will be skipped" >&2; done
if lacks_curl; then
    echo "the tests of the documentation need curl; install it with your system's packages" >&2
    exit 1
fi

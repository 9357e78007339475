#!/bin/sh
# Installs what the tests use and a bare Debian lacks; says so where it cannot. Servers are only installed, not started: tests start their own.
# Debian 12's Node is 18, too old for the JavaScript client: its tests then take the one that the package playwright brings.
set -eu

# each program, its package, and what is skipped without it
tools() {
    cat <<END
curl curl the tests of the documentation
chromium chromium the tests in a browser
node nodejs the tests of JavaScript
npm npm the tests that find objects in photographs
tsc node-typescript the test of the JavaScript client's types
redis-server redis-server the tests with Redis
rabbitmq-server rabbitmq-server the tests with RabbitMQ
initdb postgresql the tests with PostgreSQL
pgbouncer pgbouncer the tests with a pooler before PostgreSQL
nginx nginx-light the tests of deployments
haproxy haproxy the tests of deployments
docker-compose docker-compose the test of compose.yaml
faketime faketime the test of nodes whose clocks are wrong
END
}
has() {
    case $1 in chromium) [ -z "${CHROMIUM:-}" ] && ! command -v google-chrome >/dev/null || return 0 ;; esac
    command -v "$1" >/dev/null || [ -x "/usr/sbin/$1" ] || ls /usr/lib/postgresql/*/bin/"$1" >/dev/null 2>&1
}
lacking() { tools | while read -r tool package why; do has "$tool" || echo "$tool $package $why"; done; }
install() { apt-get install -y -qq --no-install-recommends "$@" >/dev/null; }

missing=$(lacking)
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    packages=$(echo "$missing" | cut -d ' ' -f 2 | tr '\n' ' ')
    echo "installing what the tests use: $packages…"
    export DEBIAN_FRONTEND=noninteractive
    # a policy of 101 keeps Debian from starting what it installs
    policy=/usr/sbin/policy-rc.d
    [ -e $policy ] || { printf '#!/bin/sh\nexit 101\n' >$policy && chmod +x $policy && trap 'rm -f /usr/sbin/policy-rc.d' EXIT; }
    # shellcheck disable=SC2086 # one word for each package; one at a time when one of them cannot be had
    { apt-get update -qq && install $packages; } || for package in $packages; do install "$package" || true; done
fi
lacking | while read -r tool package why; do echo "there is no $tool: $why will be skipped" >&2; done
if ! has curl; then
    echo "the tests of the documentation need curl; install it with your system's packages" >&2
    exit 1
fi

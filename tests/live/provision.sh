#!/bin/sh
# Installs what the live tests run against: sshd, Slurm with its database, container engine, PostgreSQL. Debian, as root.
# Safe to run again: what is there already is left as it is. No service is started; the tests start their own.
set -eu

have() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

[ "$(id -u)" = 0 ] || { echo "provision: run as root" >&2; exit 1; }
command -v apt-get >/dev/null || { echo "provision: apt-get is needed (Debian or Ubuntu)" >&2; exit 1; }

export DEBIAN_FRONTEND=noninteractive
log="$(mktemp)"
policy=/usr/sbin/policy-rc.d
ours=
trap 'rm -f "$log"; [ -z "$ours" ] || rm -f "$policy"' EXIT

# Packages that bring a service start it when they are installed, unless this file says no.
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    ours=yes
fi

updated=
install() {
    what="$1"
    shift
    missing=
    for package in "$@"; do
        have "$package" || missing="$missing $package"
    done
    if [ -z "$missing" ]; then
        echo "provision: $what: there already"
        return
    fi
    if [ -z "$updated" ]; then
        apt-get update >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
        updated=yes
    fi
    # shellcheck disable=SC2086  # one word a package
    apt-get install -y --no-install-recommends $missing >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
    echo "provision: $what: installed$missing"
}

install slurm slurm-wlm slurm-client slurmdbd mariadb-server munge
install ssh openssh-server openssh-client iproute2 sudo tcsh
install containers podman runc busybox-static charliecloud-runtime
install database postgresql postgresql-common
install proxy nginx-light
install clients curl unzip

#!/bin/sh
# Make .venv and everything that Homing needs around it, on a machine where nothing was prepared.
#
#     sh packaging/bootstrap.sh run     what a person needs
#     sh packaging/bootstrap.sh test    what `make test` and `make bench` need on top
#     sh packaging/bootstrap.sh soak    what `make soak` needs on top of that
#
# Debian packages: those of debian-run.txt (debian-test.txt, debian-soak.txt) that are missing are
# installed, as root or with sudo; without either the line to type is printed, and the exit code is 69.
# Python: the locked versions, each checked by its hash, and again only after a lock has changed.
set -eu

kind=${1:-run}
cd "$(dirname "$0")/.."
case $kind in
run) lock=packaging/requirements-run.lock lists=packaging/debian-run.txt ;;
test) lock=packaging/requirements-dev.lock lists="packaging/debian-run.txt packaging/debian-test.txt" ;;
soak)
    lock=packaging/requirements-dev.lock
    lists="packaging/debian-run.txt packaging/debian-test.txt packaging/debian-soak.txt"
    ;;
*)
    echo "usage: packaging/bootstrap.sh run|test|soak" >&2
    exit 64
    ;;
esac

say() { echo "homing: $*" >&2; }

# A tool that came from elsewhere is as good as Debian's.
found_elsewhere() {
    case $1 in
    nodejs) command -v node >/dev/null ;;
    npm) command -v npm >/dev/null ;;
    python3-venv) python3 -c 'import ensurepip, venv' 2>/dev/null ;;
    *) false ;;
    esac
}

# The packages of our lists that are neither installed nor provided by an installed one (libraries
# are renamed between releases, and the new name provides the old).
missing_packages() {
    present=" $(dpkg-query -W -f '${db:Status-Abbrev} ${Package}, ${Provides}\n' |
        sed -n 's/^ii *//p' | sed 's/([^)]*)//g' | tr -s ', \n' ' ') "
    # shellcheck disable=SC2086 # the lists are words
    for package in $(sed 's/#.*//' $lists); do
        case $present in
        *" $package "*) ;;
        *) found_elsewhere "$package" || echo "$package" ;;
        esac
    done
}

install_debian_packages() {
    if ! command -v dpkg-query >/dev/null; then
        # shellcheck disable=SC2086
        say "this is not Debian; please see to it that there is what Debian calls" \
            $(sed 's/#.*//' $lists)
        return
    fi
    missing=$(missing_packages | paste -sd ' ' -)
    [ -n "$missing" ] || return 0
    apt="apt-get install -y --no-install-recommends $missing"
    if [ "$(id -u)" = 0 ]; then
        become=
    elif command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
        become=sudo
    else
        say "these Debian packages are missing; please run"
        echo "sudo $apt" >&2
        exit 69
    fi
    say "installing Debian packages: $missing"
    keep_asleep
    # A list that cannot be refreshed may still name what we need, so its failure is not ours.
    $become env DEBIAN_FRONTEND=noninteractive apt-get update -qq || true
    # shellcheck disable=SC2086
    $become env DEBIAN_FRONTEND=noninteractive $apt >/dev/null # what goes wrong is on stderr
}

# The tests start a ClickHouse and a proxy of their own; the system's services, which nobody asked
# for, are not to run. (A mask that is there before the package is one that the package respects.)
keep_asleep() {
    [ -d /run/systemd/system ] || return 0
    for service in clickhouse-server tinyproxy; do
        unit=/etc/systemd/system/$service.service
        case " $missing " in
        *" $service "*) [ -e "$unit" ] || [ -L "$unit" ] || $become ln -s /dev/null "$unit" ;;
        esac
    done
}

find_python() {
    for candidate in python3 python3.11 python3.12 python3.13 python3.14; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    say "Python 3.11 or newer is needed, and none is on the PATH"
    exit 69
}

digest() { cat "$@" | sha256sum | cut -d' ' -f1; }

# Does this stamp say that these files were installed as they are now?
fresh() {
    stamp=$1
    shift
    [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$(digest "$@")" ]
}

install_python_packages() {
    if [ -e .venv ] && ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
        say "the .venv here is broken (moved, or its Python has gone); making it anew"
        rm -rf .venv
    fi
    if [ ! -e .venv ]; then
        python=$(find_python)
        say "making .venv with $("$python" --version)"
        "$python" -m venv .venv
    fi
    # What the tests need contains what running needs.
    long=$kind
    [ "$kind" != soak ] || kind=test # the same lock
    if ! fresh ".venv/.homing-$kind.sha" "$lock" &&
        ! fresh .venv/.homing-test.sha packaging/requirements-dev.lock; then
        say "installing the locked Python packages of $lock (about 200 MB on disk, mostly Qt)"
        .venv/bin/python -m pip install -qq --disable-pip-version-check --no-input \
            --require-hashes -r "$lock"
        digest "$lock" >".venv/.homing-$kind.sha"
    fi
    if [ "$long" = soak ] && ! .venv/bin/python -c "import chdb" 2>/dev/null; then
        say "installing today's ClickHouse inside a process (chDB, about 900 MB on disk)"
        .venv/bin/python -m pip install -qq --disable-pip-version-check --no-input "chdb>=4.4,<5"
    fi
    if [ ! -x .venv/bin/homing ] || ! fresh .venv/.homing-checkout.sha pyproject.toml; then
        .venv/bin/python -m pip install -qq --disable-pip-version-check --no-input \
            --no-deps --no-build-isolation -e .
        digest pyproject.toml >.venv/.homing-checkout.sha
    fi
}

install_debian_packages
install_python_packages

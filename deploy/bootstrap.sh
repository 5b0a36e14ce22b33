#!/bin/sh
# Finds what a command of the Makefile needs and is not here; installs it where it may.
#
# usage: deploy/bootstrap.sh NEED...
#   build       Rust (at least Cargo.toml's rust-version) and a C compiler with its linker
#   stack       build, and redis-server >= 7.0 or valkey-server
#   test        stack, and Chromium for the tests of the pages
#   peers       test, and what `make bench` measures beside Sluice or builds that from: nginx, pip, libclang,
#               a C++ compiler, OpenSSL's headers. Node.js is not installed: see docs/performance.md
#   docker      a Docker engine that answers, with compose; never installed, only asked for
#   cargo-deny  installed by cargo
#
# It may install as root or by a sudo that asks for no password, with apt, dnf, apk or brew.
# Where it may not, it says in one line what to type. Exit: 0 all is here; 69 (EX_UNAVAILABLE)
# something is missing; 64 (EX_USAGE) an unknown need.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
missing='' # names for people
packages='' # names for the package manager

say() { printf '%s\n' "bootstrap: $*" >&2; }
give_up() { say "$*"; exit 69; }
have() { command -v "$1" >/dev/null 2>&1; }

# at_least HAVE WANT: compares dotted numbers, as many fields as WANT has.
at_least() {
  awk -v have="$1" -v want="$2" 'BEGIN {
    n = split(want, w, "."); split(have, h, ".")
    for (i = 1; i <= n; i++) { if (h[i] + 0 > w[i] + 0) exit 0; if (h[i] + 0 < w[i] + 0) exit 1 }
    exit 0
  }'
}

manager() {
  for m in apt-get dnf apk brew; do
    if have "$m"; then echo "$m"; return; fi
  done
}
manager=$(manager)

# lacks NAME APT DNF APK BREW: notes what is missing and the package that brings it.
lacks() {
  missing="$missing${missing:+, }$1"
  case $manager in
    apt-get) packages="$packages $2" ;;
    dnf) packages="$packages $3" ;;
    apk) packages="$packages $4" ;;
    brew) packages="$packages $5" ;;
  esac
}

need_rust() {
  want=$(sed -n 's/^rust-version *= *"\(.*\)"/\1/p' "$here/../Cargo.toml")
  rustup="curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh"
  if ! have rustc || ! have cargo; then
    give_up "Rust is missing ($want or newer). Type: $rustup"
  fi
  found=$(rustc --version | awk '{ print $2 }')
  at_least "$found" "$want" && return
  if have rustup; then rustup='rustup update stable'; fi
  give_up "Rust $found is too old ($want or newer). Type: $rustup"
}

need_cc() {
  # A compiler without the C library's files is there on some machines, and links nothing.
  probe=$(mktemp)
  if have cc && echo 'int main(void) { return 0; }' | cc -x c -o "$probe" - 2>/dev/null; then
    rm -f "$probe"
    return
  fi
  rm -f "$probe"
  if [ "$manager" = brew ]; then give_up 'a C compiler is missing. Type: xcode-select --install'; fi
  lacks 'a C compiler' 'gcc libc6-dev' 'gcc glibc-devel' 'gcc musl-dev' ''
}

need_redis() {
  if have valkey-server; then return; fi
  if have redis-server; then
    found=$(redis-server --version | sed -n 's/.* v=\([0-9.]*\).*/\1/p')
    at_least "$found" 7.0 && return
    give_up "Redis $found is too old (7.0 or newer, or Valkey). See https://redis.io/docs/latest/operate/oss_and_stack/install/"
  fi
  lacks Redis redis-server valkey redis redis
}

need_chromium() {
  for c in chromium chromium-browser google-chrome google-chrome-stable; do
    if have "$c"; then return; fi
  done
  if [ -x '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome' ]; then return; fi
  lacks Chromium chromium chromium chromium '--cask chromium'
}

need_nginx() {
  if ! have nginx; then lacks nginx nginx nginx nginx nginx; fi
}

# RocksDB's Rust crate, which a peer brings along, reads C headers with it.
need_libclang() {
  for lib in "${LIBCLANG_PATH:-/usr/lib}"/libclang.so* /usr/lib*/libclang.so* /usr/lib/llvm*/lib/libclang.so*; do
    if [ -e "$lib" ]; then return; fi
  done
  lacks libclang libclang-dev clang-devel clang-dev llvm
}

need_peers() {
  need_nginx
  need_libclang
  if ! have c++; then lacks 'a C++ compiler' g++ gcc-c++ g++ ''; fi
  if ! have pkg-config || ! pkg-config --exists openssl; then
    lacks "OpenSSL's headers" 'pkg-config libssl-dev' 'pkgconf openssl-devel' 'pkgconf openssl-dev' 'pkgconf openssl'
  fi
  if ! have python3 || ! python3 -m pip --version >/dev/null 2>&1; then
    lacks pip python3-pip python3-pip py3-pip python
  fi
}

need_docker() {
  have docker || give_up 'Docker is missing. Install an engine: https://docs.docker.com/engine/install/'
  docker version >/dev/null 2>&1 ||
    give_up 'no Docker engine answers. Start it, or set DOCKER_HOST (try: docker version)'
  docker compose version >/dev/null 2>&1 || have docker-compose ||
    give_up 'Docker Compose is missing. See https://docs.docker.com/compose/install/'
}

need_cargo_deny() {
  have cargo-deny && return
  say 'installing cargo-deny by cargo'
  cargo install --locked cargo-deny
}

# Debian's packages start their service at once and at every boot. Ours is private: none of that.
apt_install() {
  policy=/usr/sbin/policy-rc.d
  ours=no
  if [ -d /usr/sbin ] && [ ! -e "$policy" ]; then
    ours=yes
    printf '#!/bin/sh\nexit 101\n' | $sudo tee "$policy" >/dev/null
    $sudo chmod 755 "$policy"
  fi
  # shellcheck disable=SC2086 # several packages, and sudo or nothing
  set -- $sudo env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
    apt-get -o DPkg::Lock::Timeout=300 -y --no-install-recommends install $packages
  # The lists may be absent (a fresh container) or old: fetch them only then.
  "$@" >&2 || { $sudo apt-get -o DPkg::Lock::Timeout=300 update >&2 && "$@" >&2; } || failed=yes
  if [ "$ours" = yes ]; then $sudo rm -f "$policy"; fi
  if [ -d /run/systemd/system ]; then
    for service in redis-server nginx; do
      case $packages in *$service*) $sudo systemctl disable --now "$service" >/dev/null 2>&1 || true ;; esac
    done
  fi
  [ "${failed:-no}" = no ]
}

install() {
  case $manager in
    apt-get) line="apt-get install -y --no-install-recommends$packages" ;;
    dnf) line="dnf install -y$packages" ;;
    apk) line="apk add$packages" ;;
    brew) line="brew install$packages" ;;
    *) give_up "missing: $missing. Install it by this system's package manager" ;;
  esac
  sudo=''
  if [ "$manager" != brew ] && [ "$(id -u)" != 0 ]; then
    if have sudo && sudo -n true 2>/dev/null; then
      sudo='sudo -n'
    else
      give_up "missing: $missing. Type: sudo $line"
    fi
  fi
  say "installing $missing: $line"
  # shellcheck disable=SC2086 # several words, and sudo or nothing
  case $manager in
    apt-get) apt_install ;;
    *) $sudo $line >&2 ;;
  esac || give_up "could not install $missing. Type: ${sudo:+sudo }$line"
}

[ $# -gt 0 ] || set -- stack
cargo_deny=no
for need; do
  case $need in
    build) need_rust && need_cc ;;
    stack) need_rust && need_cc && need_redis ;;
    test) need_rust && need_cc && need_redis && need_chromium && need_nginx ;;
    peers) need_rust && need_cc && need_redis && need_chromium && need_peers ;;
    docker) need_docker ;;
    cargo-deny) cargo_deny=yes ;;
    *) say "unknown need '$need': build, stack, test, peers, docker or cargo-deny"; exit 64 ;;
  esac
done
if [ -n "$missing" ]; then install; fi
if [ "$cargo_deny" = yes ]; then need_cargo_deny; fi

#!/bin/sh
# Makes this machine a node of a Mesolite fleet, brings the agent here to the version of the master that served this, or removes it.
# All that it fetches comes from that master, whose root certificate and the sha256 of each file are written below.
set -eu

url='@URL@'
version='@VERSION@'
bundle='@BUNDLE@'
# of each archive of Node that the master has: processor, name, sha256
runtimes='@RUNTIMES@'
ca='@CA@'

home=/usr/local/lib/mesolite
command=/usr/local/bin/mesolite
join=/usr/local/sbin/mesolite-join
service=mesolite-agent
units="$service.service $service.socket $service-outbound.socket"
state=/var/lib/$service

usage() {
  cat <<'TEXT'
usage: sh install.sh [--join STRING | --join-file FILE] [-- OPTIONS of mesolite join]
       sh install.sh --uninstall [--purge]

Installs or upgrades the agent and the command `mesolite`, and joins with what `mesolite token create` printed, unless this machine is a
node already. --uninstall ends the agent and its tasks and removes the program; with --purge also the node's identity, what its tasks
have left, its settings and its user.
TEXT
}

say() { echo "mesolite: $*"; }

fail() {
  echo "mesolite: $*" >&2
  exit 1
}

# systemd is running, not only installed
has_systemd() { [ -d /run/systemd/system ]; }

# fetch NAME FILE SHA256
fetch() {
  if command -v curl >/dev/null; then
    curl -fsS --retry 5 --cacert "$tmp/ca.pem" -o "$2" "$url/install/$1" || fail "$1 cannot be fetched"
  elif command -v wget >/dev/null; then
    wget -q --ca-certificate="$tmp/ca.pem" -O "$2" "$url/install/$1" || fail "$1 cannot be fetched"
  else
    fail 'there is neither curl nor wget on this machine'
  fi
  echo "$3  $2" | sha256sum -c - >/dev/null 2>&1 || fail "$1: expected sha256 $3; nothing was installed"
}

is_node() {
  [ -x "$1" ] && "$1" -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 11) ? 0 : 1)' 2>/dev/null
}

# sets $node: that of the system, else one from the master
find_node() {
  for node in /usr/bin/node /usr/local/bin/node; do
    if is_node "$node"; then return; fi
  done
  node=$home/node
  bits=$(getconf LONG_BIT 2>/dev/null || echo 64)
  case "$(uname -m) $bits" in
  'x86_64 64') processor=x64 ;;
  'aarch64 64') processor=arm64 ;;
  'aarch64 32' | armv7* | armv8*) processor=armv7l ;;
  *) processor=$(uname -m) ;;
  esac
  found=$(echo "$runtimes" | sed -n "s/^$processor //p" | head -n 1)
  # that of an earlier run, unless the master has another one by now
  if [ -z "$found" ] || [ "$(cat "$node.sum" 2>/dev/null)" = "${found#* }" ]; then
    if is_node "$node"; then return; fi
  fi
  if [ -z "$found" ]; then
    fail "there is no Node 20.11 or newer in /usr/bin, and the master has none for $processor: install one (apt install nodejs), or put node-v20…-linux-$processor.tar.gz of nodejs.org into runtimes/ of the master's data"
  fi
  archive=${found% *}
  say "fetching $archive"
  fetch "$archive" "$tmp/$archive" "${found#* }"
  mkdir -p "$home"
  tar -xOf "$tmp/$archive" "${archive%.tar.*}/bin/node" >"$node.new"
  chmod 755 "$node.new"
  is_node "$node.new" || fail "the Node of the master, $archive, does not run here: install one of your system's"
  sync
  mv -f "$node.new" "$node"
  echo "${found#* }" >"$node.sum"
}

make_user() {
  if grep -q "^$service:" /etc/passwd; then return; fi
  if command -v useradd >/dev/null; then
    useradd --system --user-group --no-create-home --home-dir "$state" --shell /usr/sbin/nologin "$service"
  else
    addgroup -S "$service"
    adduser -S -D -H -h "$state" -s /bin/false -G "$service" "$service"
  fi
}

# place FILE TARGET MODE: one of the bundle's texts, with where things are here
place() {
  mkdir -p "${2%/*}"
  sed -e "s|@NODE@|$node|g" -e "s|@HOME@|$home|g" -e "s|@PROGRAM@|$home/current/build/dist/main.js|g" \
    "$home/current/build/dist/install/$1" >"$2.new"
  chmod "$3" "$2.new"
  mv -f "$2.new" "$2"
}

# beside the one that runs, which may read more of its files until it ends
unpack() {
  release=$(echo "$bundle" | cut -c 1-12)
  if [ ! -d "$home/$release" ]; then
    say "fetching version $version"
    fetch mesolite.tar.gz "$tmp/mesolite.tar.gz" "$bundle"
    rm -rf "$home/$release.new"
    mkdir -p "$home/$release.new"
    tar -xzf "$tmp/mesolite.tar.gz" --no-same-owner -C "$home/$release.new"
    # a folder of that name is taken for whole
    sync
    mv "$home/$release.new" "$home/$release"
  fi
  previous=$(readlink "$home/current" || true)
  # a power cut leaves the one or the other
  ln -sfn "$release" "$home/current.new"
  mv -fT "$home/current.new" "$home/current"
}

install_agent() {
  case $url in https://*) ;; *) fail 'expected the script as a master serves it, at /install.sh' ;; esac
  [ ! -e /usr/lib/mesolite ] || fail 'the Debian package mesolite is installed: upgrade that, or remove it first'
  tmp=$(mktemp -d)
  trap 'rm -rf "$tmp"' EXIT
  trap 'exit 1' HUP INT TERM
  printf '%s\n' "$ca" >"$tmp/ca.pem"
  if [ -n "$string" ]; then
    # nobody sees a file among the arguments of what is called
    joining=$tmp/join
    (umask 077 && printf '%s\n' "$string" >"$joining")
  fi

  umask 022
  find_node
  unpack
  make_user
  [ -d "$state" ] || install -d -o "$service" -g "$service" -m 0700 "$state"
  place mesolite "$command" 755
  place mesolite-join "$join" 755
  place start-agent "$home/start-agent" 755
  cp "$home/current/build/dist/install/install.sh" "$home/install.sh"
  [ -e /etc/default/$service ] || place $service.default /etc/default/$service 644
  if command -v systemctl >/dev/null; then
    for unit in $units; do place "$unit" "/etc/systemd/system/$unit" 644; done
    # shellcheck disable=SC2086 # they are words
    systemctl enable --quiet $units
    if has_systemd; then systemctl daemon-reload; fi
  fi
  sync

  if [ -e "$state/identity" ]; then
    say 'this machine is a node already'
    if has_systemd; then systemctl restart "$service.service"; fi
  elif [ -n "$joining" ]; then
    "$join" "$joining" "$@"
  else
    say "to make this machine a node: $join FILE"
  fi
  for each in "$home"/*/; do
    each=${each%/}
    case ${each##*/} in current | "$release" | "$previous") ;; *) rm -rf "$each" ;; esac
  done
  say "version $version is installed"
  has_systemd || say "there is no systemd here: start the agent with  $command agent --data $state"
}

uninstall() {
  if has_systemd; then
    # its tasks end with it
    systemctl kill --kill-who=all "$service.service" 2>/dev/null || true
    # shellcheck disable=SC2086
    systemctl stop $units 2>/dev/null || true
    systemctl kill --kill-who=all --signal=KILL "$service.service" 2>/dev/null || true
    # before systemd 254 the tasks of an agent that is root are in a group beside it
    group=/sys/fs/cgroup/mesolite-$(printf %s "$state" | sha256sum | cut -c 1-12)
    [ ! -e "$group/cgroup.kill" ] || echo 1 >"$group/cgroup.kill" || true
  fi
  if command -v systemctl >/dev/null; then
    # shellcheck disable=SC2086
    systemctl disable --quiet $units 2>/dev/null || true
  fi
  for unit in $units; do rm -f "/etc/systemd/system/$unit"; done
  if has_systemd; then systemctl daemon-reload; fi
  rm -rf "$home" "$command" "$join"
  if [ "$purge" = no ]; then
    say "removed; $state and /etc/default/$service are kept"
    return
  fi
  rm -rf "$state" "/run/$service" "/etc/default/$service" "/etc/systemd/system/$service.service.d"
  if grep -q "^$service:" /etc/passwd; then
    if command -v userdel >/dev/null; then userdel "$service"; else deluser "$service"; fi
  fi
  say 'removed, with all that it had'
}

# last, so that a script that did not come whole does nothing
main() {
  act=install_agent purge=no string='' joining=''
  while [ $# -gt 0 ]; do
    case $1 in
    --join | --join-file)
      [ $# -gt 1 ] || fail "$1: expected a value"
      if [ "$1" = --join ]; then
        string=$2
      else
        [ -f "$2" ] || fail "$2: there is no such file"
        joining=$2
      fi
      shift
      ;;
    --uninstall) act=uninstall ;;
    --purge) purge=yes ;;
    --help | -h)
      usage
      return
      ;;
    --)
      shift
      break
      ;;
    *)
      usage >&2
      fail "unknown option: $1"
      ;;
    esac
    shift
  done
  [ "$(id -u)" = 0 ] || fail 'run it as root: it installs a service'
  "$act" "$@"
}

main "$@"

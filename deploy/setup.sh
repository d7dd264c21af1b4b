#!/usr/bin/env bash
# Installs what Lockstep is built from and tested against: Debian packages, and PyPI wheels in one
# environment outside the clone that all clones share. Can be called again and from any folder.
set -euo pipefail

cache=${LOCKSTEP_CACHE:-$HOME/.cache/lockstep}
venv=$cache/venv
say() { printf '\033[1m%s\033[0m\n' "setup: $*" >&2; }

packages=(
  g++ cmake ninja-build ccache mold git pkg-config python3 python3-venv   # to build
  openmpi-bin libopenmpi-dev                                              # ranks
  libtomlplusplus-dev libcli11-dev libfmt-dev libspdlog-dev nlohmann-json3-dev libxxhash-dev
  libjpeg62-turbo-dev libpng-dev prometheus-cpp-dev
  libgtest-dev libgmock-dev prometheus shellcheck                         # to test (promtool is in prometheus)
  clang libclang-rt-14-dev                                                # to test: libFuzzer
  slurm-wlm munge iproute2                                                # to test: a cluster of two nodes
)
wheels=(
  torch==2.11.0 torchvision==0.26.0 timm==1.0.31                          # LibTorch; the peers of the tests
  clang-format==14.0.6 'grafana-foundation-sdk==1769699998!10.1.0'
  'nvidia-cuda-nvcc==13.0.*' 'nvidia-nvvm==13.0.*' 'nvidia-cuda-crt==13.0.*' 'nvidia-cuda-cccl==13.0.*'
)

install_packages() {
  local missing=() package
  for package in "${packages[@]}"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return
  say "installing ${#missing[@]} Debian packages: ${missing[*]}"
  local sudo=()
  [ "$(id -u)" -eq 0 ] || sudo=(sudo)
  "${sudo[@]}" apt-get update -qq
  # prometheus starts a server of its own when it is installed; the tests start theirs.
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
}

install_wheels() {
  local wanted
  wanted=$(printf '%s\n' "${wheels[@]}")
  [ "$(cat "$venv/lockstep-wheels" 2>/dev/null)" = "$wanted" ] && return
  say "fetching LibTorch, the CUDA compiler and timm into $venv (about 5 GB; once for all clones)"
  mkdir -p "$cache"
  /usr/bin/python3 -m venv "$venv"
  "$venv/bin/pip" install --progress-bar "$([ -t 2 ] && echo on || echo off)" "${wheels[@]}" |
    { grep --line-buffered -v '^Requirement already satisfied' || true; } >&2
  printf '%s\n' "$wanted" > "$venv/lockstep-wheels"
}

(
  mkdir -p "$cache"
  flock 9   # two clones may be set up at once
  install_packages
  install_wheels
) 9> "${TMPDIR:-/tmp}/lockstep-setup-$(id -u).lock"
say "ready: wheels in $venv"

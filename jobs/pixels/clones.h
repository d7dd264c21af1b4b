#pragma once

/// Compiles a function once for each width of vector registers; the loader takes the widest that
/// runs. Every clone computes the same bits.
#ifdef __clang__  // which fuzzes, and has no clones by architecture
#define LOCKSTEP_CLONES
#else
#define LOCKSTEP_CLONES \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#endif

#pragma once

/// Compiles a function once for each width of vector registers; the loader takes the widest that
/// runs. Clones may round otherwise where products are added to (fused or not), so that bits are
/// those of one kind of processor; what works on whole numbers has the same everywhere.
#ifdef __SANITIZE_THREAD__  // the loader chooses before the sanitizer is ready to be called
#define LOCKSTEP_CLONES
#else
#define LOCKSTEP_CLONES \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#endif

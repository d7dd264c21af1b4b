#pragma once

#include <string_view>

namespace lockstep {

/// Whether a fast path is taken: all are, but those that LOCKSTEP_PLAIN names, "sum" (ranks of a
/// host add in shared memory), "norm" (batch norms fused with what follows them), "convolution"
/// (by Winograd's rule and by matrix products), "product" (linear layers and a GELU after them by
/// kernels of our own), "attention" (by the same products), "residual" (branches of transformers
/// without what stochastic depth drops), "dino_loss" (DINO's loss by kernels of our own on GPUs),
/// "pixels" (instructions that are written out, and a decoder of Huffman codes of our own), or
/// "all". What is plain is slower and easier to trust; tests hold the two together. Any thread.
bool takes_fast_path(std::string_view name);

}  // namespace lockstep

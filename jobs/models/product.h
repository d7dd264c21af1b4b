#pragma once

#include <ATen/core/Tensor.h>

namespace lockstep::jobs {

/// Whether convolutions and linear layers go by products of our own on this machine: on processors
/// without AVX-512, where oneDNN's own kernels reach half the rate of a product or less and know no
/// Winograd, and MKL's products are slower than these; and on AMD's, where MKL's products use half
/// of a register of AVX-512.
bool prefers_products();

/// Whether x is what they take there: float32 on the processor.
bool suits_products(const at::Tensor& x);

/// result = left [rows, depth] times right [depth, columns], plus `bias` [columns] where given, by
/// kernels/product_cpu.h. All float32 on the processor; left and right lie as they like, the
/// result's rows and the bias without gaps. torch's threads share the rows; their number changes
/// no bit.
void product(const at::Tensor& result, const at::Tensor& left, const at::Tensor& right,
             const at::Tensor& bias = {});

}  // namespace lockstep::jobs

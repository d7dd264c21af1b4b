#pragma once

#include <ATen/core/Tensor.h>

#include "comm/communicator.h"

namespace lockstep::comm {

/// The rows of all ranks, rank after rank, on every rank. All give a processor's contiguous tensor
/// of one type and shape but for the number of rows, which may differ and be 0. Called by all
/// ranks.
at::Tensor gather_rows(const at::Tensor& mine, Communicator& communicator);

}  // namespace lockstep::comm

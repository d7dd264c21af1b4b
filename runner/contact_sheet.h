#pragma once

#include <vector>

#include "jobs/batch_maker.h"
#include "jobs/pixels/image.h"

namespace lockstep::runner {

/// What a network is shown of one shard's batch, on one sheet: its pictures [B, 3, H, W] without
/// their normalisation, made here where that is left to the device. One such field: picture after
/// picture, at most 64. Several (DINO's crops): a row for each picture with all its crops, at most
/// 8 rows.
pixels::Image contact_sheet(const std::vector<jobs::Field>& fields,
                            const jobs::ShardArrays& arrays);

}  // namespace lockstep::runner

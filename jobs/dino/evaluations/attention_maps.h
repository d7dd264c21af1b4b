#pragma once

#include <ATen/core/Tensor.h>

#include "comm/communicator.h"
#include "jobs/dino/dino_options.h"
#include "jobs/job.h"
#include "jobs/models/vit.h"

namespace lockstep::jobs {

/// Where the class token of the last block looks (visualize_attention.py): for each picture of
/// request.images, resized to a square, NAME/picture.png and for each head NAME/head-0.png and so
/// on, dark where it looks least, bright where most; sheet.png, a row for each of the first
/// pictures. Dealt to the ranks in turn. Measures: "pictures", "heads". Throws DataError,
/// WriteError.
Measures attention_maps(const Vit& vit, at::Device device, const DinoEvaluationOptions& options,
                        const comm::Communicator& communicator, const EvaluationRequest& request);

}  // namespace lockstep::jobs

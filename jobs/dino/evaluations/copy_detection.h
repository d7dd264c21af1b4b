#pragma once

#include <ATen/core/Tensor.h>

#include "comm/communicator.h"
#include "jobs/dino/backbone.h"
#include "jobs/job.h"

namespace lockstep::jobs {

/// Copy detection by the Copydays protocol (Douze et al. 2009) as eval_copy_detection.py has it: an
/// altered picture shall find its original by the cosine of their descriptors, which are a
/// transformer's class token and the generalised mean (p = 4) of its patches, or the features of
/// another network. request.images holds original/NUMBER.jpg; in every other folder but two, one
/// block of altered pictures (strong, jpegqual/3,
/// ...), each a copy of the original whose number is the same but for the last two digits. Pictures
/// in distractors/ are added to the originals; those in whitening/ give a mean that all descriptors
/// lose and the directions and deviations that are evened out. Percent, over the 20 nearest: the
/// mean average precision of each block, "map_strong", "map_jpegqual_3" and so on, and of all
/// altered pictures, "map". Over all ranks; the same numbers on any number of them. Throws
/// DataError.
Measures copy_detection(const Backbone& backbone, at::Device device,
                        const DinoEvaluationOptions& options, comm::Communicator& communicator,
                        const EvaluationRequest& request);

}  // namespace lockstep::jobs

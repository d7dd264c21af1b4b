#pragma once

#include <ATen/core/Tensor.h>

#include "comm/communicator.h"
#include "jobs/dino/dino_options.h"
#include "jobs/job.h"
#include "jobs/models/vit.h"

namespace lockstep::jobs {

/// Segmentation of videos by propagating the objects of the first frame (DAVIS 2017,
/// semi-supervised) as eval_video_segmentation.py does it with features of patches, nothing
/// trained. request.images holds ImageSets/2017/val.txt, JPEGImages/480p/NAME/*.jpg and
/// Annotations/480p/NAME/*.png, indexed. Writes NAME/FRAME.png, with the palette of the first
/// annotation, where request.write is given. Percent, means over all objects of all videos of the
/// means over their frames but the first and the last: "j_mean", "f_mean" and their mean "j_and_f".
/// The videos are dealt to the ranks; the same numbers on any number of them. Throws DataError.
Measures video_segmentation(const Vit& vit, at::Device device, const DinoEvaluationOptions& options,
                            comm::Communicator& communicator, const EvaluationRequest& request);

}  // namespace lockstep::jobs

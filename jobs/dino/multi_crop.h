#pragma once

#include <memory>

#include "jobs/batch_maker.h"
#include "jobs/dino/dino_options.h"
#include "jobs/placement.h"

namespace lockstep::jobs {

/// Training: two global and some local crops of each picture, which is decoded once, with the
/// official augmentation (main_dino.py, DataAugmentationDINO; Pillow's and torchvision's pixels).
/// Fields: crops.0 ... crops.N [B, 3, side, side] as `pictures` says, the two global first; samples
/// [B]; where the device augments, unmade, of the part of the picture that they need, or of crops
/// that are resized already where that is large. The draws are the same in any form.
std::unique_ptr<BatchMaker> make_multi_crop(const MultiCropOptions& options, PictureForm pictures);

/// Evaluation (eval_knn.py): the short side resized, the centre cut out, normalised. Fields:
/// images, labels [B], samples [B].
std::unique_ptr<BatchMaker> make_dino_evaluation_batches(const MultiCropOptions& options);

}  // namespace lockstep::jobs

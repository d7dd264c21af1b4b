#pragma once

#include "comm/communicator.h"
#include "jobs/dino/backbone.h"
#include "jobs/job.h"

namespace lockstep::jobs {

/// The official linear protocol (eval_linear.py): a linear classifier is trained on frozen features
/// of randomly cut and flipped pictures, by SGD with momentum and a cosine over the epochs, and
/// judged after each on the validation set. A transformer's features are the class tokens of its
/// last blocks, one after the other, or class token and mean patch of the last one in turn.
/// Percent: "linear_top1", the best of all epochs as published, with the "linear_top5" of that
/// epoch and its number "linear_epoch", counted from 1; "linear_last_top1", after the last. Over
/// all ranks. `outputs` gets the "logits" after the last epoch for this rank's validation pictures.
Measures linear_probe(const Backbone& backbone, const MultiCropOptions& crops,
                      const BatchMaker& validation, const DinoEvaluationOptions& options,
                      const EvaluationSets& sets, comm::Communicator& communicator,
                      std::vector<Tensors>* outputs);

}  // namespace lockstep::jobs

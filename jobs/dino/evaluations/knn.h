#pragma once

#include <ATen/core/Tensor.h>

#include "comm/communicator.h"
#include "jobs/dino/backbone.h"
#include "jobs/job.h"

namespace lockstep::jobs {

/// The weighted nearest-neighbour classifier of the official code (eval_knn.py; Wu et al. 2018):
/// each validation picture takes the votes of its 10, 20, 100, 200 nearest training pictures by the
/// cosine of their features, with the weight exp(cosine / 0.07). Percent, "knn_10_top1" and so on;
/// top5 of no more than k classes. Over all ranks; the same numbers on any number of them.
Measures knn_accuracy(const Backbone& backbone, const EvaluationSets& sets,
                      const BatchMaker& batches, comm::Communicator& communicator,
                      std::vector<Tensors>* outputs);

}  // namespace lockstep::jobs

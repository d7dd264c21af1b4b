#pragma once

#include <ATen/core/Tensor.h>

#include "comm/communicator.h"
#include "jobs/dino/backbone.h"
#include "jobs/job.h"

namespace lockstep::jobs {

/// Image retrieval by the revisited Oxford and Paris protocol (Radenovic et al. 2018) as
/// eval_image_retrieval.py has it: the pictures of a data base are ranked by the cosine of their
/// features with a query's. request.images holds jpg/NAME.jpg and ground_truth.json with the keys
/// of the published gnd_*.pkl; a query is taken whole, not cut to its box. Percent: the mean
/// average precision and the mean precision among the first 1, 5 and 10, "map_medium", "mp1_medium"
/// and so on. Medium finds easy and hard pictures and passes over junk; hard finds hard ones and
/// passes over easy ones and junk. A query with nothing to find does not count. Over all ranks; the
/// same numbers on any number of them. Throws DataError.
Measures retrieval(const Backbone& backbone, at::Device device,
                   const DinoEvaluationOptions& options, comm::Communicator& communicator,
                   const EvaluationRequest& request);

}  // namespace lockstep::jobs

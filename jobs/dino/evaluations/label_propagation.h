#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace lockstep::jobs {

/// A frame as propagation sees it, patch by patch.
struct LabelledFrame {
  at::Tensor features;  // [h, w, dim], of length 1
  at::Tensor labels;    // [h, w, classes]: how much of each class is there
};

/// The labels [h, w, classes] of a frame with features [h, w, dim] of length 1, from frames whose
/// labels are known (Jabri et al. 2020, as eval_video_segmentation.py has it): each patch takes the
/// mean of the labels of the 5 patches most like it in all `context` together (of more where they
/// tie), with the weights exp(cosine / 0.1); only patches no more than 12 rows and columns away
/// count.
at::Tensor propagate_labels(const at::Tensor& features, const std::vector<LabelledFrame>& context);

}  // namespace lockstep::jobs

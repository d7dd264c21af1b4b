#include "jobs/models/resnet_shapes.h"

#include <gtest/gtest.h>

#include <map>

namespace lockstep::jobs {
namespace {

// Published with timm's results (results-imagenet.csv and the model code), 1000 classes.
TEST(ResNetShapes, HaveThePublishedNumberOfParameters) {
  const std::map<std::string, int64_t> published{{"resnet18", 11'689'512},
                                                 {"resnet34", 21'797'672},
                                                 {"resnet50", 25'557'032},
                                                 {"resnet101", 44'549'160},
                                                 {"resnet152", 60'192'808}};
  for (const std::string& name : resnet_names()) {
    int64_t sum = 0;
    for (const NamedShape& entry : resnet_parameters(resnet_shape(name, 1000))) {
      int64_t elements = 1;
      for (const int64_t length : entry.shape) elements *= length;
      sum += elements;
    }
    EXPECT_EQ(sum, published.at(name)) << name;
  }
}

TEST(ResNetShapes, HaveTheKeysOfAStateDict) {
  const ResNetShape shape = resnet_shape("resnet50", 1000);
  EXPECT_EQ(resnet_parameters(shape).size(), 161u);
  EXPECT_EQ(resnet_buffers(shape).size(), 2u * 53u);
  EXPECT_EQ(residual_blocks(shape), 16);
}

}  // namespace
}  // namespace lockstep::jobs

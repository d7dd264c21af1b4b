#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "comm/bucket_plan.h"

namespace lockstep::runner {

/// What a step and the links between ranks were measured to be, from which longer worlds are
/// reckoned at the same batch of a rank (weak scaling).
struct ScalingInputs {
  double compute_seconds = 0.0;          // forward and backward of a rank's shards
  double update_seconds = 0.0;           // what follows the sum
  double spread = 0.0;                   // standard deviation of a rank's compute, of its mean
  int64_t node_ranks = 8;                // ranks of a node
  double node_bytes_per_second = 450e9;  // a rank's bandwidth within its node
  double link_bytes_per_second = 50e9;   // of a node to the others, all its ranks together
  double latency_seconds = 5e-6;         // of a message between nodes
  double gradient_bytes = 4.0;           // of each number of a bucket
};

/// A step in a world of `world` ranks.
struct ScaledStep {
  int64_t world = 1;
  double seconds = 0.0;          // the whole step
  double sum_seconds = 0.0;      // all messages one after the other
  double exposed_seconds = 0.0;  // of them, after backward has ended
  double waiting_seconds = 0.0;  // for the slowest rank
  double efficiency = 1.0;       // beside one rank alone
};

/// Seconds of one sum of `bytes`: every rank passes 2 (n - 1) / n of them within its node, every
/// node as much of them over its link, as a ring or halving does (Patarasuk and Yuan 2009).
double sum_seconds(const ScalingInputs& inputs, int64_t world, double bytes);

/// Buckets leave as backward, two thirds of the computing, fills them one after the other at an
/// even pace, and pass one at a time; `tail_bytes` follow at the end. The slowest of n ranks is
/// sqrt(2 ln n) standard deviations behind the mean (for normal times, from above).
ScaledStep scale_step(const ScalingInputs& inputs, std::span<const comm::Bucket> buckets,
                      double tail_bytes, int64_t world);

/// Bytes a second of "400Gb" (bits), "50GB" (bytes), with K, M, G or T; throws UsageError (E100).
double parse_bandwidth(const std::string& text);

}  // namespace lockstep::runner

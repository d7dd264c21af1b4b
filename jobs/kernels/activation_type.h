#pragma once

namespace lockstep::jobs {

/// The numbers that a kernel reads and writes; it computes in float32 and wider.
enum class ActivationType { float32, bfloat16 };

}  // namespace lockstep::jobs

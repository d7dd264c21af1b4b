#include "monitoring/event_file.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "monitoring/metrics_log.h"

namespace lockstep::monitoring {
namespace {

double unix_time() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// The checksum of TensorFlow's record files, Castagnoli's polynomial, rotated and shifted so that a
// checksum of data with checksums in it is a good one too.
constexpr std::array<uint32_t, 256> kCrcTable = [] {
  std::array<uint32_t, 256> table{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (crc & 1 ? 0x82f63b78u : 0u);
    table[byte] = crc;
  }
  return table;
}();

uint32_t masked_crc(std::string_view bytes) {
  uint32_t crc = 0xffffffffu;
  for (const char byte : bytes)
    crc = (crc >> 8) ^ kCrcTable[(crc ^ static_cast<uint8_t>(byte)) & 0xff];
  return std::rotr(~crc, 15) + 0xa282ead8u;
}

template <typename Value>
std::string little_endian(Value value) {
  static_assert(std::endian::native == std::endian::little);
  return {reinterpret_cast<const char*>(&value), sizeof(value)};
}

// A protocol buffer as it is on the wire: fields by their numbers, one after the other.
class Message {
 public:
  Message& integer(int field, uint64_t value) { return key(field, 0).varint(value); }
  Message& number(int field, double value) { return key(field, 1).append(little_endian(value)); }
  Message& single(int field, float value) { return key(field, 5).append(little_endian(value)); }
  /// Text, bytes or another message.
  Message& bytes(int field, std::string_view value) {
    return key(field, 2).varint(value.size()).append(value);
  }
  const std::string& content() const { return content_; }

 private:
  Message& key(int field, uint64_t kind) {
    return varint(static_cast<uint64_t>(field) << 3 | kind);
  }
  Message& varint(uint64_t value) {
    for (; value >= 0x80; value >>= 7) content_ += static_cast<char>(value | 0x80);
    content_ += static_cast<char>(value);
    return *this;
  }
  Message& append(std::string_view bytes) {
    content_ += bytes;
    return *this;
  }
  std::string content_;
};

// The numbers of the fields, as the .proto files of TensorBoard have them.
enum EventField { kWallTime = 1, kStep = 2, kFileVersion = 3, kSummary = 5, kSessionLog = 7 };
enum ValueField { kTag = 1, kSimpleValue = 2, kImage = 4, kMetadata = 9 };
enum HparamsField { kSessionStart = 3, kSessionEnd = 4 };
constexpr int kSummaryValue = 1;

std::string scalar(const std::string& tag, double value) {
  const auto logged = static_cast<float>(as_logged(value));
  return Message().bytes(kTag, tag).single(kSimpleValue, logged).content();
}

// What the plug-in "hparams" finds in a summary's metadata.
std::string hparams(const char* tag, HparamsField field, const Message& content) {
  const Message plugin_data =
      Message().bytes(1, "hparams").bytes(2, Message().bytes(field, content.content()).content());
  const Message metadata = Message().bytes(1, plugin_data.content());
  return Message().bytes(kTag, tag).bytes(kMetadata, metadata.content()).content();
}

// google.protobuf.Value
std::string hparam_value(const nlohmann::ordered_json& value) {
  if (value.is_boolean()) return Message().integer(4, value.get<bool>()).content();
  if (value.is_number()) return Message().number(2, value.get<double>()).content();
  return Message().bytes(3, value.is_string() ? value.get<std::string>() : value.dump()).content();
}

// Entries of the map `hparams` of a SessionStartInfo.
void add_hparams(const nlohmann::ordered_json& table, const std::string& prefix, Message& start) {
  for (const auto& [key, value] : table.items()) {
    if (value.is_object()) {
      add_hparams(value, prefix + key + ".", start);
    } else {
      start.bytes(1, Message().bytes(1, prefix + key).bytes(2, hparam_value(value)).content());
    }
  }
}

}  // namespace

EventFile::EventFile(const std::filesystem::path& folder, const std::string& host, int64_t step)
    : file_(folder / fmt::format("events.out.tfevents.{:010d}.{}.{}",
                                 static_cast<int64_t>(unix_time()), host, getpid())),
      stream_(file_, std::ios::binary) {
  if (!stream_) {
    fail();
    return;
  }
  write_event(0, kFileVersion, "brain.Event:2");
  go_back_to(step);
}

// TensorBoard forgets what it knows of this step and those after it.
void EventFile::go_back_to(int64_t step) {
  constexpr int kStart = 1;
  samples_ = -1;
  write_event(step + 1, kSessionLog, Message().integer(1, kStart).content());
}

void EventFile::write_recipe(const nlohmann::ordered_json& recipe) {
  Message start;
  add_hparams(recipe, "", start);
  start.number(5, unix_time());
  const std::string value = hparams("_hparams_/session_start_info", kSessionStart, start);
  write_event(0, kSummary, Message().bytes(kSummaryValue, value).content());
}

void EventFile::write(const StepReport& report) {
  Message summary;
  const auto add = [&summary](const std::string& tag, double value) {
    summary.bytes(kSummaryValue, scalar(tag, value));
  };
  add("train/loss", report.loss);
  add("train/learning_rate", report.learning_rate);
  add("train/weight_decay", report.weight_decay);
  add("train/gradient_norm", report.gradient_norm);
  add("speed/step_seconds", report.step_seconds);
  add("speed/data_wait_seconds", report.data_wait_seconds);
  add("speed/compute_seconds", report.compute_seconds);
  add("speed/sum_seconds", report.sum_seconds);
  add("speed/update_seconds", report.update_seconds);
  if (samples_ >= 0 && report.seconds > seconds_) {
    add("speed/images_per_second",
        static_cast<double>(report.samples - samples_) / (report.seconds - seconds_));
  }
  samples_ = report.samples;
  seconds_ = report.seconds;
  for (const auto& [name, value] : report.job) add("job/" + name, value);
  for (const auto& [name, value] : report.schedules) add("schedule/" + name, value);
  for (const auto& [name, value] : report.evaluation) add("evaluation/" + name, value);
  write_event(report.step, kSummary, summary.content());
}

void EventFile::write_picture(const std::string& tag, int64_t step, int width, int height,
                              std::span<const std::byte> png) {
  constexpr int kRgb = 3;
  const Message image = Message()
                            .integer(1, static_cast<uint64_t>(height))
                            .integer(2, static_cast<uint64_t>(width))
                            .integer(3, kRgb)
                            .bytes(4, {reinterpret_cast<const char*>(png.data()), png.size()});
  const Message value = Message().bytes(kTag, tag).bytes(kImage, image.content());
  write_event(step, kSummary, Message().bytes(kSummaryValue, value.content()).content());
}

void EventFile::write_end(bool done) {
  constexpr int kSuccess = 1, kRunning = 3;  // a run that was stopped goes on
  const Message end = Message().integer(1, done ? kSuccess : kRunning).number(2, unix_time());
  const std::string value = hparams("_hparams_/session_end_info", kSessionEnd, end);
  write_event(0, kSummary, Message().bytes(kSummaryValue, value).content());
}

void EventFile::write_event(int64_t step, int field, const std::string& content) {
  if (!stream_.is_open()) return;
  const std::string event = Message()
                                .number(kWallTime, unix_time())
                                .integer(kStep, static_cast<uint64_t>(step))
                                .bytes(field, content)
                                .content();
  const std::string length = little_endian(static_cast<uint64_t>(event.size()));
  stream_ << length << little_endian(masked_crc(length)) << event
          << little_endian(masked_crc(event)) << std::flush;
  if (!stream_) fail();
}

void EventFile::fail() {
  failure_ = fmt::format("cannot write '{}' for TensorBoard: {}; this launch tries no more",
                         file_.string(), std::strerror(errno));
  stream_.close();
}

std::string EventFile::take_failure() { return std::exchange(failure_, {}); }

}  // namespace lockstep::monitoring

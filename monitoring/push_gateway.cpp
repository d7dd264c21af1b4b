#include "monitoring/push_gateway.h"

#include <curl/curl.h>
#include <fmt/format.h>

#include <memory>

namespace lockstep::monitoring {
namespace {

constexpr long kConnectSeconds = 2, kSeconds = 5;

struct CloseHandle {
  void operator()(CURL* handle) const { curl_easy_cleanup(handle); }
};

size_t append(const char* data, size_t size, size_t count, std::string* answer) {
  answer->append(data, size * count);
  return size * count;
}

std::string escaped(const std::string& text) {
  char* escaped = curl_easy_escape(nullptr, text.data(), static_cast<int>(text.size()));
  const std::string result = escaped;
  curl_free(escaped);
  return result;
}

}  // namespace

PushGateway::PushGateway(const std::string& address, const std::string& run)
    : url_(address.substr(0, address.find_last_not_of('/') + 1) + "/metrics/job/lockstep/run/" +
           escaped(run)) {}

std::string PushGateway::put(const std::string& text) const { return send("PUT", text); }

std::string PushGateway::forget() const { return send("DELETE", {}); }

std::string PushGateway::send(const char* method, const std::string& text) const {
  const std::unique_ptr<CURL, CloseHandle> handle(curl_easy_init());
  std::string answer;
  char why[CURL_ERROR_SIZE] = "";
  curl_easy_setopt(handle.get(), CURLOPT_URL, url_.c_str());
  curl_easy_setopt(handle.get(), CURLOPT_CUSTOMREQUEST, method);
  if (!text.empty()) {
    curl_easy_setopt(handle.get(), CURLOPT_POSTFIELDS, text.c_str());
    curl_easy_setopt(handle.get(), CURLOPT_POSTFIELDSIZE_LARGE,
                     static_cast<curl_off_t>(text.size()));
  }
  curl_easy_setopt(handle.get(), CURLOPT_CONNECTTIMEOUT, kConnectSeconds);
  curl_easy_setopt(handle.get(), CURLOPT_TIMEOUT, kSeconds);
  curl_easy_setopt(handle.get(), CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(handle.get(), CURLOPT_ERRORBUFFER, why);
  curl_easy_setopt(handle.get(), CURLOPT_WRITEFUNCTION, append);
  curl_easy_setopt(handle.get(), CURLOPT_WRITEDATA, &answer);
  const CURLcode code = curl_easy_perform(handle.get());
  if (code != CURLE_OK)
    return fmt::format("{}: {}", url_, *why != '\0' ? why : curl_easy_strerror(code));
  long status = 0;
  curl_easy_getinfo(handle.get(), CURLINFO_RESPONSE_CODE, &status);
  if (status / 100 == 2) return {};
  return fmt::format("{}: HTTP {} {}", url_, status, answer.substr(0, 200));
}

}  // namespace lockstep::monitoring

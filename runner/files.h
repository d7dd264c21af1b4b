#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lockstep::runner {

/// Writes `parts` one after the other into a new file and syncs it. Throws WriteError (E501).
void write_file(const std::filesystem::path& file,
                const std::vector<std::span<const std::byte>>& parts);
void write_file(const std::filesystem::path& file, std::string_view text);

/// Replaces `file` so that a reader sees the old text or the new one, never half of it.
void replace_file(const std::filesystem::path& file, std::string_view text);

/// Makes what was created, renamed or removed in `folder` last.
void sync_folder(const std::filesystem::path& folder);

void make_folders(const std::filesystem::path& folder);

/// Throws std::filesystem::filesystem_error.
std::vector<std::byte> read_bytes(const std::filesystem::path& file);
std::string read_text(const std::filesystem::path& file);

}  // namespace lockstep::runner

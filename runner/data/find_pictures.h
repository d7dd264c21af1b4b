#pragma once

#include <filesystem>

#include "runner/data/set_index.h"

namespace lockstep::runner {

/// Labels `optional`: one class is enough, and so are pictures without any, which are then of one
/// class named after their folder.
enum class Labels { needed, optional };

/// The pictures below a folder with one folder for each class (ImageNet's layout:
/// FOLDER/<class>/**.jpg), also behind symbolic links, of which none is followed into a folder that
/// it lies in. Opens no picture. Errors (DataError): E201 a folder cannot be read, E202 a class
/// without pictures.
SetIndex find_in_class_folders(const std::filesystem::path& folder, Labels labels);

/// Whether a set is given by a list: a file whose name ends in .csv or .txt.
bool is_picture_list(const std::filesystem::path& place);

/// The pictures that a text file names, one `path,label` a line, any order: the label is a class's
/// name (or number), the path is relative to the list's folder or absolute and may have commas.
/// Empty lines and those that begin with # are passed over, and so is a first line `path,label`.
/// Nothing is opened but the list. Labels `optional`: a line may be a path alone. Errors
/// (DataError): E209 with the line.
SetIndex read_picture_list(const std::filesystem::path& list, Labels labels);

/// What is said of a set that is none.
extern const char* const kSetLayout;

}  // namespace lockstep::runner

#include "models/checkpoint/model_path.h"

#include <algorithm>
#include <fstream>
#include <vector>

#include "comm/error.h"
#include "models/checkpoint/file_kind.h"
#include "models/checkpoint/mapped_file.h"

namespace kvfold {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kExpected = "expected a Hugging Face folder or a .gguf file";
constexpr size_t kMostEntries = 4096;  // of a folder that are looked at

std::vector<fs::path> Entries(const fs::path& folder) {
  std::vector<fs::path> entries;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end;
       !error && entry != end && entries.size() < kMostEntries; entry.increment(error)) {
    entries.push_back(entry->path());
  }
  std::sort(entries.begin(), entries.end());
  return entries;
}

// Up to three of them by their names, and how many more there are.
std::string Listed(const std::vector<fs::path>& paths, bool in_full) {
  constexpr size_t kMostListed = 3;
  std::vector<std::string> names;
  for (size_t i = 0; i < std::min(paths.size(), kMostListed); ++i) {
    names.push_back(in_full ? paths[i].string() : paths[i].filename().string());
  }
  std::string text = fmt::format("{}", fmt::join(names, ", "));
  if (paths.size() > kMostListed) text += fmt::format(" and {} more", paths.size() - kMostListed);
  return text;
}

// "-00002-of-00003.gguf": a later part of a split, which nobody names.
bool IsLaterPart(const std::string& name) {
  const size_t at = name.rfind("-of-");
  return at != std::string::npos && at >= 6 && name.substr(at - 6, 6) != "-00001" &&
         name[at - 6] == '-';
}

bool IsSafetensorsName(const fs::path& path) {
  return path.extension() == ".safetensors" || path.filename() == "model.safetensors.index.json";
}

bool IsPytorchName(const fs::path& path) {
  const std::string extension = path.extension().string();
  return extension == ".bin" || extension == ".pt" || extension == ".pth" || extension == ".ckpt";
}

struct Contents {
  std::vector<fs::path> gguf;
  std::vector<fs::path> pytorch;
  std::vector<fs::path> models;  // folders with a config.json or a GGUF file
  bool is_adapter = false;
};

Contents Look(const fs::path& folder) {
  Contents contents;
  std::error_code error;
  for (const fs::path& entry : Entries(folder)) {
    if (entry.filename() == "adapter_config.json") contents.is_adapter = true;
    if (fs::is_directory(entry, error)) {
      if (HasEntry(entry / "config.json")) contents.models.push_back(entry);
      continue;
    }
    const std::string name = entry.filename().string();
    const FileNature nature = SniffFile(entry);
    if (nature.kind == FileKind::kGguf || entry.extension() == ".gguf") {
      if (!IsLaterPart(name)) contents.gguf.push_back(entry);
    } else if (nature.kind == FileKind::kForeign && IsPytorchName(entry)) {
      contents.pytorch.push_back(entry);
    }
  }
  return contents;
}

// Of a folder "models--OWNER--NAME" of huggingface_hub's cache: its snapshots, that of refs/main
// first.
std::vector<fs::path> Snapshots(const fs::path& folder) {
  std::vector<fs::path> snapshots = Entries(folder / "snapshots");
  std::string main;
  std::ifstream(folder / "refs" / "main") >> main;
  std::stable_partition(snapshots.begin(), snapshots.end(),
                        [&](const fs::path& path) { return path.filename() == main; });
  return snapshots;
}

std::string OtherWeights(const Contents& contents) {
  if (contents.gguf.size() == 1) {
    return fmt::format("; it holds a GGUF file, which is given by its own name: {}",
                       contents.gguf.front().string());
  }
  if (!contents.gguf.empty()) {
    return fmt::format("; it holds {} GGUF files, of which one is given by its own name: {}",
                       contents.gguf.size(), Listed(contents.gguf, /*in_full=*/true));
  }
  if (!contents.pytorch.empty()) {
    return fmt::format(
        "; it holds {}, PyTorch weights, which are not read: save the model as safetensors",
        Listed(contents.pytorch, /*in_full=*/false));
  }
  return "";
}

std::string WhatItHolds(const Contents& contents) {
  const std::string weights = OtherWeights(contents);
  if (!weights.empty()) return weights;
  if (contents.is_adapter) {
    return "; it holds an adapter (adapter_config.json), which is to be merged into its model";
  }
  if (!contents.models.empty()) {
    return fmt::format("; {} below it {} a model", Listed(contents.models, /*in_full=*/true),
                       contents.models.size() == 1 ? "is" : "are each");
  }
  return "";
}

}  // namespace

bool HasEntry(const fs::path& path) {
  std::error_code error;
  return fs::exists(fs::symlink_status(path, error));
}

bool HasSafetensors(const fs::path& folder) {
  return std::ranges::any_of(Entries(folder), IsSafetensorsName);
}

ModelForm FindModelForm(const fs::path& model) {
  std::error_code error;
  if (fs::is_directory(model, error)) return ModelForm::kFolder;
  const MappedFile file(model);
  const FileNature nature = SniffFile(file.bytes(), file.size_bytes());
  switch (nature.kind) {
    case FileKind::kGguf:
      return ModelForm::kGguf;
    case FileKind::kJson:
      return ModelForm::kJson;
    case FileKind::kSafetensors: {
      const fs::path folder = fs::absolute(model, error).parent_path();
      throw InputError(fmt::format(
          "{}: one safetensors file, expected the folder that holds it beside its config.json, {}, "
          "or a .gguf file",
          file.path(), folder.string()));
    }
    case FileKind::kUnknown:
      throw InputError(fmt::format("{}: not a GGUF file but {}, {}", file.path(),
                                   nature.description, kExpected));
    case FileKind::kForeign:
      break;
  }
  throw InputError(fmt::format("{}: {}, {}", file.path(), nature.description, kExpected));
}

void RefuseFolder(const fs::path& folder, std::string_view missing, std::string_view expected) {
  std::error_code error;
  if (fs::is_directory(folder / "snapshots", error)) {
    const std::vector<fs::path> snapshots = Snapshots(folder);
    throw InputError(fmt::format(
        "{}: a folder of the Hugging Face hub's cache, expected the folder of a snapshot in it: {}",
        folder.string(), snapshots.empty() ? "it has none" : Listed(snapshots, /*in_full=*/true)));
  }
  throw InputError(fmt::format("{}: {}, expected {}{}", folder.string(), missing, expected,
                               WhatItHolds(Look(folder))));
}

void RefuseFolderOfOtherWeights(const fs::path& folder) {
  if (HasSafetensors(folder)) return;
  const std::string other = OtherWeights(Look(folder));
  if (other.empty()) return;
  throw InputError(fmt::format("{}: has no *.safetensors files, expected a Hugging Face folder{}",
                               folder.string(), other));
}

}  // namespace kvfold

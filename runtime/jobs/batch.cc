#include "runtime/jobs/batch.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <numeric>
#include <utility>

#include "models/quoted.h"
#include "models/tokenizer/utf8.h"
#include "runtime/fold/shared_prefix.h"
#include "runtime/jobs/request_hash.h"
#include "runtime/jobs/text_input.h"

namespace kvfold {

Batch::Batch(BatchOptions options, BatchModel model, const OutputPlace& output)
    : options_(std::move(options)),
      model_(std::move(model)),
      requests_(model_.path, *model_.config, options_.chat, options_.max_tokens),
      results_(output, options_.retry_errors, model_.transport) {
  Read();
  Group();
}

void Batch::Read() {
  const std::string name = InputName(options_.prompts);
  const std::string text = ReadInput(options_.prompts, options_.on_wait);
  if (const std::string_view other = OtherUnicode(text); !other.empty())
    throw InputError(fmt::format("{} is {}, expected JSON lines in UTF-8", name, other));
  if (PromptLineText(text).starts_with('['))
    throw InputError(fmt::format("{} is a JSON array, expected one JSON object a line", name));
  int64_t n_lines = 0;
  std::vector<BadLine> bad;
  for (size_t begin = 0, number = 1; begin < text.size(); ++number) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = std::string_view(text).substr(begin, end - begin);
    begin = end + 1;
    if (PromptLineText(line).empty()) continue;
    if (options_.on_wait) options_.on_wait();
    ++n_lines;
    try {
      TakeLine(line);
    } catch (const BadLineError& error) {
      // Its place among the jobs is kept, and gets a name when all names are known.
      bad.push_back({.text = std::string(line), .number = number, .job = jobs_.size()});
      jobs_.emplace_back().error =
          InputError(Printable(fmt::format("{}, line {}: {}", name, number, error.what())));
    }
  }
  documents_.clear();
  document_ = {};
  if (n_lines > 0 && n_lines == static_cast<int64_t>(bad.size())) {
    const std::string first = jobs_[bad.front().job].error->what();
    throw InputError(
        n_lines == 1 ? first : fmt::format("{} (none of the {} lines can be run)", first, n_lines));
  }
  NameBadLines(bad);
}

void Batch::TakeLine(std::string_view text) {
  PromptLine line;
  try {
    line = ParsePromptLine(text, options_.defaults);
    if (!ids_.insert(line.id).second)
      throw InputError(fmt::format("id {} stands there twice", Quoted(line.id)));
  } catch (const InputError& error) {
    throw BadLineError(error.what());
  }
  if (line.document != document_.path) ReadDocument(line.document);
  const std::string key = Key(line, text, document_.text);
  if (results_.Done(line.id, key, Key(line, text, ""))) {
    ++already_done_;
  } else {
    jobs_.push_back(MakeJob(line, key));
  }
}

void Batch::ReadDocument(const std::string& path) {
  document_ = {.path = path};
  if (path.empty()) return;
  results_.RefuseDocument(path);
  try {
    const bool read_before = !documents_read_.insert(path).second;
    document_.text = AsText(ReadInput(path, options_.on_wait), path, read_before);
  } catch (const InputError& error) {
    document_.problem = error;
  }
}

// By the id that can be read in them and no other line has, else by their number.
void Batch::NameBadLines(const std::vector<BadLine>& bad) {
  std::vector<size_t> done;
  for (const BadLine& line : bad) {
    Job& job = jobs_[line.job];
    job.key = Key(options_.defaults, line.text, "");
    job.request.id = PromptLineId(line.text);
    const bool has_id = !job.request.id.empty() && ids_.insert(job.request.id).second;
    if (!has_id) {
      job.request.id = fmt::format("line {}", line.number);
      while (!ids_.insert(job.request.id).second) job.request.id += " (bad)";
    }
    try {
      if (results_.Done(job.request.id, job.key)) done.push_back(line.job);
    } catch (const InputError&) {
      // Of another bad line that stood there before: this one's record comes behind.
      if (has_id) throw;
    }
  }
  already_done_ += static_cast<int64_t>(done.size());
  for (auto job = done.rbegin(); job != done.rend(); ++job)
    jobs_.erase(jobs_.begin() + static_cast<int64_t>(*job));
}

std::string Batch::Key(const PromptLine& line, std::string_view text,
                       const std::string& document) const {
  return RequestHash({text, document, fmt::format("{:016x}", model_.fingerprint),
                      fmt::format("{} {} {} {} {} {} {} {}", model_.n_ranks, options_.fold.chunk,
                                  options_.fold.attention_name(), DTypeName(model_.dtype),
                                  DTypeName(model_.kv_dtype), DTypeName(model_.sum_dtype),
                                  options_.chat, line.max_new_tokens),
                      fmt::format("{} {} {} {}", line.sampling.temperature, line.sampling.top_k,
                                  line.sampling.top_p, line.sampling.seed)});
}

// Of a line whose document was read.
Job Batch::MakeJob(const PromptLine& line, const std::string& key) {
  Job job;
  job.key = key;
  try {
    if (document_.problem) throw *document_.problem;
    if (!line.document.empty()) job.document = RequestHash({line.document, document_.text});
    job.request = requests_.Make(line, document_.text);
    if (!job.document.empty()) job.request.tokens = Held(job.request.tokens, job.document);
  } catch (const InputError& error) {
    job.error = InputError(Printable(error.what()));
    job.request.id = line.id;
  }
  return job;
}

// Requests of one document hold its ids once, in those of the first of them.
PromptTokens Batch::Held(const PromptTokens& tokens, const std::string& document) {
  const std::vector<TokenId> ids = tokens.Slice(0, tokens.size());
  PromptTokens::Whole& whole = documents_[document];
  if (whole == nullptr) whole = std::make_shared<const std::vector<TokenId>>(ids);
  return PromptTokens::Sharing(ids, whole);
}

void Batch::Group() {
  std::vector<DocumentPrompt> prompts;
  for (const Job& job : jobs_)
    prompts.push_back({job.error ? std::string() : job.document, &job.request.tokens});
  groups_ = GroupByDocument(prompts, Chunk());
}

int64_t Batch::Chunk() const {
  int64_t longest_prompt = 1;
  for (const Job& job : jobs_) {
    if (!job.error)
      longest_prompt = std::max(longest_prompt, static_cast<int64_t>(job.request.tokens.size()));
  }
  return options_.fold.ChunkOf(longest_prompt);
}

int64_t Batch::concurrency() const {
  return std::clamp<int64_t>(options_.concurrency, 1, std::max<size_t>(1, jobs_.size()));
}

// What those requests take that take most together: so many as may run at a time, the prefix of
// those that share one counted once.
int64_t Batch::CacheTokens() const {
  std::vector<int64_t> tokens;
  for (const DocumentGroup& group : groups_) {
    std::vector<int64_t> of_group;
    for (const size_t member : group.members) {
      if (jobs_[member].error) continue;
      of_group.push_back(
          OwnCacheTokens(Scheduler::CacheTokens(jobs_[member].request), group.shared_tokens));
    }
    if (of_group.empty()) continue;
    *std::ranges::max_element(of_group) += group.shared_tokens;
    tokens.insert(tokens.end(), of_group.begin(), of_group.end());
  }
  std::ranges::sort(tokens, std::greater());
  tokens.resize(std::min(tokens.size(), static_cast<size_t>(concurrency())));
  return std::max<int64_t>(1, std::accumulate(tokens.begin(), tokens.end(), int64_t{0}));
}

Workload Batch::workload() const {
  const bool shares = std::ranges::any_of(
      groups_, [](const DocumentGroup& group) { return group.shared_tokens > 0; });
  return {.tokens = options_.max_tokens > 0 ? options_.max_tokens : CacheTokens(),
          .chunk = Chunk(),
          .concurrency = concurrency(),
          .idle = shares ? 1 : 0,  // a shared prefix waits in a sequence of its own
          .gather_rows = concurrency()};
}

}  // namespace kvfold

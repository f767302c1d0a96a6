#include "launcher/batch_inputs.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <numeric>
#include <string_view>

#include "launcher/ranks/stop_signal.h"
#include "launcher/text_input.h"
#include "models/chat/turn_end.h"
#include "models/quoted.h"
#include "models/tokenizer/utf8.h"
#include "runtime/fold/shared_prefix.h"
#include "runtime/jobs/request_hash.h"

namespace kvfold {
namespace {

constexpr const char* kNothingBegun = "nothing was begun; the same command goes on";

// While pipes are waited for.
void StopReading() { ThrowIfStopped(kNothingBegun); }
void StopWriting() { ThrowIfStopped("not all was written; the same command begins again"); }

}  // namespace

BatchInputs::BatchInputs(const RunOptions& options, const LoadedModel& model, int n_ranks)
    : options_(options), model_(model), n_ranks_(n_ranks) {
  CheckSamplingOptions(options.sampling);
  CheckStandardInput({{"--prompts", options.prompts},
                      {"--prompt-file", options.prompt_file},
                      {"--document", options.document}});
  try {
    tokenizer_ = Tokenizer::Open(model.path());
  } catch (const InputError& error) {
    tokenizer_trouble_ = fmt::format(
        "{}: give token ids, as the field \"tokens\" of a line of --prompts", error.what());
  }
  try {
    chat_template_ = ChatTemplate::Open(model.path());
  } catch (const InputError& error) {
    chat_trouble_ = error.what();
  }
  if (chat_template_ != nullptr && tokenizer_ != nullptr)
    turn_end_ids_ = TurnEndIds(model.path(), *chat_template_, *tokenizer_);
  if (options.prompts.empty()) {
    jobs_.push_back(Single());
    if (jobs_.front().error) throw *jobs_.front().error;
  } else {
    std::vector<NamedFile> others = {ReadBy("--prompts", options.prompts),
                                     ReadBy("--model", model.path())};
    // Into "-" the log may go too, where both are sent to one file: neither writes over the other.
    if (options.output != "-") others.push_back(StandardError());
    if (options.model.json) others.push_back(StandardOutput("--json"));
    results_ = std::make_unique<ResultFile>(OutputPlace(options.output, others, StopWriting),
                                            options.retry_errors, model.transport());
    ReadBatch();
  }
  Group();
}

PromptLine BatchInputs::Defaults() const {
  PromptLine line;
  line.max_new_tokens = options_.max_new_tokens;
  line.sampling = options_.sampling;
  return line;
}

Job BatchInputs::Single() {
  PromptLine line = Defaults();
  line.id = "prompt";
  line.document = options_.document;
  const auto read = [](const std::string& path) {
    return AsText(ReadInput(path, kNothingBegun), InputName(path));
  };
  line.prompt = options_.prompt ? *options_.prompt : read(options_.prompt_file);
  const std::string document = line.document.empty() ? "" : read(line.document);
  return MakeJob(line, Key(line, "", document), document, {});
}

void BatchInputs::ReadBatch() {
  const std::string name = InputName(options_.prompts);
  const std::string text = ReadInput(options_.prompts, kNothingBegun);
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
    ThrowIfStopped(kNothingBegun);
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

void BatchInputs::TakeLine(std::string_view text) {
  PromptLine line;
  try {
    line = ParsePromptLine(text, Defaults());
    if (!ids_.insert(line.id).second)
      throw InputError(fmt::format("id {} stands there twice", Quoted(line.id)));
  } catch (const InputError& error) {
    throw BadLineError(error.what());
  }
  if (line.document != document_.path) ReadDocument(line.document);
  const std::string key = Key(line, text, document_.text);
  if (results_->Done(line.id, key, Key(line, text, ""))) {
    ++already_done_;
  } else {
    jobs_.push_back(MakeJob(line, key, document_.text, document_.trouble));
  }
}

void BatchInputs::ReadDocument(const std::string& path) {
  document_ = {.path = path};
  if (path.empty()) return;
  results_->RefuseDocument(path);
  try {
    const bool read_before = !documents_read_.insert(path).second;
    document_.text = AsText(ReadTextFile(path, StopReading), path, read_before);
  } catch (const InputError& error) {
    document_.trouble = error;
  }
}

// By the id that can be read in them and no other line has, else by their number.
void BatchInputs::NameBadLines(const std::vector<BadLine>& bad) {
  std::vector<size_t> done;
  for (const BadLine& line : bad) {
    Job& job = jobs_[line.job];
    job.key = Key(Defaults(), line.text, "");
    job.request.id = PromptLineId(line.text);
    const bool has_id = !job.request.id.empty() && ids_.insert(job.request.id).second;
    if (!has_id) {
      job.request.id = fmt::format("line {}", line.number);
      while (!ids_.insert(job.request.id).second) job.request.id += " (bad)";
    }
    try {
      if (results_->Done(job.request.id, job.key)) done.push_back(line.job);
    } catch (const InputError&) {
      // Of another bad line that stood there before: this one's record comes behind.
      if (has_id) throw;
    }
  }
  already_done_ += static_cast<int64_t>(done.size());
  for (auto job = done.rbegin(); job != done.rend(); ++job)
    jobs_.erase(jobs_.begin() + static_cast<int64_t>(*job));
}

std::string BatchInputs::Key(const PromptLine& line, std::string_view text,
                             const std::string& document) const {
  const ModelOptions& m = options_.model;
  return RequestHash(
      {text, document, fmt::format("{:016x}", model_.fingerprint()),
       fmt::format("{} {} {} {} {} {} {} {}", n_ranks_, m.chunk, m.attention,
                   DTypeName(model_.dtype()), DTypeName(CacheDType(m, model_.dtype())),
                   DTypeName(model_.sum_dtype()), options_.chat, line.max_new_tokens),
       fmt::format("{} {} {} {}", line.sampling.temperature, line.sampling.top_k,
                   line.sampling.top_p, line.sampling.seed)});
}

Job BatchInputs::MakeJob(const PromptLine& line, const std::string& key,
                         const std::string& document, const std::optional<InputError>& trouble) {
  Job job;
  job.request.id = line.id;
  job.key = key;
  if (trouble) {
    job.error = InputError(Printable(trouble->what()));
    return job;
  }
  if (!line.document.empty()) job.document = RequestHash({line.document, document});
  try {
    const PromptEncoder encoder(tokenizer_.get(), tokenizer_trouble_, chat_template_.get(),
                                chat_trouble_, options_.chat);
    job.request.tokens = Held(encoder.Encode(line, document), job.document);
    job.request.max_new_tokens = line.max_new_tokens;
    job.request.sampling = line.sampling;
    job.request.stop = line.stop;
    if (line.messages || (options_.chat && !line.tokens)) job.request.end_ids = turn_end_ids_;
    if (!line.stop.empty() && tokenizer_ == nullptr) throw InputError(tokenizer_trouble_);
    constexpr int64_t kAsMuchAsIsAsked = std::numeric_limits<int64_t>::max();
    const int64_t most = options_.model.max_tokens;
    Scheduler::Check(job.request, model_.config(), most > 0 ? most : kAsMuchAsIsAsked);
  } catch (const InputError& error) {
    job.error = InputError(Printable(error.what()));
    job.request.tokens = {};
  }
  return job;
}

// Requests of one document hold its ids once, in those of the first of them.
PromptTokens BatchInputs::Held(std::vector<TokenId> tokens, const std::string& document) {
  if (document.empty() || results_ == nullptr) return tokens;
  PromptTokens::Whole& whole = documents_[document];
  if (whole == nullptr) {
    tokens.shrink_to_fit();
    whole = std::make_shared<const std::vector<TokenId>>(std::move(tokens));
    return PromptTokens::Sharing(*whole, whole);
  }
  return PromptTokens::Sharing(tokens, whole);
}

void BatchInputs::Group() {
  std::vector<DocumentPrompt> prompts;
  for (const Job& job : jobs_)
    prompts.push_back({job.error ? std::string() : job.document, &job.request.tokens});
  groups_ = GroupByDocument(prompts, Chunk());
}

int64_t BatchInputs::Chunk() const {
  int64_t longest_prompt = 1;
  for (const Job& job : jobs_) {
    if (!job.error)
      longest_prompt = std::max(longest_prompt, static_cast<int64_t>(job.request.tokens.size()));
  }
  return options_.model.attention_mode() == AttentionMode::kFull
             ? longest_prompt
             : std::min(options_.model.chunk, longest_prompt);
}

int64_t BatchInputs::concurrency() const {
  return std::clamp<int64_t>(options_.concurrency, 1, std::max<size_t>(1, jobs_.size()));
}

// What those requests take that take most together: so many as may run at a time, the prefix of
// those that share one counted once.
int64_t BatchInputs::CacheTokens() const {
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

EngineOptions BatchInputs::Sizes() const {
  const bool shares = std::ranges::any_of(
      groups_, [](const DocumentGroup& group) { return group.shared_tokens > 0; });
  EngineOptions sizes;
  // A shared prefix waits in a sequence of its own, beside those that run.
  sizes.max_sequences = concurrency() + (shares ? 1 : 0);
  sizes.max_tokens = options_.model.max_tokens > 0 ? options_.model.max_tokens : CacheTokens();
  sizes.max_chunk = Chunk();
  sizes.max_step_rows = sizes.max_chunk * concurrency();
  sizes.max_gather_rows = concurrency();
  sizes.max_logit_rows = std::max(kRowPadding, concurrency());
  return sizes;
}

}  // namespace kvfold

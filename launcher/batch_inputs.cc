#include "launcher/batch_inputs.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <numeric>
#include <set>
#include <sstream>

#include "launcher/stop_signal.h"
#include "runtime/fold/shared_prefix.h"
#include "runtime/jobs/request_hash.h"

namespace kvfold {
namespace {

// While pipes are waited for.
void StopReading() { ThrowIfStopped("nothing was begun; the same command goes on"); }
void StopWriting() { ThrowIfStopped("not all was written; the same command begins again"); }

}  // namespace

BatchInputs::BatchInputs(const RunOptions& options, const LoadedModel& model, int n_ranks)
    : options_(options), model_(model), n_ranks_(n_ranks) {
  CheckSamplingOptions(options.sampling);
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
  line.prompt =
      options_.prompt ? *options_.prompt : ReadTextFile(options_.prompt_file, StopReading);
  const std::string document = line.document.empty() ? "" : ReadTextFile(line.document);
  return MakeJob(line, Key(line, "", document), document, {});
}

void BatchInputs::ReadBatch() {
  std::istringstream lines(ReadTextFile(options_.prompts, StopReading));
  std::set<std::string> ids;
  std::string text;
  for (int64_t number = 1; std::getline(lines, text); ++number) {
    if (text.find_first_not_of(" \t\r") == std::string::npos) continue;
    ThrowIfStopped("nothing was begun; the same command goes on");
    PromptLine line;
    try {
      line = ParsePromptLine(text, Defaults());
      if (!ids.insert(line.id).second)
        throw InputError(fmt::format("id \"{}\" stands there twice", line.id));
    } catch (const InputError& error) {
      throw InputError(fmt::format("{}, line {}: {}", options_.prompts, number, error.what()));
    }
    if (!line.document.empty()) results_->RefuseDocument(line.document);
    std::string document;
    std::optional<InputError> trouble;
    try {
      if (!line.document.empty()) document = ReadTextFile(line.document);
    } catch (const InputError& error) {
      trouble = error;
    }
    const std::string key = Key(line, text, document);
    if (results_->Done(line.id, key, Key(line, text, ""))) {
      ++already_done_;
    } else {
      jobs_.push_back(MakeJob(line, key, document, trouble));
    }
  }
}

std::string BatchInputs::Key(const PromptLine& line, const std::string& text,
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
                         const std::string& document,
                         const std::optional<InputError>& trouble) const {
  Job job;
  job.request.id = line.id;
  job.key = key;
  job.error = trouble;
  if (job.error) return job;
  if (!line.document.empty()) job.document = RequestHash({line.document, document});
  try {
    const PromptEncoder encoder(tokenizer_.get(), tokenizer_trouble_, chat_template_.get(),
                                chat_trouble_, options_.chat);
    job.request.tokens = encoder.Encode(line, document);
    job.request.max_new_tokens = line.max_new_tokens;
    job.request.sampling = line.sampling;
    job.request.stop = line.stop;
    if (!line.stop.empty() && tokenizer_ == nullptr) throw InputError(tokenizer_trouble_);
    constexpr int64_t kAsMuchAsIsAsked = std::numeric_limits<int64_t>::max();
    const int64_t most = options_.model.max_tokens;
    Scheduler::Check(job.request, model_.config(), most > 0 ? most : kAsMuchAsIsAsked);
  } catch (const InputError& error) {
    job.error = error;
  }
  return job;
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

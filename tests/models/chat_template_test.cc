// Chat templates against transformers' rendering (scripts/make_tokenizer_fixtures.py), and what
// must be refused.
#include "models/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ctime>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <regex>

#include "comm/error.h"
#include "gguf_writer.h"
#include "models/chat/jinja_evaluator.h"
#include "models/chat/jinja_parser.h"
#include "temp_folder.h"

namespace kvfold {
namespace {

using Json = nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

Json Fixture(const std::string& name) {
  std::ifstream file(std::filesystem::path(KVFOLD_FIXTURES) / "chat" / name);
  return Json::parse(file);
}

std::string TemplateOf(const std::string& name) {
  for (const Json& item : Fixture("cases.json")) {
    if (item["name"] == name) return item["template"];
  }
  throw std::runtime_error("no template " + name);
}

void ExpectRenderings(const ChatTemplate& chat, const Json& renderings) {
  EXPECT_GT(renderings.size(), 20u);
  for (const Json& rendering : renderings) {
    std::vector<ChatMessage> messages;
    for (const Json& message : rendering["messages"]) {
      messages.push_back({message["role"], message["content"]});
    }
    EXPECT_EQ(chat.Render(messages), rendering["text"].get<std::string>()) << rendering["messages"];
  }
}

TEST(ChatTemplate, RendersAsTransformers) {
  const Json cases = Fixture("cases.json");
  EXPECT_EQ(cases.size(), 4u);
  for (const Json& item : cases) {
    SCOPED_TRACE(item["name"]);
    const auto chat = ChatTemplate::Recognise(item["template"], item["bos_token"]);
    EXPECT_TRUE(item["name"].get<std::string>().starts_with(chat->name())) << chat->name();
    ExpectRenderings(*chat, item["renderings"]);
  }
}

TEST(ChatTemplate, RendersTheDemoModelsAsTransformers) {
  const char* model = std::getenv("KVFOLD_DEMO_MODEL");
  if (model == nullptr || *model == 0) {
    GTEST_SKIP() << "KVFOLD_DEMO_MODEL is not set; scripts/test.sh fetches the demo model.";
  }
  const auto chat = ChatTemplate::Open(model);
  EXPECT_EQ(chat->name(), "chatml");
  ExpectRenderings(*chat, Fixture("smollm2.json"));
}

std::string Replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  if (at == std::string::npos) throw std::runtime_error("no " + from);
  return text.replace(at, from.size(), to);
}

void Refuses(const std::string& source, const std::string& why) {
  EXPECT_THAT(
      [&] { ChatTemplate::Recognise(source, "<s>"); },
      ThrowsMessage<InputError>(AllOf(HasSubstr("recognised neither as ChatML nor as Llama 3"),
                                      HasSubstr(why), HasSubstr("--prompt"))))
      << source;
}

TEST(ChatTemplate, RefusesEveryDeviation) {
  const std::string chatml = TemplateOf("chatml");
  const std::string llama3 = TemplateOf("llama3");
  Refuses(Replaced(chatml, "assistant\\n", "assistant\\n<think>\\n"), "it writes");
  Refuses(Replaced(chatml, "<|im_end|>", "<|im_stop|>"), "it writes");
  Refuses(Replaced(chatml, "message['content']", "message['content'] | trim"), "it writes");
  Refuses(Replaced(chatml, "message['role']",
                   "('human' if message['role'] == 'user' else message['role'])"),
          "it writes");
  Refuses(Replaced(chatml, "messages %}", "messages[-1:] %}"), "it writes");
  Refuses(Replaced(chatml, "{% endfor %}", "{% endfor %} "), "it writes");
  Refuses(
      Replaced(
          chatml, "{% endfor %}",
          "{% if loop is undefined %}x{% endif %}{% endfor %}{{ 'x' if messages | length == 4 }}"),
      "it writes");
  Refuses(Replaced(llama3, " | trim", ""), "it writes");
  Refuses(Replaced(llama3, "\\n\\n", "\\n"), "it writes");
  Refuses(Replaced(llama3, "<|start_header_id|>assistant", "<|start_header_id|>model"),
          "it writes");
  Refuses(Replaced(llama3, "{{ '<|start_header_id|>assistant",
                   "{{ '<|eot_id|><|start_header_id|>assistant"),
          "it writes");
  Refuses("{{ messages[0].content }}", "it writes");
  Refuses("", "it writes");
}

TEST(ChatTemplate, RefusesWhatItCannotEvaluate) {
  const std::string chatml = TemplateOf("chatml");
  const auto with = [&](const std::string& before) { return before + chatml; };
  Refuses(with("\n{{ eos_token }}"), "line 2 has eos_token");
  Refuses(with("{{ messages | tojson }}"), "the filter \"tojson\"");
  Refuses(with("{{ messages[0].content.strip() }}"), "the attribute \"strip\"");
  Refuses(with("{{ namespace(x=1) }}"), "namespace");
  Refuses(with("{{ messages }}"), "a value that is printed");
  Refuses(with("{% if 'x' in messages[0].content %}{% endif %}"), "an 'in'");
  Refuses(with("{% if messages is iterable %}{% endif %}"), "the test \"iterable\"");
  Refuses(with("{% for x in tools %}{% endfor %}"), "a loop over something other");
  Refuses(with("{% macro f() %}{% endmacro %}"), "\"macro\"");
  Refuses(with("{% generation %}{% endgeneration %}"), "\"generation\"");
  Refuses(with("{% set ns.x = 1 %}"), "\".\"");
  Refuses(with("{% if 1 %}"), "delimiter");
  Refuses(with("{% endif %}"), "\"endif\"");
  Refuses(chatml + "{{ 'a }}", "a string that does not end");
  Refuses(chatml + "{{ 'a' ", "a tag that does not end");
  Refuses(with("{# a"), "a comment that does not end");
  Refuses(with("{{ 'a\\x41' }}"), "the escape");
  Refuses(with("{{ 1.5 }}"), "where it is not supported");
  Refuses(with("{{ 12345678901 }}"), "the number");
  Refuses(with("{{ a.b.c }}"), "the attribute \"b\"");
  Refuses(with("{{ a > b }}"), "\">\"");
  Refuses(with("{{ raise_exception('no such thing') }}"), "it says \"no such thing\"");
  Refuses("\xFF", "not UTF-8");
}

// Neither the stack nor the memory nor the clock is spent by a template made to spend them.
TEST(ChatTemplate, RefusesHostileTemplates) {
  const auto repeated = [](const std::string& text, int n) {
    std::string all;
    for (int i = 0; i < n; ++i) all += text;
    return all;
  };
  Refuses("{{ " + repeated("(", 100'000), "not supported");
  Refuses("{{ " + repeated("not ", 100'000) + "x }}", "not supported");
  Refuses("{{ x" + repeated(" + x", 100'000) + " }}", "not supported");
  Refuses("{{ x" + repeated(".x", 100'000) + " }}", "not supported");
  Refuses("{{ [" + repeated("[", 100'000), "not supported");
  Refuses(repeated("{% if 1 %}", 50'000), "not supported");
  Refuses("{% if 1 %}" + repeated("{% elif 1 %}", 50'000), "not supported");
  Refuses("{% set x = 'aaaaaaaaaaaaaaaa' %}" + repeated("{% set x = x + x %}", 60), "more work");
  Refuses(repeated("{% for a in messages %}", 60) + "{{ 'x' }}" + repeated("{% endfor %}", 60),
          "more work");
  Refuses(std::string(2 << 20, ' '), "bytes long");
}

// Every cut and mutation is refused in a sentence or renders.
TEST(ChatTemplate, SurvivesMutatedTemplates) {
  const std::string whole = TemplateOf("llama3_with_date");
  std::mt19937 random(3);
  for (int round = 0; round < 3000; ++round) {
    std::string text = whole;
    if (round % 3 == 0) text.resize(random() % text.size());
    for (int i = 0; i < 2 && !text.empty(); ++i)
      text[random() % text.size()] = "{}%#-+'\"[]().|~=: x1\n"[random() % 21];
    try {
      ChatTemplate::Recognise(text, "<s>");
    } catch (const InputError&) {
    }
  }
}

TEST(ChatTemplate, WritesToday) {
  const std::string source = Replaced(TemplateOf("llama3_with_date"), "strftime_now is not defined",
                                      "strftime_now is defined");
  const auto chat = ChatTemplate::Recognise(source, "");
  const auto today = [] {
    const std::time_t now = std::time(nullptr);
    std::tm local{};
    localtime_r(&now, &local);
    char text[64];
    return std::string(text,
                       std::strftime(text, sizeof(text), "Written before: %d %b %Y\n\n", &local));
  };
  const std::string before = today();
  const std::string text = chat->Render(std::vector<ChatMessage>{{"user", "q"}});
  EXPECT_THAT(text, testing::AnyOf(HasSubstr(before), HasSubstr(today())));  // midnight may pass
}

TEST(ChatTemplate, RefusesWrongConversations) {
  const auto chat = ChatTemplate::Recognise(TemplateOf("chatml"), "");
  const auto refuses = [&](const std::vector<ChatMessage>& messages, const std::string& why) {
    EXPECT_THAT([&] { chat->Render(messages); }, ThrowsMessage<InputError>(HasSubstr(why)));
  };
  refuses({}, "no messages");
  refuses({{"user", "a"}, {"tool", "b"}}, "message 1 has the role \"tool\"");
  refuses({{"user", "ab\xFF"}}, "message 0 is not UTF-8 at byte 2");
  const auto picky = ChatTemplate::Recognise(
      "{% if messages[0].content == 'x' %}{{ raise_exception('no x') }}{% endif %}" +
          TemplateOf("chatml"),
      "");
  EXPECT_THAT(
      [&] {
        picky->Render(std::vector<ChatMessage>{{"user", "x"}});
      },
      ThrowsMessage<InputError>(HasSubstr("it says \"no x\"")));
}

TEST(ChatTemplate, OpensFoldersAndGguf) {
  TempFolder folder;
  EXPECT_THAT(
      [&] { ChatTemplate::Open(folder.path()); },
      ThrowsMessage<InputError>(AllOf(HasSubstr("has no chat template"), HasSubstr("--prompt"))));
  Json config = {{"chat_template", TemplateOf("llama3")},
                 {"bos_token", {{"content", "<|begin|>"}}}};
  folder.Write("tokenizer_config.json", config.dump());
  EXPECT_EQ(ChatTemplate::Open(folder.path())->name(), "llama3");
  EXPECT_THAT(ChatTemplate::Open(folder.path())->Render(std::vector<ChatMessage>{{"user", "q"}}),
              testing::StartsWith("<|begin|>"));
  config["chat_template"] =
      Json::array({{{"name", "tool_use"}, {"template", "x"}},
                   {{"name", "default"}, {"template", TemplateOf("chatml")}}});
  folder.Write("tokenizer_config.json", config.dump());
  EXPECT_EQ(ChatTemplate::Open(folder.path())->name(), "chatml");
  folder.Write("chat_template.jinja", TemplateOf("llama3"));  // comes first
  EXPECT_EQ(ChatTemplate::Open(folder.path())->name(), "llama3");
  folder.Write("chat_template.jinja", "{{ 'hello' }}");
  EXPECT_THAT([&] { ChatTemplate::Open(folder.path()); },
              ThrowsMessage<InputError>(HasSubstr(folder.path().string())));
  for (const char* wrong :
       {"{", "[]", "{\"chat_template\": 3}", "{\"chat_template\": [3]}", "{\"bos_token\": 3}"}) {
    TempFolder other;
    other.Write("tokenizer_config.json", wrong);
    EXPECT_THAT([&] { ChatTemplate::Open(other.path()); },
                ThrowsMessage<InputError>(HasSubstr("tokenizer_config.json")))
        << wrong;
  }

  GgufWriter writer;
  writer.String("tokenizer.chat_template", TemplateOf("llama3"));
  writer.StringArray("tokenizer.ggml.tokens", {"a", "<|first|>"});
  writer.Uint32("tokenizer.ggml.bos_token_id", 1);
  const auto chat = ChatTemplate::Open(folder.Write("model.gguf", writer.Bytes()));
  EXPECT_EQ(chat->Render(std::vector<ChatMessage>{{"user", " q "}}),
            "<|first|><|start_header_id|>user<|end_header_id|>\n\nq<|eot_id|><|start_header_id|>"
            "assistant<|end_header_id|>\n\n");
  EXPECT_THAT([&] { ChatTemplate::Open(folder.Write("none.gguf", GgufWriter().Bytes())); },
              ThrowsMessage<InputError>(HasSubstr("has no chat template")));
}

// White space control, by what Jinja 3.1 with trim_blocks and lstrip_blocks writes for the same
// source.
TEST(Jinja, ControlsWhiteSpace) {
  const std::vector<ChatMessage> messages = {{"user", "u"}};
  const auto render = [&](const std::string& source) {
    return jinja::Render(jinja::Parse(source), messages, "B");
  };
  EXPECT_EQ(render("a\n  {% if 1 %}\n b\n  {% endif %}\nc\n"), "a\n b\nc");
  EXPECT_EQ(render("a\n  {%+ if 1 %}\n b\n  {%- endif +%}\nc\n\n"), "a\n   b\nc\n");
  EXPECT_EQ(render("a  {% if 1 -%} \n b {{- 'x' -}} \n {{ 'y' }}\n{% endif %}"), "a  bxy\n");
  EXPECT_EQ(render("  {# note #}\n a {#- b -#} \n c"), " ac");
  EXPECT_EQ(render("a\r\nb\r{{ 'x\ny' }}"), "a\nb\nx\ny");
}

}  // namespace
}  // namespace kvfold

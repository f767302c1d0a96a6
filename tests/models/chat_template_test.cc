// Chat templates against transformers' rendering (scripts/make_tokenizer_fixtures.py), and what
// must be refused.
#include "models/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ctime>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>

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

Json CaseOf(const std::string& name) {
  for (Json& item : Fixture("cases.json")) {
    if (item["name"] == name) return item;
  }
  throw std::runtime_error("no template " + name);
}
std::string TemplateOf(const std::string& name) { return CaseOf(name)["template"]; }

ChatVariables Variables(const Json& object) {
  ChatVariables variables;
  for (const auto& [name, text] : object.items()) variables.emplace_back(name, text);
  return variables;
}

std::vector<ChatMessage> Messages(const Json& list) {
  std::vector<ChatMessage> messages;
  for (const Json& message : list) messages.push_back({message["role"], message["content"]});
  return messages;
}

// A text that is null is what transformers refuses.
void ExpectRenderings(const ChatTemplate& chat, const Json& renderings) {
  EXPECT_GT(renderings.size(), 10u);
  for (const Json& rendering : renderings) {
    const std::vector<ChatMessage> messages = Messages(rendering["messages"]);
    if (rendering["text"].is_null()) {
      EXPECT_THROW(chat.Render(messages), InputError) << rendering["messages"];
    } else {
      EXPECT_EQ(chat.Render(messages), rendering["text"].get<std::string>())
          << rendering["messages"];
    }
  }
}

TEST(ChatTemplate, RendersEveryFamilyAsTransformers) {
  const Json cases = Fixture("cases.json");
  EXPECT_GT(cases.size(), 20u);
  for (const Json& item : cases) {
    SCOPED_TRACE(item["name"]);
    ExpectRenderings(*ChatTemplate::Parse(item["template"], Variables(item["variables"])),
                     item["renderings"]);
  }
}

TEST(ChatTemplate, RendersTheDemoModelsAsTransformers) {
  const char* model = std::getenv("KVFOLD_DEMO_MODEL");
  if (model == nullptr || *model == 0) {
    GTEST_SKIP() << "KVFOLD_DEMO_MODEL is not set; scripts/test.sh fetches the demo model.";
  }
  ExpectRenderings(*ChatTemplate::Open(model), Fixture("smollm2.json"));
}

TEST(ChatTemplate, EvaluatesExpressionsAsTransformers) {
  const Json fixture = Fixture("expressions.json");
  const std::vector<ChatMessage> messages = Messages(fixture["messages"]);
  EXPECT_GT(fixture["values"].size(), 400u);
  for (const Json& value : fixture["values"]) {
    const std::string source = "{{ " + value[0].get<std::string>() + " }}";
    std::optional<std::string> text;
    try {
      text = ChatTemplate::Parse(source, Variables(fixture["variables"]))->Render(messages);
    } catch (const InputError&) {
    }
    if (value[1].is_null()) {
      EXPECT_EQ(text, std::nullopt) << source;
    } else {
      EXPECT_EQ(text, value[1].get<std::string>()) << source;
    }
  }
}

std::string Replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  if (at == std::string::npos) throw std::runtime_error("no " + from);
  return text.replace(at, from.size(), to);
}

std::string Rendered(const std::string& source) {
  const std::vector<ChatMessage> messages = {
      {"system", "s"}, {"user", "u"}, {"assistant", "a"}, {"user", "v"}};
  return ChatTemplate::Parse(source, {{"bos_token", "<s>"}})->Render(messages);
}

void Refuses(const std::string& source, const std::string& why) {
  EXPECT_THAT([&] { Rendered(source); }, ThrowsMessage<InputError>(HasSubstr(why))) << source;
}

// What cannot be read at all, which the way around is named for.
TEST(ChatTemplate, RefusesWhatItCannotRead) {
  const auto refuses = [](const std::string& source, const std::string& why) {
    EXPECT_THAT([&] { ChatTemplate::Parse(source, {}); },
                ThrowsMessage<InputError>(AllOf(HasSubstr("the chat template cannot be read"),
                                                HasSubstr(why), HasSubstr("--prompt"))))
        << source;
  };
  refuses("\n{% include 'x' %}", "line 2 has \"include\"");
  for (const std::string tag :
       {"import", "extends", "block", "autoescape", "trans", "do", "nosuch"})
    refuses("{% " + tag + " 'x' %}", "\"" + tag + "\"");
  refuses("{% for x in messages recursive %}{% endfor %}", "\"recursive\"");
  refuses("{% if 1 %}", "delimiter");
  refuses("{% endif %}", "\"endif\"");
  refuses("{% break %}", "\"break\"");
  refuses("{{ 'a }}", "a string that does not end");
  refuses("{{ 'a' ", "a tag that does not end");
  refuses("{# a", "a comment that does not end");
  refuses("{% raw %}a", "a raw block that does not end");
  refuses("{{ 'a\\x4' }}", "the escape");
  refuses("{{ 'a\\ud800' }}", "the escape");
  refuses("{{ 1234567890123456789 }}", "the number");
  refuses("{{ 0x10 }}", "the number");
  refuses("{{ (1] }}", "\"]\" that closes nothing");
  refuses("{{ a b }}", "\"b\"");
  refuses("{% set a.b.c = 1 %}", "\".\"");
  refuses("{% macro f(a=1, b) %}{% endmacro %}", "where it is not supported");
  refuses("\xFF", "not UTF-8");
}

TEST(ChatTemplate, RefusesWhatItCannotEvaluate) {
  Refuses("\n{{ messages | groupby('role') }}", "line 2 has the filter \"groupby\"");
  Refuses("{{ messages is nosuch }}", "the test \"nosuch\"");
  Refuses("{{ 'a'.encode() }}", "the method \"encode\"");
  Refuses("{{ messages.append(1) }}", "the method \"append\"");
  Refuses("{{ messages[0].update(a=1) }}", "the method \"update\"");
  Refuses("{{ 'a'.__class__ }}", "the attribute \"__class__\"");
  Refuses("{{ namespace(_a=1) }}", "the attribute \"_a\"");
  Refuses("{{ cycler }}", "cycler");
  Refuses("{{ range }}", "a function that is printed");
  Refuses("{{ messages | map(attribute='role') }}", "an iterator that is printed");
  Refuses("{{ '%s' % 1 }}", "a '%' that formats text");
  Refuses("{{ '\u00e9' | title }}", "a title of text beyond ASCII");
  Refuses("{{ nosuch.field }}", "\"nosuch\" is undefined");
  Refuses("{{ nosuch() }}", "\"nosuch\" is undefined");
  Refuses("{{ messages[0].x.y }}", "a mapping has no \"x\"");
  Refuses("{{ 1 + 'a' }}", "a '+' of a number and text");
  Refuses("{{ 1 < 'a' }}", "have no order");
  Refuses("{{ 1 // 0 }}", "a division by 0");
  Refuses("{% for x in 3 %}{% endfor %}", "a loop over a number");
  Refuses("{% set a, b = [1] %}", "2 names are set to 1 values");
  Refuses("{% set messages.x = 1 %}", "only a namespace's attributes");
  Refuses("{% macro f(a) %}{% endmacro %}{{ f(1, 2) }}", "f takes 1 arguments, not 2");
  Refuses("{% macro f(a) %}{% endmacro %}{{ f(b=2) }}", "f has no argument 'b'");
  Refuses("{% macro f(a) %}{% endmacro %}{{ f(*[1]) }}", "arguments that are unpacked");
  Refuses("{% set n = namespace(x=1) %}{% for m in messages if n.x %}{% endfor %}",
          "a namespace in the condition of a loop");
  Refuses("{{ raise_exception('no such ' ~ 'thing') }}", "it says \"no such thing\"");
}

// A branch that is never taken is read and passed by.
TEST(ChatTemplate, PassesByWhatIsNotAsked) {
  EXPECT_EQ(Rendered("{% if tools %}{{ tools | groupby('x') | nosuch }}{{ a.b.c() }}{{ f(*x) }}"
                     "{% endif %}x"),
            "x");
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
  Refuses("{{ " + repeated("-", 100'000) + "1 }}", "not supported");
  Refuses("{{ x" + repeated(" + x", 100'000) + " }}", "not supported");
  Refuses("{{ x" + repeated(".x", 100'000) + " }}", "not supported");
  Refuses("{{ x" + repeated("|trim", 100'000) + " }}", "not supported");
  Refuses("{{ x" + repeated("[x", 100'000), "not supported");
  Refuses("{{ x" + repeated(" is eq x", 100'000) + " }}", "not supported");
  Refuses("{{ [" + repeated("[", 100'000), "not supported");
  Refuses("{{ {" + repeated("1:{", 100'000), "not supported");
  Refuses(repeated("{% if 1 %}", 50'000), "not supported");
  Refuses("{% if 1 %}" + repeated("{% elif 1 %}", 50'000), "not supported");
  Refuses(repeated("{% macro f() %}", 50'000), "not supported");
  Refuses("{% set x = 'aaaaaaaaaaaaaaaa' %}" + repeated("{% set x = x + x %}", 60), "more work");
  Refuses("{% set x = [1, 2, 3] %}" + repeated("{% set x = x + x %}", 60), "more work");
  Refuses("{{ 'x' * 1000000000000 }}", "more work");
  Refuses("{{ [1] * 1000000000000 }}", "more work");
  Refuses("{{ 'x'.replace('', 'y' * 100000) * 10000 }}", "more work");
  Refuses("{{ range(1000000000) }}", "a range of more than");
  Refuses(repeated("{% for a in messages %}", 60) + "{{ 'x' }}" + repeated("{% endfor %}", 60),
          "more work");
  Refuses("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "too deep");
  Refuses("{% macro f(n) %}{{ f(n) }}{{ f(n) }}{% endmacro %}{{ f(1) }}", "too deep");
  Refuses(
      "{% macro f() %}{{ caller() }}{% call f() %}{{ caller() }}{% endcall %}{% endmacro %}"
      "{% call f() %}{% endcall %}",
      "not supported");
  Refuses(std::string(2 << 20, ' '), "bytes long");
  // What holds itself, or much within itself, must not outlive the rendering or end in a crash.
  const std::string forever = "{% for i in range(100000) %}";
  Refuses("{% set n = namespace(x=[]) %}" + forever + "{% set n.x = [n.x] %}{% endfor %}",
          "too deep");
  Refuses("{% set n = namespace(x={}) %}" + forever + "{% set n.x = {'a': n.x} %}{% endfor %}",
          "too deep");
  Refuses("{% set n = namespace(x=[]) %}" + forever + "{% set n.x = [n.x.index] %}{% endfor %}",
          "not supported");
  EXPECT_EQ(Rendered("{% set n = namespace() %}{% set n.n = n %}{% set n.l = [n] %}"
                     "{% macro f() %}{{ g() }}{% endmacro %}{% macro g() %}x{% endmacro %}"
                     "{{ f() }}{% set n.f = f %}{{ n.f() }}"),
            "xx");
  const std::string twice = "{% set x = [x, x] %}";
  Refuses("{% set x = [1, 2] %}" + repeated(twice, 50) + "{{ x }}", "more work");
  Refuses("{% set x = [1, 2] %}" + repeated(twice, 50) + "{{ x == x }}", "more work");
  Refuses("{% set x = [1, 2] %}" + repeated(twice, 50) + "{{ x | tojson }}", "more work");
}

// Every cut and mutation is refused in a sentence or renders.
TEST(ChatTemplate, SurvivesMutatedTemplates) {
  std::mt19937 random(3);
  for (const char* name : {"llama3_with_date", "mistral_v3", "qwen3", "macros", "loops", "calls"}) {
    const std::string whole = TemplateOf(name);
    for (int round = 0; round < 1000; ++round) {
      std::string text = whole;
      if (round % 3 == 0) text.resize(random() % text.size());
      for (int i = 0; i < 2 && !text.empty(); ++i)
        text[random() % text.size()] = "{}%#-+'\"[]().|~=: x1\n*/<>,"[random() % 26];
      try {
        Rendered(text);
      } catch (const InputError&) {
      }
    }
  }
}

TEST(ChatTemplate, WritesToday) {
  const std::string source = Replaced(TemplateOf("llama3_with_date"), "strftime_now is not defined",
                                      "strftime_now is defined");
  const auto chat = ChatTemplate::Parse(source, {});
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
  const auto chat = ChatTemplate::Parse(TemplateOf("chatml"), {});
  const auto refuses = [&](const std::vector<ChatMessage>& messages, const std::string& why) {
    EXPECT_THAT([&] { chat->Render(messages); }, ThrowsMessage<InputError>(HasSubstr(why)));
  };
  refuses({}, "no messages");
  refuses({{"user", "a"}, {"tool", "b"}}, "message 1 has the role \"tool\"");
  refuses({{"user", "ab\xFF"}}, "message 0 is not UTF-8 at byte 2");
  const auto picky = ChatTemplate::Parse(
      "{% if messages[0].content == 'x' %}{{ raise_exception('no x') }}{% endif %}" +
          TemplateOf("chatml"),
      {});
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
  const auto says = [&] {
    return ChatTemplate::Open(folder.path())->Render(std::vector<ChatMessage>{{"user", "q"}});
  };
  folder.Write("tokenizer_config.json", config.dump());
  EXPECT_THAT(says(), testing::StartsWith("<|begin|><|start_header_id|>"));
  config["chat_template"] =
      Json::array({{{"name", "tool_use"}, {"template", "x"}},
                   {{"name", "default"}, {"template", TemplateOf("chatml")}}});
  folder.Write("tokenizer_config.json", config.dump());
  EXPECT_THAT(says(), testing::StartsWith("<|im_start|>"));
  folder.Write("chat_template.jinja", TemplateOf("llama3"));  // comes first
  EXPECT_THAT(says(), testing::StartsWith("<|begin|><|start_header_id|>"));
  // The names of all special tokens, and no others, as transformers has them.
  folder.Write("special_tokens_map.json", R"({"eos_token": "</s>", "pad_token": null})");
  folder.Write("chat_template.jinja",
               "{{ bos_token ~ eos_token ~ (pad_token is defined) ~ (unk_token is defined) }}");
  EXPECT_EQ(says(), "<|begin|></s>FalseFalse");
  folder.Write("chat_template.jinja", "{{ 'hello' }");
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
  writer.Uint32("tokenizer.ggml.eos_token_id", 0xFFFFFFFF);  // none
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
    return jinja::Render(jinja::Parse(source), messages, {{"bos_token", "B"}});
  };
  EXPECT_EQ(render("a\n  {% if 1 %}\n b\n  {% endif %}\nc\n"), "a\n b\nc");
  EXPECT_EQ(render("a\n  {%+ if 1 %}\n b\n  {%- endif +%}\nc\n\n"), "a\n   b\nc\n");
  EXPECT_EQ(render("a  {% if 1 -%} \n b {{- 'x' -}} \n {{ 'y' }}\n{% endif %}"), "a  bxy\n");
  EXPECT_EQ(render("  {# note #}\n a {#- b -#} \n c"), " ac");
  EXPECT_EQ(render("a\r\nb\r{{ 'x\ny' }}"), "a\nb\nx\ny");
  EXPECT_EQ(render("a\u00a0{%- if 1 -%}\u3000b\u2003{%- endif -%}\x1c c"), "abc");
  EXPECT_EQ(render("a \n {%- raw %} {{ b }} \n  {% endraw -%} \n c"), "a {{ b }} \nc");
  EXPECT_EQ(render("a{#- b +#}\nc"), "a\nc");
}

}  // namespace
}  // namespace kvfold

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "models/chat/jinja_filters.h"
#include "models/chat/jinja_text.h"
#include "models/quoted.h"
#include "models/tokenizer/utf8.h"

namespace kvfold::jinja {
namespace {

// json.dumps of Python's standard library.
class JsonWriter {
 public:
  JsonWriter(Machine& machine, const Arguments& arguments) : machine_(machine) {
    const auto bound =
        Bind(machine, "tojson", arguments, {"ensure_ascii", "indent", "separators", "sort_keys"});
    const auto given = [](const Value* v) { return v != nullptr && !v->Is<None>(); };
    ascii_ = bound[0] != nullptr && IsTrue(*bound[0]);
    sorts_ = bound[3] != nullptr && IsTrue(*bound[3]);
    if (given(bound[1])) {
      indents_ = true;
      if (bound[1]->Is<Text>()) {
        indent_ = machine.TextOf(*bound[1], "tojson's indent");
      } else {
        const int64_t width = machine.IntegerOf(*bound[1], "tojson's indent");
        if (width > 64) machine.Refuse(fmt::format("an indent of {}", width));
        indent_.assign(static_cast<size_t>(std::max<int64_t>(0, width)), ' ');
      }
      between_items_ = ",";
    }
    if (given(bound[2])) {
      const auto* list = bound[2]->If<List>();
      if (list == nullptr || list->data->items.size() != 2)
        machine.Fail("tojson's separators are not two texts");
      between_items_ = machine.TextOf(list->data->items[0], "a separator");
      behind_key_ = machine.TextOf(list->data->items[1], "a separator");
    }
  }

  std::string Write(const Value& value) {
    Append(value);
    return std::move(out_);
  }

 private:
  void Append(const Value& value) {
    const size_t before = out_.size();
    if (value.Is<Text>()) {
      AppendText(machine_.TextOf(value, "what is written as JSON"));
    } else if (value.Is<None>() || IsNumber(value)) {
      out_ += Scalar(value);
    } else if (const auto* list = value.If<List>();
               list != nullptr &&
               (list->kind == List::Kind::kList || list->kind == List::Kind::kTuple)) {
      Open('[');
      for (size_t i = 0; i < list->data->items.size(); ++i) {
        Next(i == 0);
        Append(list->data->items[i]);
      }
      Close(']', list->data->items.empty());
    } else if (const auto* dict = value.If<Dict>()) {
      AppendDict(*dict->data);
    } else {
      machine_.Fail(fmt::format("{} cannot be written as JSON", TypeName(value)));
    }
    machine_.Work(out_.size() - before + 1);
  }

  void AppendDict(const DictData& dict) {
    std::vector<const std::pair<Value, Value>*> entries;
    for (const auto& entry : dict.entries) entries.push_back(&entry);
    if (sorts_) {
      std::ranges::stable_sort(
          entries, [&](const auto* a, const auto* b) { return machine_.Less(a->first, b->first); });
    }
    Open('{');
    for (size_t i = 0; i < entries.size(); ++i) {
      Next(i == 0);
      const Value& key = entries[i]->first;
      if (key.Is<Text>()) {
        AppendText(machine_.TextOf(key, "a key of JSON"));
      } else if (key.Is<None>() || IsNumber(key)) {
        AppendText(Scalar(key));
      } else {
        machine_.Fail(fmt::format("{} cannot be a key of JSON", TypeName(key)));
      }
      out_ += behind_key_;
      Append(entries[i]->second);
    }
    Close('}', entries.empty());
  }

  static std::string Scalar(const Value& value) {
    if (value.Is<None>()) return "null";
    if (const auto* b = value.If<bool>()) return *b ? "true" : "false";
    if (const auto* i = value.If<int64_t>()) return std::to_string(*i);
    const double number = AsDouble(value);
    if (std::isnan(number)) return "NaN";
    if (std::isinf(number)) return number > 0 ? "Infinity" : "-Infinity";
    return FloatText(number);
  }

  void Open(char bracket) {
    out_ += bracket;
    ++depth_;
  }
  void Next(bool first) {
    if (!first) out_ += between_items_;
    NewLine();
  }
  void Close(char bracket, bool empty) {
    --depth_;
    if (!empty) NewLine();
    out_ += bracket;
  }
  void NewLine() {
    if (!indents_) return;
    out_ += '\n';
    for (int i = 0; i < depth_; ++i) out_ += indent_;
  }

  void AppendText(std::string_view text) {
    out_ += '"';
    for (size_t i = 0; i < text.size();) {
      const size_t begin = i;
      const char32_t c = NextCodePoint(text, i);
      constexpr std::string_view kEscaped = "\"\\\n\r\t\b\f", kLetters = "\"\\nrtbf";
      const size_t which = c < 0x80 ? kEscaped.find(static_cast<char>(c)) : std::string_view::npos;
      if (which != std::string_view::npos) {
        out_.append(1, '\\').append(1, kLetters[which]);
      } else if (c < 0x20 || (ascii_ && c > 0x7E)) {
        if (c > 0xFFFF) {
          const char32_t rest = c - 0x10000;
          AppendUnit(0xD800 + (rest >> 10));
          AppendUnit(0xDC00 + (rest & 0x3FF));
        } else {
          AppendUnit(c);
        }
      } else {
        out_ += text.substr(begin, i - begin);
      }
    }
    out_ += '"';
  }
  void AppendUnit(char32_t unit) { out_ += fmt::format("\\u{:04x}", static_cast<uint32_t>(unit)); }

  Machine& machine_;
  bool ascii_ = false, sorts_ = false, indents_ = false;
  std::string indent_;
  std::string_view between_items_ = ", ", behind_key_ = ": ";
  std::string out_;
  int depth_ = 0;
};

}  // namespace

Value ToJson(Machine& machine, const Value& value, const Arguments& arguments) {
  return MakeText(JsonWriter(machine, arguments).Write(value));
}

}  // namespace kvfold::jinja

// models/chat/jinja_ast.h: a parsed Jinja template as a tree.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace kvfold::jinja {

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

// What stands between the brackets of a call, filter or test.
struct CallArguments {
  std::vector<ExpressionPtr> positional;
  std::vector<std::pair<std::string, ExpressionPtr>> named;
  bool unpacks = false;  // *list or **dict: parsed, never evaluated
};

struct Expression {
  enum class Kind {
    kString,   // text
    kInteger,  // integer
    kFloat,    // number
    kBool,     // integer: 0 or 1
    kNone,
    kName,       // text
    kList,       // operands
    kTuple,      // operands
    kDict,       // operands: key, value, key, value ...
    kAttribute,  // operands[0].text
    kItem,       // operands[0][operands[1]]
    kSlice,      // operands[0][operands[1]:operands[2]:operands[3]], an absent one is null
    kCall,       // operands[0](arguments)
    kFilter,     // operands[0] | text(arguments); operands[0] null: of a block's text
    kTest,       // operands[0] is text(arguments)
    kUnary,      // text (not, -, +) operands[0]
    kBinary,     // operands[0] text (and, or, +, -, *, /, //, %, **) operands[1]
    kCompare,    // operands[0] comparisons[0] operands[1] comparisons[1] operands[2] ...
    kConcat,     // operands, each as text, one behind the other
    kChoice,     // operands[0] if operands[1] else operands[2], which may be null
  };
  Kind kind = Kind::kNone;
  std::string text;
  int64_t integer = 0;
  double number = 0.0;
  int64_t line = 1;
  int height = 1;  // of the tree below, so that no chain of operators exhausts the stack
  std::vector<ExpressionPtr> operands;
  std::vector<std::string> comparisons;  // ==, !=, <, <=, >, >=, in, not in
  CallArguments arguments;
};

// Variables that a macro has where its body names them.
struct SpecialNames {
  bool caller = false;   // the body of a call block
  bool varargs = false;  // positional arguments that are too many
  bool kwargs = false;   // named ones that it does not know

  SpecialNames& operator|=(const SpecialNames& other) {
    caller |= other.caller;
    varargs |= other.varargs;
    kwargs |= other.kwargs;
    return *this;
  }
};

// Parameters of a macro or of a call block.
struct Signature {
  std::vector<std::string> names;
  std::vector<ExpressionPtr> defaults;  // by name; null: none
};

struct Statement {
  enum class Kind {
    kText,      // text
    kPrint,     // expression
    kIf,        // expression; body, else_body
    kFor,       // target in expression, if condition; body, else_body
    kSet,       // target = expression
    kSetBlock,  // target = the text of body, through expression (filters) where that is not null
    kMacro,     // text(signature); body
    kCall,      // expression is a call; body is its caller(signature)
    kFilter,    // body's text through expression
    kScope,     // body, in a scope of its own (generation, with: targets[i] = values[i])
    kBreak,
    kContinue,
  };
  Kind kind = Kind::kText;
  std::string text;
  int64_t line = 1;
  ExpressionPtr expression;
  ExpressionPtr condition;
  ExpressionPtr target;  // a name, a tuple of targets, or name.attribute of a namespace
  std::vector<Statement> body;
  std::vector<Statement> else_body;
  Signature signature;
  std::vector<std::pair<std::string, ExpressionPtr>> assigned;  // of kScope
  SpecialNames special_names;                                   // of kMacro
};

}  // namespace kvfold::jinja

// models/chat/jinja_evaluator.h: renders a parsed template for a conversation, as transformers'
// apply_chat_template does, without tools and documents. What it cannot do exactly it refuses when
// it gets there.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "models/chat/jinja_ast.h"
#include "models/chat_template.h"

namespace kvfold::jinja {

// add_generation_prompt is true. Throws InputError naming what is not supported and the line, or
// with the template's own words where it calls raise_exception; also where rendering takes more
// work than a template of any use.
std::string Render(const std::vector<Statement>& statements, std::span<const ChatMessage> messages,
                   const ChatVariables& variables);

}  // namespace kvfold::jinja

"""Chat templates of our own, written as those of models are, and conversations: what tests/fixtures/chat/cases.json is made of."""

import itertools

CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

CHATML_WITH_DEFAULT = """{#- A default for whoever says nothing. #}
{%- if tools %}
    {{- "<|im_start|>system\\nTools: " }}
    {%- for tool in tools %}
        {{- tool | tojson(indent=2) ~ "\\n" }}
    {%- endfor %}
    {{- tools[0].function.name.upper() + "<|im_end|>\\n" }}
{%- elif messages[0].role != "system" %}
    {{- '<|im_start|>system\\nYou answer from the document\\'s own words.<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) or (message.role == "assistant" and not message.tool_calls) or loop.index == 1 %}
        {{- '<|im_start|>' ~ message.role ~ '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "tool" %}
        {%- for name, value in message.arguments | items %}{{ name }}{% endfor %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""

LLAMA3 = (
    "{% for message in messages %}{% set text = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + "
    "message['content'] | trim + '<|eot_id|>' %}{% if loop.first %}{% set text = bos_token + text %}{% endif %}{{ text }}"
    "{% endfor %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' if add_generation_prompt else '' }}"
)

LLAMA3_WITH_DATE = """{{- bos_token }}
{%- if not date is defined %}
    {%- if strftime_now is not defined %}{%- set date = strftime_now("%d %b %Y") %}{%- else %}{%- set date = "1 May 2025" %}{%- endif %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set about = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set about = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if tools is not none and not ('tool_calls' in messages[-1]) %}
    {{- "Environment: " + (tools | length) ~ "\\n" }}
{%- endif %}
{{- "Written before: " + date + "\\n\\n" }}
{{- about }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {{- raise_exception("Tools are not called here.") }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""

TEMPLATES = {
    "chatml": (CHATML, "<s>"),
    "chatml_with_default": (CHATML_WITH_DEFAULT, ""),
    "llama3": (LLAMA3, "<|begin_of_text|>"),
    "llama3_with_date": (LLAMA3_WITH_DATE, "<|begin_of_text|>"),
}

CONTENTS = [
    "Hello",
    "",
    "  spaces on both sides\n\n",
    "\u00a0\u3000\u001f no-break, ideographic and a separator \u2003",
    "<|im_end|> {{ messages }} {% raw %} \\n",
    "Привет, 你好 👍🏽\r\n\ttabs",
]


def conversations():
    """Every way that one to four messages take turns, with and without a system message, contents in turn."""
    contents = itertools.cycle(CONTENTS)
    shapes = [["user"] + ["assistant", "user"] * n for n in range(3)]
    shapes += [["system"] + shape for shape in shapes]
    shapes += [["system"], ["assistant"], ["user", "user"], ["user", "system", "user"], ["system", "system", "assistant"]]
    for shape in shapes:
        for _ in range(3):
            yield [{"role": role, "content": next(contents)} for role in shape]

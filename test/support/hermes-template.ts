/** A chat template with tools, as Qwen 2.5 and Hermes 2 Pro have it, in short. */
export const hermesTemplate = `{%- if tools %}<|im_start|>system
{%- for tool in tools %}
{{ tool | tojson }}{% endfor %}
Call as <tool_call>{"name": ..., "arguments": ...}</tool_call><|im_end|>
{% endif %}
{%- for message in messages %}<|im_start|>{{ message.role }}
{{ message.content }}
{%- for call in (message.tool_calls or []) %}<tool_call>{{ call.function.name }} {{ call.function.arguments.city }}</tool_call>{% endfor %}
{%- if message.tool_call_id %} for {{ message.tool_call_id }}{% endif %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}`;

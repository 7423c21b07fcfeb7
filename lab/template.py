"""The chat template of our vocabulary, for mlx-lm, transformers and LM Studio: the ids that lab/chat.py gives, as long as
no text spells a special token (there it becomes one).

Every text begins with a space, and only the assistant's turns end with END (lab/chat.py says why). It reads content as text
or typed parts, and OpenAI's tool_calls (arguments as an object, as transformers has them), role "tool" and
reasoning_content. A result stands behind the call of its id, else behind the next call. A turn ends where no result
follows; one that was interrupted by results goes on without a new header, so after a result at the very end the reply goes
on too.
"""

OURS = r"""
{%- macro shown(content) -%}
  {%- if content is string -%}{{ ' ' + content if content else '' }}
  {%- elif content -%}
    {%- set run = namespace(on=false) -%}
    {%- for part in content -%}
      {%- if part.type == 'think' -%}{{ '<|think|> ' + part.text + '<|/think|>' }}
      {%- elif part.type == 'call' -%}{{ '<|' + part.tool + '|> ' + part.text + '<|/' + part.tool + '|>' }}
      {%- elif part.type == 'result' -%}{{ '<|result|> ' + part.text + '<|/result|>' }}
      {%- elif part.text -%}{{ ('' if run.on else ' ') + part.text }}
      {%- endif -%}
      {%- set run.on = part.type == 'text' and (run.on or part.text != '') -%}
    {%- endfor -%}
  {%- endif -%}
{%- endmacro -%}
{%- macro told(content) -%}
  {%- if content is string -%}{{ ' ' + content }}
  {%- else -%}
    {{- ' ' }}
    {%- for part in content or [] -%}{{ part.text }}{%- endfor -%}
  {%- endif -%}
{%- endmacro -%}
{%- macro asked(given) -%}
  {%- set call = given.function if given.function is defined else given -%}
  {%- set tool = 'code' if call.name in ['code', 'python', 'code_interpreter', 'ipython'] else 'search' -%}
  {%- set key = 'code' if tool == 'code' else 'query' -%}
  {%- set said = call.arguments -%}
  {%- if said is mapping -%}
    {%- if said[key] is string -%}{%- set said = said[key] -%}
    {%- elif said | length == 1 and (said.values() | first) is string -%}{%- set said = said.values() | first -%}
    {%- else -%}{%- set said = said | tojson -%}
    {%- endif -%}
  {%- elif said is none -%}{%- set said = '' -%}
  {%- elif said is not string -%}{%- set said = said | tojson -%}
  {%- endif -%}
  {{- '<|' + tool + '|> ' + said + '<|/' + tool + '|>' }}
{%- endmacro -%}
{{- bos_token }}
{%- set at = namespace(told=[], pick=-1, run=true) -%}
{%- for message in messages -%}
  {%- if message.role == 'tool' -%}
    {%- if loop.index0 not in at.told -%}
      {{- '<|result|>' + told(message.content) + '<|/result|>' }}
    {%- endif -%}
  {%- else -%}
    {%- if not (message.role == 'assistant' and not loop.first and loop.previtem.role == 'tool') -%}
      {{- '<|' + ('system' if message.role == 'developer' else message.role) + '|>' }}
    {%- endif -%}
    {%- set thought = message.reasoning_content or message.reasoning -%}
    {%- if thought -%}{{ '<|think|> ' + thought + '<|/think|>' }}{%- endif -%}
    {{- shown(message.content) }}
    {%- if message.tool_calls -%}
      {%- set here = loop.index0 -%}
      {%- set ids = message.tool_calls | map(attribute='id') | list -%}
      {%- for call in message.tool_calls -%}
        {{- asked(call) }}
        {%- set at.pick = -1 -%}
        {%- set at.run = true -%}
        {%- for next in messages[here + 1:] -%}
          {%- set place = here + loop.index -%}
          {%- set at.run = at.run and next.role == 'tool' -%}
          {%- if at.run and place not in at.told -%}
            {%- if next.tool_call_id and next.tool_call_id in ids -%}
              {%- if next.tool_call_id == call.id -%}{%- set at.pick = place if at.pick < 0 else at.pick -%}{%- endif -%}
            {%- elif at.pick < 0 -%}{%- set at.pick = place -%}
            {%- endif -%}
          {%- endif -%}
        {%- endfor -%}
        {%- if at.pick > 0 -%}
          {{- '<|result|>' + told(messages[at.pick].content) + '<|/result|>' }}
          {%- set at.told = at.told + [at.pick] -%}
        {%- endif -%}
      {%- endfor -%}
    {%- endif -%}
  {%- endif -%}
  {%- if message.role not in ['assistant', 'tool'] -%}
  {%- elif loop.last -%}
    {%- if not (add_generation_prompt and message.role == 'tool') -%}{{ '<|end|>' }}{%- endif -%}
  {%- elif not (loop.nextitem.role == 'tool' or (message.role == 'tool' and loop.nextitem.role == 'assistant')) -%}
    {{- '<|end|>' }}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt and not (messages and messages[-1].role == 'tool') -%}{{ '<|assistant|>' }}{%- endif -%}
""".strip()

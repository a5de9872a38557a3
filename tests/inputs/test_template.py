"""Chat templates: where they lie, what they may use, and what is refused."""

from __future__ import annotations

import json

import pytest
from transformers import PreTrainedTokenizerFast

from vlm.inputs.template import Template
from vlm.records import InputError

MESSAGES = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
TEMPLATE = """\
{{ bos_token }}{% for message in messages %}
{%- if loop.index > 5 %}{% break %}{% endif %}
{{ message.role }}: {% generation %}{{ message.content }}{% endgeneration %} {{ message | tojson }}
{% endfor %}
{% if add_generation_prompt %}assistant:{% endif %}"""


def _folder(tmp_path, template, place):
    config = {"bos_token": {"content": "<s>"}, "eos_token": "</s>"}
    if place == "jinja":
        (tmp_path / "chat_template.jinja").write_text(template)
    elif place == "json":
        (tmp_path / "chat_template.json").write_text(json.dumps({"chat_template": template}))
    elif place == "named":
        config["chat_template"] = [
            {"name": "tools", "template": "no"},
            {"name": "default", "template": template},
        ]
    else:
        config["chat_template"] = template
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    return Template(tmp_path)


@pytest.mark.parametrize("place", ["jinja", "json", "named", "config"])
@pytest.mark.parametrize("prompt", [True, False])
def test_as_transformers_renders_it(tmp_path, place, prompt, tiny):
    ours = _folder(tmp_path, TEMPLATE, place).render(MESSAGES, prompt)
    theirs = PreTrainedTokenizerFast(tokenizer_object=tiny.tokenizer._tokenizer, bos_token="<s>")
    expected = theirs.apply_chat_template(
        MESSAGES, chat_template=TEMPLATE, tokenize=False, add_generation_prompt=prompt
    )
    assert ours == expected


def test_templates_cannot_reach_out(tmp_path):
    template = _folder(tmp_path, "{{ messages.__class__.__mro__ }}", "jinja")
    with pytest.raises(Exception, match="unsafe"):
        template.render(MESSAGES, True)


def test_what_cannot_be_used_is_named(tmp_path):
    with pytest.raises(InputError, match="no chat template"):
        Template(tmp_path).render(MESSAGES, True)
    with pytest.raises(InputError, match="cannot be read"):
        _folder(tmp_path, "{% for %}", "jinja").render(MESSAGES, True)

"""Chat templates: rendered as taught, and harmless whatever they say."""

import pytest
from sax_common.errors import InvalidArgument
from sax_zoo.text.chat import ChatMessage, ChatTemplate

TURN = "{% for m in messages %}<|{{ m.role }}|>{{ m['content'] }}{{ eos_token }}{% endfor %}"


def test_a_conversation_is_rendered_with_the_models_words():
    """Messages, special tokens and the generation prompt are there; blocks take their line ends along."""
    template = ChatTemplate(
        TURN + "\n{% if add_generation_prompt %}\n<|assistant|>{% endif %}", {"eos_token": "</s>"}
    )
    text = template.render([ChatMessage("user", "hi {{ 1 }}")])
    assert text == "<|user|>hi {{ 1 }}</s><|assistant|>"


@pytest.mark.parametrize(
    "source",
    [
        "{{ raise_exception('roles must alternate') }}",
        "{{ ''.__class__.__mro__ }}{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% macro f(n) %}{{ f(n) }}{{ f(n) }}{% endmacro %}{{ f(1) }}",
        "{{ 'x' * 1000000000 }}",
        "{{ 2 ** 9999999 }}",
        "{% for a in range(9000) %}xxxxxxxxxxxxxxxx{% endfor %}",
        "{{ messages.append(1) }}",
        "{{ 1 / 0 }}",
        "{{ messages[7].role.x }}",
    ],
)
def test_a_template_that_misbehaves_fails_its_own_request(source):
    """Escapes, endless loops, floods and plain mistakes all end as InvalidArgument, at once."""
    with pytest.raises(InvalidArgument, match="chat template"):
        ChatTemplate(source, {}).render([ChatMessage("user", "hi")])


def test_templates_find_what_transformers_gives_them():
    """`tools` is there and none, and tojson writes plain JSON."""
    template = ChatTemplate("{{ tools is none }} {{ messages | tojson }}", {})
    assert template.render([ChatMessage("u", "<é>")]) == 'True [{"role": "u", "content": "<é>"}]'


@pytest.mark.parametrize("source", ["{% for %}", "{{", "x" * 300_000, "{% import 'os' %}{{ nope( }}"])
def test_a_template_that_does_not_compile_fails_the_load(source):
    """A syntax error or a monster is refused before anything is served."""
    with pytest.raises(InvalidArgument, match="chat template"):
        ChatTemplate(source, {})


def test_long_messages_do_not_count_as_the_templates_words():
    """The bound is on what the template adds, so a long document in a message is fine."""
    text = "word " * 100_000
    assert ChatTemplate(TURN, {}).render([ChatMessage("user", text)]) == f"<|user|>{text}"

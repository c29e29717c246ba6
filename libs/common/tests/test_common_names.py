import pytest
from hypothesis import given
from hypothesis import strategies as st
from sax_common import names
from sax_common.errors import InvalidArgument

SHORT = st.from_regex(r"[a-z][a-z0-9_-]{0,20}", fullmatch=True)


@given(SHORT, SHORT)
def test_legal_names_come_apart_and_together(cell, model):
    """A full model name is its cell's name and its short name, and parsing changes nothing."""
    parsed = names.parse_model(f"/sax/{cell}/{model}")
    assert names.cell_of(parsed) == names.parse_cell(f"/sax/{cell}")
    assert names.short_name(parsed) == model
    assert names.short_cell(names.cell_of(parsed)) == cell
    assert f"{names.cell_of(parsed)}/{names.short_name(parsed)}" == parsed


@given(st.text(max_size=30))
def test_any_text_is_parsed_or_refused(text):
    """No text, however odd, gives anything but itself or an InvalidArgument in printable ASCII."""
    checks = (
        names.parse_cell,
        names.parse_model,
        names.check_model_path,
        names.check_checkpoint_path,
        names.check_acl_name,
        names.check_data_method,
    )
    for check in checks:
        try:
            answer = check(text)
        except InvalidArgument as error:
            refusal = error.message
        else:
            assert answer == text
            continue
        assert refusal.isascii()
        assert refusal.isprintable()


@pytest.mark.parametrize(
    "text",
    ["", "test", "sax/test", "/sax/", "/sax/Test", "/sax/1t", "/sax/t/", "/sax/t\n", "/sax/té", "/sax/t/m"],
)
def test_bad_cell_names_are_refused_with_the_legal_form(text):
    """The message says what was given and which form is legal."""
    with pytest.raises(InvalidArgument, match=r"must be /sax/<cell>") as caught:
        names.parse_cell(text)
    assert ascii(text) in caught.value.message


@pytest.mark.parametrize(
    "text", ["/sax/t", "/sax/t/", "/sax/t/M", "/sax/t/m/x", "/sax/t/m\u0660", "/sax/t/_m"]
)
def test_bad_model_names_are_refused_with_the_legal_form(text):
    """Digits of other scripts, upper case, missing and extra parts are no model names."""
    with pytest.raises(InvalidArgument, match=r"must be /sax/<cell>/<model>"):
        names.parse_model(text)


@pytest.mark.parametrize(
    ("check", "longest"),
    [
        (names.parse_cell, "/sax/" + "a" * 128),
        (names.parse_model, "/sax/c/" + "a" * 128),
        (names.check_model_path, "a" * 256),
        (names.check_checkpoint_path, "a" * 4096),
        (names.check_acl_name, "acl/" + "a" * 124),
    ],
)
def test_lengths_are_bounded(check, longest):
    """A name of the greatest length passes; one byte more does not, and the message stays short."""
    assert check(longest) == longest
    with pytest.raises(InvalidArgument, match="longer than") as caught:
        check(longest + "a")
    assert len(caught.value.message) < 200


@pytest.mark.parametrize(
    "text", ["None", "/a/b c".replace(" ", "_"), "gs://b/p=1|x+y%20", "checkpoint_00000000"]
)
def test_legal_checkpoint_paths(text):
    """Bucket paths and the word None are checkpoint paths."""
    assert names.check_checkpoint_path(text) == text


@pytest.mark.parametrize("text", ["", "a b", "a,b", "$HOME", "~/x", "a@b", "a*", "a?", "a#", "/é"])
def test_bad_checkpoint_paths_are_refused(text):
    """Spaces, commas and shell characters are not in checkpoint paths."""
    with pytest.raises(InvalidArgument, match="Checkpoint path"):
        names.check_checkpoint_path(text)


def test_model_paths_are_registry_keys():
    """A registry key starts with a letter and holds letters, digits, dots, dashes and underscores."""
    assert names.check_model_path("saxml.server.pax.lm.params.lm_cloud.LmCloudSpmd2BTest")
    with pytest.raises(InvalidArgument, match=r"hf\.CausalLM"):
        names.check_model_path("../evil")


def test_acl_names():
    """Empty means no restriction; otherwise the prefix is required."""
    assert names.check_acl_name("") == ""
    assert names.check_acl_name("acl/all") == "acl/all"
    with pytest.raises(InvalidArgument, match="acl/"):
        names.check_acl_name("all")


def test_every_data_method_may_carry_an_acl():
    """Those that the original forgot too; any other name is rejected with the list of legal ones."""
    assert names.check_data_method("vm.text_and_image_to_image")
    assert names.check_data_method("lm.generate") == "lm.generate"
    with pytest.raises(InvalidArgument, match=r"lm\.generate_stream"):
        names.check_data_method("lm.generate_streams")

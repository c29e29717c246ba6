import pytest
from sax_common import errors, roots
from sax_common.store import port


def test_table_has_every_code_and_every_class_once():
    """Codes 1 to 16 in order, each with its own class, name and message class."""
    assert [row.code for row in errors.KINDS] == list(range(1, 17))
    assert len({row.error for row in errors.KINDS}) == len({row.name for row in errors.KINDS}) == 16


@pytest.mark.parametrize("row", errors.KINDS, ids=lambda row: row.name)
def test_code_and_error_are_inverse(row):
    """The error made for a code is of the kind with that code, and keeps the message."""
    error = errors.error_for_code(row.code, "why")
    assert errors.kind(error) == row
    assert (error.message, str(error)) == ("why", "why")


def test_names_follow_the_classes():
    """InvalidArgument is INVALID_ARGUMENT, and so for all."""
    for row in errors.KINDS:
        assert row.name.replace("_", "").lower() == row.error.__name__.lower()


@pytest.mark.parametrize(
    ("cls", "name"),
    [
        (port.Conflict, "ABORTED"),
        (port.StoreUnavailable, "UNAVAILABLE"),
        (port.OutcomeUnknown, "UNAVAILABLE"),
        (port.NotDurable, "UNAVAILABLE"),
        (port.StoreFull, "RESOURCE_EXHAUSTED"),
        (roots.MissingRoot, "FAILED_PRECONDITION"),
    ],
)
def test_special_errors_have_the_kind_of_their_parent(cls, name):
    """A more special error travels as the general one."""
    assert errors.kind(cls("x")).name == name
    assert cls.__name__ in errors.__doc__


def test_every_class_is_in_the_drawing():
    """The tree at the top of the module shows all classes."""
    for row in errors.KINDS:
        assert f"- {row.error.__name__} " in errors.__doc__


def test_strangers_are_internal():
    """An exception that is not ours is a bug of ours; a code that gRPC does not define is Unknown."""
    assert errors.kind(KeyError("x")).name == "INTERNAL"
    assert isinstance(errors.error_for_code(99, "x"), errors.Unknown)
    assert "99" in errors.error_for_code(99, "x").message


def test_ok_is_no_error():
    """Asking for the error of OK is a programming error."""
    with pytest.raises(ValueError, match="OK"):
        errors.error_for_code(0, "")


def test_only_two_codes_are_retryable():
    """Clients of the original retry exactly these on admin calls."""
    assert {row.name for row in errors.KINDS if row.is_retryable} == {"UNAVAILABLE", "RESOURCE_EXHAUSTED"}

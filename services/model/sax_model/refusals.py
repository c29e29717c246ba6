"""What a data method says that no model of this server offers: the answer admission gives, in its order.

Vision, audio, multimodal and custom services are registered, so that a caller learns "not loaded here"
(and goes elsewhere) or "this model does not do that", rather than that the whole service is unknown.
"""

from sax_common.errors import Internal, SaxError
from sax_runtime.authorization import caller

from sax_model.core.admission import Ask
from sax_model.table import ModelTable


class Refuser:
    """Refuses requests for methods that nothing here implements."""

    def __init__(self, table: ModelTable) -> None:
        self._table = table

    def refusal(self, key: str, method: str) -> SaxError:
        """Return what the caller is told: mostly NOT_FOUND for the model, INVALID_ARGUMENT for the method."""
        try:
            with self._table.admit(Ask(model=key, method=method, access=caller()), lambda _: None):
                return Internal(f"{key} offers {method}, but this server has no code to run it")
        except SaxError as error:
            return error

"""Loading: what the model server's loader thread calls.

    load(cls, path) ── check the class ── cls.load: locate ► open ► compare ► read tensor by tensor ► engine
    ──► LoadedModel

Raises SaxError with the file, the tensor or the attribute. A load that is not wanted any more ends with
Cancelled at the next tensor.
"""

from collections.abc import Callable

from sax_common.errors import Cancelled, DataLoss, InvalidArgument
from sax_common.names import check_checkpoint_path

from sax_zoo.checkpoints.source import LoadProgress
from sax_zoo.servable import LoadContext, LoadedModel, ServableModel


def load(
    cls: type[ServableModel],
    checkpoint_path: str,
    *,
    seed: int,
    report: Callable[[LoadProgress], None],
    is_cancelled: Callable[[], bool],
) -> LoadedModel:
    """Load a class (after overrides).

    `report` is called from this thread, often; `seed` decides all randomness of the model.
    """
    check_checkpoint_path(checkpoint_path)

    def check_cancelled() -> None:
        if is_cancelled():
            raise Cancelled("The load was cancelled.")

    context = LoadContext(
        checkpoint_path=checkpoint_path, seed=seed, report=report, check_cancelled=check_cancelled
    )
    try:
        return cls.load(context)
    except OSError as error:
        raise DataLoss(
            f"Checkpoint {checkpoint_path}: {error.strerror or error} ({error.filename or 'no file name'})."
        ) from error
    except MemoryError as error:
        raise InvalidArgument(
            f"Checkpoint {checkpoint_path} does not fit into this server's memory."
        ) from error

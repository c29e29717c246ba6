"""Is the device broken, or only this step? Decides between failing one model and ending the process.

After a CUDA or TPU runtime error every later call of the process fails too, so going on would answer
nothing but errors: the process ends and its supervisor starts a fresh one (reference/reliability.md B8).
Running out of memory, a wrong shape or a bug in our code is not of that kind: other models go on.
"""

# The runtime of JAX raises one class for everything (`jax.errors.JaxRuntimeError`, once
# `XlaRuntimeError`) and puts an absl status name first. It is matched by name, so that a server without
# JAX does not import it.
RUNTIME_ERRORS = frozenset({"JaxRuntimeError", "XlaRuntimeError"})
FATAL_STATUSES = ("INTERNAL", "UNAVAILABLE", "DATA_LOSS", "ABORTED", "UNKNOWN")


def is_device_fault(error: BaseException) -> bool:
    """Return whether nothing on this device can be trusted after `error`."""
    is_runtime_error = any(cls.__name__ in RUNTIME_ERRORS for cls in type(error).__mro__)
    return is_runtime_error and str(error).startswith(FATAL_STATUSES)

"""sax-model-server: serves models of a cell, told by its admin which ones.

    SAX_ROOT=$ROOT sax-model-server --sax_cell=/sax/test --port=10001 --platform_chip=cpu
    --platform_topology=1

Ends with 0 after SIGTERM or SIGINT (a second one ends at once), with 1 and one sentence when it cannot
start or the device is broken, with 2 for wrong flags.
"""

import asyncio
import os
import sys
from importlib.metadata import version

from sax_common.clock import SystemClock
from sax_common.config import load
from sax_common.names import CellName, short_cell
from sax_common.roots import find_sax_root
from sax_common.store.open import open_store
from sax_runtime import logs, process
from sax_runtime.logs import get_logger, setup_logs
from sax_runtime.security import make_security
from sax_runtime.telemetry import setup_telemetry
from sax_zoo import registry
from sax_zoo.platform import parse_platform

from sax_model.config import ModelServerConfig, jax_environment
from sax_model.loader import LoadFunction
from sax_model.server import ModelServer

SERVICE = "sax-model-server"

_log = get_logger(__name__)


def main() -> int:
    """Run the server until it is told to stop; returns the exit code."""
    config = load(
        ModelServerConfig,
        sys.argv[1:],
        os.environ,
        program=SERVICE,
        description="Model server of a Sax cell.",
    )
    # Before anything imports JAX or gRPC: both read their environment once.
    os.environ.update(jax_environment(config))
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    setup_logs(
        SERVICE, verbosity=config.v, to_stderr=config.is_logging_to_stderr, log_dir=config.log_dir or None
    )
    telemetry = setup_telemetry(SERVICE, version("sax-model"))
    code = process.run(lambda stop: _serve(config, stop))
    telemetry.shutdown()
    if code:
        # A device that hangs or is broken would also hang or crash the interpreter's own clean-up.
        logs.flush()
        os._exit(code)
    return code


async def _serve(config: ModelServerConfig, stop: process.Stop) -> int:
    store = open_store(find_sax_root(config.sax_root, os.environ)) if config.sax_cell else None
    cell = short_cell(CellName(config.sax_cell)) if config.sax_cell else ""
    security = make_security(config, cell=cell)
    # Imports take seconds; the loop stays free meanwhile, for a signal if for nothing else.
    load_model, servable_paths = await asyncio.to_thread(_open_zoo, config)
    server = ModelServer(
        config,
        load=load_model,
        servable_paths=servable_paths,
        store=store,
        clock=SystemClock(),
        request_end=stop.request,
        security=security,
    )
    try:
        await server.start()
        _start_profiler(config.jax_profiler_port)
        await server.load_static()
        await stop.wait()
        await server.stop()
    finally:
        if store is not None:
            await store.close()
    return 1 if server.has_device_fault else 0


def _open_zoo(config: ModelServerConfig) -> tuple[LoadFunction, list[str]]:
    """Return the load function and the names of what can be served here."""
    # Here and not above: JAX reads its environment when it is imported, and that is only set in `main`.
    from sax_model.zoo_loading import ZooLoader  # noqa: PLC0415

    registry.load_modules(config.servable_modules)
    model_filter = config.model_filter_regex or None
    platform = parse_platform(config.platform_chip, config.platform_topology)
    load_model = ZooLoader(model_filter=model_filter, is_deterministic=config.deterministic_rng)
    return load_model, registry.servable_paths(model_filter, platform)


def _start_profiler(port: int) -> None:
    if port:
        import jax  # noqa: PLC0415 - a second to import; not needed without models.

        jax.profiler.start_server(port)
        _log.info("the JAX profiler listens", port=port)


if __name__ == "__main__":
    sys.exit(main())

"""What must hold at every moment, whoever did what (reference/reliability.md 3.1).

The oracle stands beside the truth of the store, the model servers and the clients, where it sees each
effect as it happens and nothing late. It keeps its own history of the cell, made only of what the store
really holds, and says each breach once, with the name of the invariant:

    I1   one record per number, no gaps, terms never fall
    I2   servers obey and watchers accept no older term
    I3   what was acknowledged is there
    I4   nothing is applied twice, or after a refusal
    I5   changes take effect between call and answer
    I6   reads see all that ended before they began
    I7   nobody acts after its own renew deadline
    I9   only replicas that were ready are advertised
    I10  the cell never takes its last replica away itself
    I20  watches are ordered, whole and start full

I8 (convergence) and I18 (a crash is as good as an end) are judged by `schedule`; I21 (coverage) is `seen`.

`seen` counts interesting situations, so that "no breach" cannot mean "nothing happened".
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from sax_admin import wire_cell
from sax_admin.core.machine import RECORDS_KEPT
from sax_admin.wire import spec_of
from sax_common import roots
from saxml.protobuf import state_pb2

from sax_testing.sim.histories import ModelHistory, Operation

if TYPE_CHECKING:
    from sax_admin.core.cell import ModelSpec
    from sax_common.names import CellName, ModelName
    from saxml.protobuf.admin_pb2 import Model
    from saxml.protobuf.state_pb2 import AppliedOperation, StateRecord

    from sax_testing.sim.world import Host, World

BREACHES_MAX = 20
STOP_MS = 15_000.0
# Magic, length and checksum before the message; the production codec proves them when it reads.
HEAD_BYTES = 16


class Oracle:
    """Knows the whole truth of one schedule. Owned by the world."""

    def __init__(self, world: World, cell: CellName, renew_deadline_ms: int) -> None:
        """Start with an empty cell."""
        self.world = world
        self.is_net_sound = True
        self.breaches: list[str] = []
        self.trace: list[tuple[object, ...]] = []
        self.seen: Counter[str] = Counter()
        self.operations: dict[str, Operation] = {}
        self.models: dict[ModelName, ModelHistory] = {}
        self.last: StateRecord | None = None
        self.applied: dict[str, int] = {}
        self._by_name: dict[str, Model] = {}
        self._lease_name = roots.lease_name(cell)
        self._renew_deadline_ms = renew_deadline_ms
        self._lease_sent: dict[bytes, float] = {}
        self._confirmed: dict[int, float] = {}
        self._leader_run = ""
        self._stops: list[tuple[float, float]] = []
        self._changed_ms: dict[ModelName, float] = {}
        self._fault_ms = 0.0

    # ---- Faults ----

    def disturbed(self, stopped_ms: float = 0.0) -> None:
        """Servers or links are hit now, or an admin stood still for a while until now."""
        if stopped_ms:
            self._stops.append((self.world.now_ms, stopped_ms))
        else:
            self._fault_ms = self.world.now_ms

    @property
    def calm_ms(self) -> float:
        """For how long no server and no link was hit."""
        return self.world.now_ms - self._fault_ms

    @property
    def lately_stopped_ms(self) -> float:
        """For how long admins stood still lately: a leader that slept knows no better when it wakes."""
        return sum(stopped for at_ms, stopped in self._stops if at_ms > self.world.now_ms - stopped - STOP_MS)

    def unchanged_ms(self, name: ModelName) -> float:
        """For how long nobody has changed a model."""
        return self.world.now_ms - self._changed_ms.get(name, 0.0)

    # ---- Notes ----

    def breach(self, invariant: str, what: str) -> None:
        """Note that an invariant does not hold."""
        if len(self.breaches) < BREACHES_MAX:
            self.breaches.append(f"{invariant} at {self.world.now_ms:.0f} ms: {what}")

    def note(self, *what: object) -> None:
        """Remember an effect; two runs of a seed must remember the same."""
        self.trace.append((round(self.world.now_ms, 3), *what))

    def history(self, name: ModelName) -> ModelHistory:
        """Return what happened to a model."""
        found = self.models.get(name)
        if found is None:
            found = self.models[name] = ModelHistory()
        return found

    # ---- The store ----

    def sent(self, host: Host, name: str, data: bytes) -> None:
        """A process is sending a change to the store."""
        if name == self._lease_name:
            self._lease_sent[data] = host.local_ms()
        else:
            self.acts(host, f"writes {name}")

    def changed(self, host: Host, name: str, data: bytes) -> None:
        """An object has changed."""
        if name == self._lease_name:
            lease = wire_cell.decode_lease(data)
            self.note("lease", host.name, lease.term, lease.renewals)
            self._confirmed[id(host)] = self._lease_sent[data]
            if lease.run_id != self._leader_run:
                self._leader_run = lease.run_id
                self.seen["the lease moved"] += 1
            return
        number = roots.slot_of(name)
        if number is not None:
            self._record(host, number, state_pb2.StateRecord.FromString(data[HEAD_BYTES:]))

    def _record(self, host: Host, number: int, record: StateRecord) -> None:
        last = self.last
        self.note("record", number, record.term, host.name, len(record.operations))
        if last is not None and number <= last.sequence - RECORDS_KEPT:
            # A write that came so late that its number had been collected: nobody looks there any more.
            self.seen["late writes to a collected number"] += 1
            return
        if record.sequence != number or number != (last.sequence if last else 0) + 1:
            self.breach(
                "I1", f"record {record.sequence} under number {number} after {last and last.sequence}"
            )
        if last is not None and record.term < last.term:
            self.breach("I1", f"record {number} has term {record.term} after {last.term}")
        if last is not None and record.term == last.term and record.leader_address != last.leader_address:
            both = f"{record.leader_address} and {last.leader_address}"
            self.breach("I7", f"{both} write at term {record.term}")
        self.seen["takeovers"] += last is not None and record.term > last.term
        new = self._new_operations(number, record)
        self.seen["several changes in one record"] += len(new) > 1
        self._check_models(record, new)
        self.last = record

    def _new_operations(self, number: int, record: StateRecord) -> list[AppliedOperation]:
        """Return what this record applies; complain about what it applies again or has forgotten."""
        new: list[AppliedOperation] = []
        for operation in reversed(record.operations):
            if operation.sequence != number:
                break
            new.append(operation)
        new.reverse()
        kept = len(self.last.operations) if self.last else 0
        if len(record.operations) != kept + len(new):
            self.breach(
                "I4", f"record {number} keeps {len(record.operations)} operations of {kept} and {len(new)}"
            )
        for operation in new:
            if operation.operation_id in self.applied:
                self.breach("I4", f"record {number} applies {operation.operation_id} again")
            self.applied[operation.operation_id] = number
        return new

    def _check_models(self, record: StateRecord, new: list[AppliedOperation]) -> None:
        """Compare the models with those before and with what the new operations say."""
        number = record.sequence
        models = {model.model_id: model for model in record.models}
        wanted = dict(self._by_name)
        for applied in new:
            operation = self.operations.get(applied.operation_id)
            if operation is None:
                continue
            if operation.is_refused:
                self.breach("I4", f"{operation} was refused and is in record {number}")
            if operation.kind == "unpublish":
                wanted.pop(operation.model, None)
            elif operation.model in models:
                wanted[operation.model] = models[operation.model]
            generation = 0 if operation.kind == "unpublish" else number
            self._changed_ms[operation.model] = self.world.now_ms
            operation.position = self.history(operation.model).add(generation)
        if wanted != models:
            changed = sorted(
                name for name in wanted.keys() | models.keys() if wanted.get(name) != models.get(name)
            )
            self.breach("I3", f"record {number} changes {changed} without an operation")
        self._by_name = models

    def specs(self) -> list[ModelSpec]:
        """Return the models of the newest record."""
        return [spec_of(model) for model in self._by_name.values()]

    def spec(self, name: ModelName) -> ModelSpec | None:
        """Return what the newest record says of a model."""
        found = self._by_name.get(name)
        return spec_of(found) if found is not None else None

    # ---- Acting ----

    def acts(self, host: Host, what: str) -> None:
        """A process does something that only a leader may do."""
        since_ms = host.local_ms() - self._confirmed.get(id(host), -1e12)
        # One millisecond for each of the two times that the process rounds down.
        if since_ms > self._renew_deadline_ms + 2:
            self.breach("I7", f"{host.name} {what} {since_ms:.0f} ms after it sent its last renewal")

    # ---- Clients ----

    def began(self, operation: Operation) -> None:
        """A client sends an operation for the first time."""
        operation.floor = self.history(operation.model).floor
        self.operations[operation.operation_id] = operation

    def acknowledged(self, operation: Operation, sequence: int) -> None:
        """A client was told that its operation is durable."""
        self.note("ok", operation.operation_id, sequence)
        self.seen["acknowledged"] += 1
        self.seen["acknowledged after a retry"] += operation.attempts > 1
        applied = self.applied.get(operation.operation_id)
        if applied is None:
            self.breach("I3", f"{operation} was acknowledged and is in no record")
            return
        if applied != sequence:
            self.breach("I5", f"{operation} is in record {applied}, its client was told {sequence}")
        if operation.position <= operation.floor:
            self.breach("I5", f"{operation} took effect before it was sent")
        self.history(operation.model).know(operation.position)

    def refused(self, operation: Operation, kind: str, *, is_strict: bool) -> None:
        """A client was told for good that its operation does not happen."""
        self.note("refused", operation.operation_id, kind)
        self.seen[f"refused {kind}"] += 1
        if not is_strict:
            return
        operation.is_refused = True
        if operation.operation_id in self.applied:
            self.breach("I4", f"{operation} was refused ({kind}) and is in a record")
        if not self.history(operation.model).explains(operation, kind):
            self.breach(
                "I5", f"{operation} was refused with {kind}, which was not so at any moment of the call"
            )

    def read(self, name: ModelName, floor: int, generation: int) -> None:
        """A client was told that a model has a generation, 0 when it is not published."""
        self.seen["reads"] += 1
        position = self.history(name).position_of(generation, floor)
        if position is None:
            self.breach("I6", f"{name} was read at generation {generation}, which was over before the call")
        else:
            self.history(name).know(position)

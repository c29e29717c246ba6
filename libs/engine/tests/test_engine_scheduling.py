"""The engine's rules over the toy: order, budget, deadlines, cancellation, failure; nothing ever leaks."""

from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from sax_engine.backends.toy import ToyBackend, ToyFailure, make_toy_backend, toy_answer
from sax_engine.core.engine import Engine
from sax_engine.core.pages import PagePool
from sax_engine.core.planning import PlanBuilder
from sax_engine.core.requests import (
    Emission,
    Finish,
    IntegrityError,
    QueueFull,
    Request,
    RequestRejected,
    SamplingParams,
    worst_case_pages,
)
from sax_engine.core.scheduler import EngineLimits, Scheduler
from sax_engine.port import StepPlan, Ticket


class Recorder(ToyBackend):
    """A toy that keeps the plans it was given."""

    def __init__(self, **sizes: int) -> None:
        toy = make_toy_backend(**sizes)
        super().__init__(toy.info, fail_at_step=None, nan_at_step=None)
        self.plans: list[StepPlan] = []

    def launch(self, plan: StepPlan) -> Ticket:
        """Keep the plan, then run it."""
        self.plans.append(plan)
        return super().launch(plan)


def ask(name: str, length: int = 3, new: int = 4, **more) -> Request:
    """A request with a prompt of 1, 2, 3, ..."""
    prompt = tuple(range(1, length + 1))
    return Request(request_id=name, prompt=prompt, max_new_tokens=new, **more)


def finish(engine: Engine, now_ms: int = 0) -> list[Emission]:
    """Step until idle."""
    emissions = []
    while engine.has_work:
        emissions += engine.step(now_ms)
        engine.check_integrity()
    return emissions


def first_told(emissions: list[Emission]) -> list[str]:
    """Names in the order in which they were first heard of."""
    return list(dict.fromkeys(emission.request_id for emission in emissions))


def test_two_tickets_are_out_at_most_and_the_host_plans_ahead():
    """The second step launches before it collects the first."""
    engine = Engine(make_toy_backend())
    engine.submit(ask("a"), 0)
    assert engine.step(0) == []
    assert engine.snapshot().tickets_out == 1
    assert [emission.tokens for emission in engine.step(0)] == [(toy_answer((1, 2, 3), 1)[0],)]
    assert engine.snapshot().tickets_out == 1
    finish(engine)


def test_a_token_is_named_by_its_slot_before_it_is_known():
    """The second plan's input is a reference, and the answer is right all the same."""
    backend = Recorder()
    engine = Engine(backend)
    engine.submit(ask("a"), 0)
    engine.step(0)
    engine.step(0)
    assert backend.plans[1].source_slots.tolist() == backend.plans[0].slots.tolist()
    finish(engine)


def test_a_long_prompt_enters_in_aligned_chunks_beside_running_streams():
    """Each step brings every running stream one token while at most the budget of prompt tokens enters."""
    backend = Recorder(max_len=200)
    engine = Engine(backend, EngineLimits(prefill_tokens=8))
    engine.submit(ask("stream", new=30), 0)
    engine.step(0)
    engine.submit(ask("long", length=50), 0)
    finish(engine)
    chunks = [plan for plan in backend.plans[1:] if len(plan.row_lengths) > plan.decode_rows]
    lengths = [int(plan.row_lengths[-1]) for plan in chunks]
    assert lengths == [8, 8, 8, 8, 8, 8, 2]
    assert all(plan.decode_rows == 1 for plan in chunks)
    assert all(plan.positions[-1] % backend.info.prefill_block == 0 for plan in chunks)


def test_short_prompts_share_a_step():
    """Several prompts enter together as long as the budget lasts."""
    backend = Recorder()
    engine = Engine(backend)
    for name in "abcde":
        engine.submit(ask(name), 0)
    engine.step(0)
    assert backend.plans[0].row_lengths.tolist() == [3, 3, 3, 3]
    finish(engine)


def test_higher_priority_runs_first_and_equal_ones_in_order():
    """With one slot, answers come in the order of the line."""
    engine = Engine(make_toy_backend(max_rows=1))
    for name, priority in (("a", 0), ("b", 0), ("c", 5), ("d", 5)):
        engine.submit(ask(name, priority=priority), 0)
    assert first_told(finish(engine)) == ["c", "d", "a", "b"]


def test_a_big_request_at_the_head_is_not_starved_by_small_ones():
    """Whoever is first waits for room, and those behind wait too."""
    engine = Engine(make_toy_backend(num_pages=8))
    engine.submit(ask("small", new=8), 0)
    engine.step(0)
    engine.submit(ask("big", length=20, new=9), 0)
    engine.submit(ask("later"), 0)
    assert first_told(finish(engine)) == ["small", "big", "later"]


def test_admission_promises_the_worst_case():
    """Requests that could together need more pages than there are do not run together."""
    engine = Engine(make_toy_backend(num_pages=8))
    for name in "abc":
        engine.submit(ask(name, length=4, new=13), 0)
    engine.step(0)
    assert engine.snapshot().running == 2
    assert engine.snapshot().queued == 1
    finish(engine)


def test_samples_share_the_prompt_pages_and_copy_only_the_last():
    """Three samples of a 14-token prompt hold three shared pages and a last page each."""
    backend = Recorder()
    engine = Engine(backend)
    sampling = SamplingParams(temperature=9.0, seed=1)
    engine.submit(ask("a", length=14, new=6, num_samples=3, sampling=sampling), 0)
    engine.step(0)
    engine.step(0)
    assert engine.snapshot().pages_used == 3 + 3
    assert len(backend.plans[1].copies) == 2
    finish(engine)


def test_the_line_has_a_bound():
    """One more than max_queue is told so and changes nothing."""
    engine = Engine(make_toy_backend(), EngineLimits(max_queue=2))
    engine.submit(ask("a"), 0)
    engine.submit(ask("b"), 0)
    with pytest.raises(QueueFull, match="2 requests are waiting; the bound is 2"):
        engine.submit(ask("c"), 0)
    assert first_told(finish(engine)) == ["a", "b"]


def test_a_name_is_unique_while_its_request_lives():
    """The same name twice is refused; afterwards it may be used again."""
    engine = Engine(make_toy_backend())
    engine.submit(ask("a"), 0)
    with pytest.raises(RequestRejected, match="'a' is here already"):
        engine.submit(ask("a"), 0)
    finish(engine)
    engine.submit(ask("a"), 0)
    finish(engine)


def test_a_deadline_ends_waiting_and_running_requests():
    """At its deadline a request ends with DEADLINE, wherever it stands; others go on."""
    engine = Engine(make_toy_backend(max_rows=1))
    engine.submit(ask("runs", new=50, deadline_ms=100), 0)
    engine.submit(ask("waits", deadline_ms=50), 0)
    engine.submit(ask("stays"), 0)
    engine.step(0)
    ends = [(e.request_id, e.finish) for e in engine.step(50) if e.finish]
    assert ends == [("waits", Finish.DEADLINE)]
    ends = [(e.request_id, e.finish) for e in finish(engine, 100) if e.finish]
    assert ends == [("runs", Finish.DEADLINE), ("stays", Finish.LENGTH)]


@pytest.mark.parametrize("steps", range(6))
def test_cancelling_at_any_moment_frees_everything_at_once(steps):
    """Waiting, entering, decoding or just planned: slots and pages are free when cancel returns."""
    engine = Engine(make_toy_backend())
    engine.submit(ask("a", length=30, new=3, num_samples=2), 0)
    for _ in range(steps):
        engine.step(0)
    engine.cancel("a")
    now = engine.snapshot()
    assert (now.pages_used, now.slots_used, now.queued, now.running) == (0, 0, 0, 0)
    engine.check_integrity()
    told = finish(engine)
    assert {e.finish for e in told} <= {Finish.CANCELLED}
    engine.cancel("a")
    assert finish(engine) == []


def test_cancelled_requests_do_not_pile_up_in_the_line():
    """Ten thousand cancelled while the head waits leave no trace."""
    engine = Engine(make_toy_backend(max_rows=1), EngineLimits(max_queue=10))
    engine.submit(ask("head", new=50), 0)
    engine.step(0)
    engine.submit(ask("next"), 0)
    for number in range(10_000):
        engine.submit(ask(f"r{number}"), 0)
        engine.cancel(f"r{number}")
    assert len(engine._scheduler._waiting) < 10
    engine.step(0)
    engine.cancel("head")
    finish(engine)


def test_when_work_began_comes_with_the_first_token():
    """A request that waited says when its first step was planned."""
    engine = Engine(make_toy_backend(max_rows=1))
    engine.submit(ask("a", new=2), 0)
    engine.submit(ask("b", new=2), 0)
    told, now = [], 0
    while engine.has_work:
        told += engine.step(now)
        now += 10
    assert [(e.request_id, e.started_ms) for e in told] == [("a", 0), ("a", None), ("b", 30), ("b", None)]


def test_numbers_that_broke_down_are_never_tokens():
    """A nan ends the sample with ERROR and no token; its companion of another step is untouched."""
    engine = Engine(make_toy_backend(nan_at_step=2))
    engine.submit(ask("a", new=4), 0)
    told = finish(engine)
    assert [len(e.tokens) for e in told] == [1, 0]
    assert told[-1].finish is Finish.ERROR
    engine.submit(ask("b", new=2), 0)
    assert [e.finish for e in finish(engine)] == [None, Finish.LENGTH]


def test_a_backend_that_raises_passes_through_and_the_books_can_be_closed():
    """The exception reaches the owner; abort_all then ends every request with ERROR."""
    engine = Engine(make_toy_backend(fail_at_step=3))
    engine.submit(ask("a", new=9), 0)
    engine.submit(ask("b", new=9, num_samples=2), 0)
    with pytest.raises(ToyFailure, match="step 3"):
        finish(engine)
    ends = engine.abort_all()
    assert [(e.request_id, e.sample, e.finish) for e in ends] == [
        ("a", 0, Finish.ERROR), ("b", 0, Finish.ERROR), ("b", 1, Finish.ERROR),
    ]  # fmt: skip
    assert engine.snapshot().pages_used == 0


def test_a_snapshot_counts_what_went_through():
    """Prompt and generated tokens are counted once."""
    engine = Engine(make_toy_backend())
    engine.submit(ask("a", length=5, new=4, num_samples=2), 0)
    finish(engine)
    now = engine.snapshot()
    assert (now.prompt_tokens, now.generated_tokens) == (5, 8)


class Life(RuleBasedStateMachine):
    """Random requests, steps, cancellations and time against the sum of what must hold."""

    def __init__(self) -> None:
        super().__init__()
        self.engine = Engine(make_toy_backend(max_rows=5, num_pages=20), EngineLimits(max_queue=6))
        self.asked: dict[str, Request] = {}
        self.got: dict[tuple[str, int], list[int]] = {}
        self.ended: dict[tuple[str, int], Finish] = {}
        self.now_ms = 0

    @rule(
        length=st.integers(1, 40),
        new=st.integers(1, 12),
        samples=st.integers(1, 3),
        priority=st.integers(0, 1),
        patience=st.none() | st.integers(0, 40),
        stop=st.none() | st.integers(0, 96),
    )
    def submit(self, *, length, new, samples, priority, patience, stop) -> None:
        """Ask for something; refusals change nothing."""
        request = ask(
            f"r{len(self.asked)}", length, new, num_samples=samples, priority=priority,
            deadline_ms=None if patience is None else self.now_ms + patience,
            stop_ids=frozenset() if stop is None else frozenset({stop}),
        )  # fmt: skip
        try:
            self.engine.submit(request, self.now_ms)
        except (QueueFull, RequestRejected):
            return
        self.asked[request.request_id] = request

    @rule(steps=st.integers(1, 4))
    def step(self, steps: int) -> None:
        """Step a few times, the clock going on."""
        for _ in range(steps):
            self.now_ms += 1
            self.hear(self.engine.step(self.now_ms))

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        """Cancel any request, over or not."""
        self.engine.cancel(data.draw(st.sampled_from(sorted(self.asked))))

    def hear(self, emissions: list[Emission]) -> None:
        """Note what was told; nothing may follow an end."""
        for emission in emissions:
            key = emission.request_id, emission.sample
            assert key not in self.ended
            self.got.setdefault(key, []).extend(emission.tokens)
            if emission.finish is not None:
                self.ended[key] = emission.finish

    @invariant()
    def books_add_up(self) -> None:
        """Pages, slots and promises, after every act."""
        self.engine.check_integrity()

    def teardown(self) -> None:
        """Let everything end: all samples have one end and the right tokens, and nothing is held."""
        while self.engine.has_work:
            self.hear(self.engine.step(self.now_ms))
        now = self.engine.snapshot()
        assert (now.pages_used, now.slots_used, now.tickets_out, now.running, now.queued) == (0, 0, 0, 0, 0)
        for name, request in self.asked.items():
            answer = toy_answer(request.prompt, request.max_new_tokens)
            for sample in range(request.num_samples):
                tokens, end = self.got[name, sample], self.ended[name, sample]
                assert tokens == answer[: len(tokens)]
                if end is Finish.LENGTH:
                    assert len(tokens) == request.max_new_tokens
                if end is Finish.STOP:
                    assert tokens[-1] in request.stop_ids


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=80, stateful_step_count=25, deadline=None)


def _forget_to_release(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(PagePool, "release", lambda _self, _pages: None)


def _write_shared_pages(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(PagePool, "is_shared", lambda _self, _page: False)


def _promise_too_little(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("sax_engine.core.scheduler.worst_case_pages", lambda r, s: worst_case_pages(r, s) - 1)


def _forget_slots(patch: pytest.MonkeyPatch) -> None:
    finish_sample = Scheduler._finish

    def leak(self: Scheduler, sample, end: Finish) -> None:
        finish_sample(self, sample, end)
        self._free_slots.pop()

    patch.setattr(Scheduler, "_finish", leak)


def _forget_to_copy(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(PlanBuilder, "add_copy", lambda _self, _source, _target: None)


def _copy_backwards(patch: pytest.MonkeyPatch) -> None:
    add_copy = PlanBuilder.add_copy
    patch.setattr(PlanBuilder, "add_copy", lambda self, source, target: add_copy(self, target, source))


def _live() -> list[list[int]]:
    """A little life in a small engine: tokens per sample."""
    engine = Engine(make_toy_backend(num_pages=12, max_rows=6))
    told: dict[tuple[str, int], list[int]] = {}
    for name in "abcd":
        sampling = SamplingParams(temperature=40.0, seed=ord(name))
        engine.submit(ask(name, 10, 8, num_samples=3, sampling=sampling), 0)
    for emission in finish(engine):
        told.setdefault((emission.request_id, emission.sample), []).extend(emission.tokens)
    return [told[key] for key in sorted(told)]


PLANTED = [_forget_to_release, _write_shared_pages, _promise_too_little]
PLANTED += [_forget_slots, _forget_to_copy, _copy_backwards]


@pytest.mark.parametrize("plant", PLANTED)
def test_planted_bugs_are_found(plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch):
    """Breaking a rule of the scheduler breaks an answer or the books within four requests."""
    right = _live()
    plant(monkeypatch)
    try:
        broken = _live()
    except (IntegrityError, IndexError):
        return
    assert broken != right

"""Secrets, through the shipped loops: encrypted in the store, waited for, delivered, followed, and shown to nobody."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
import structlog

from harpoon.control import secret_values
from harpoon.control import secrets as ours
from harpoon.control.explaining import explain_job
from harpoon.control.keyring import Keyring, NoKeys, new_key
from harpoon.control.planning import plan_documents
from harpoon.control.promising import promise_documents
from harpoon.control.view import SECRETS
from harpoon.core.verify import verify
from harpoon.kit import codec
from harpoon.kit.clock import SystemClock
from harpoon.kit.errors import Conflict, Invalid, NotFound, PreconditionFailed, Unavailable
from harpoon.model.command import StartTask
from harpoon.model.given import OnChange, SecretFile, SecretVariable
from harpoon.model.promise import PlanDocument
from harpoon.model.secret import Secret, SecretChange, SecretOutcome
from harpoon.model.sensitive import Sensitive
from harpoon.model.why import ReasonCode
from harpoon.store.memory import MemoryStore
from harpoon.store.port import Put
from tests.control.test_controller import House, a_manifest, settled, until
from tests.fakes import FakeAgent

CANARY = "hunter2-canary"


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harpoon.core.standing.REBIND_MIN", timedelta(0))


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.touch(0o600)
    path.write_text(new_key("one"))
    return path


def sets(keep_others: bool = True, remove: tuple[str, ...] = (), **values: str | bytes) -> SecretChange:
    data = {key: Sensitive(value.encode() if isinstance(value, str) else value) for key, value in values.items()}
    return SecretChange(data=data, keep_others=keep_others, remove=remove)


def web(key: str = "db/password", on_change: OnChange = OnChange.RESTART, **task: object):
    return a_manifest(scale=1, env={"PW": SecretVariable(secret=key, on_change=on_change)}, **task)


def given(agent: FakeAgent) -> list[dict[str, bytes]]:
    """What the starts of tasks were given of secrets, in order."""
    return [
        {key: value.reveal() for key, value in one.secrets.items()}
        for one in agent.obeyed
        if isinstance(one, StartTask)
    ]


def house(agent: FakeAgent, keys: Path | None, store: MemoryStore | None = None) -> House:
    return House(store or MemoryStore(), (agent,), keyring=Keyring(keys))


async def records(store: MemoryStore) -> bytes:
    return b"\n".join([entry.value async for page in store.list("/") for entry in page.entries])


async def test_a_job_waits_for_its_secret_says_so_and_is_given_it_when_it_is_started(keys: Path) -> None:
    agent, store = FakeAgent("a1"), MemoryStore()
    files = (SecretFile(secret="tls/key", at="key.pem"),)
    async with house(agent, keys, store).running() as controller:
        registry, view = controller.registry, controller.view
        await registry.put(web(secrets=files))
        await until(controller, lambda: bool(registry.status("default", "web").waiting))
        (waiting,) = registry.status("default", "web").waiting
        assert waiting == (
            "1 of 1 wanted slots wait for secret db/password to be set (there is no such secret) "
            "and for secret tls/key to be set (there is no such secret)"
        )
        why = await explain_job(view, view.jobs.rows["default/web"], controller.bookings(), SystemClock().now())
        assert (why.slots[0].code, why.slots[0].fix.steps) == (
            ReasonCode.NO_SECRET,
            ("harpoon secret set db password=-", "harpoon secret set tls key=-"),
        )
        await registry.secrets.put("default", "db", sets(password=CANARY))
        await registry.secrets.put("default", "tls", sets(cert="x"))
        await until(controller, lambda: "secret tls has no key key" in registry.status("default", "web").waiting[0])
        assert not agent.tasks
        await registry.secrets.put("default", "tls", sets(key=b"\x00\xff"))
        await settled(controller)
        assert given(agent) == [{"db/password": CANARY.encode(), "tls/key": b"\x00\xff"}]
        assert CANARY.encode() not in await records(store)
        assert b'"db/password":"1-' in await records(store)


async def test_a_plan_says_that_a_secret_is_missing_and_holds_together(keys: Path) -> None:
    async with house(FakeAgent("a1"), keys).running() as controller:
        now, known = SystemClock().now(), controller.bookings()
        plan = await plan_documents(controller.view, controller.registry, [web()], known, now)
        assert plan.plans[0].placements == ()
        assert plan.plans[0].pending.reason.endswith("secret db/password to be set (there is no such secret)")
        _, document = await promise_documents(controller.view, controller.registry, [web()], known, now)
        promise = codec.load(PlanDocument, document)
        assert promise.jobs[0].unmet[0].secret == "db/password"
        assert verify(promise) == ()


async def test_another_value_replaces_tasks_and_the_same_one_touches_nothing(keys: Path) -> None:
    agent, store = FakeAgent("a1"), MemoryStore()
    async with house(agent, keys, store).running() as controller:
        secrets = controller.registry.secrets
        assert (await secrets.put("default", "db", sets(password="one"))).outcome is SecretOutcome.CREATED
        await controller.registry.put(web())
        await settled(controller)
        [first] = agent.tasks
        before = await store.revision()
        assert (await secrets.put("default", "db", sets(password="one"))).outcome is SecretOutcome.UNCHANGED
        assert await store.revision() == before
        assert (await secrets.put("default", "db", sets(user="bob"))).outcome is SecretOutcome.CHANGED
        changed = await secrets.put("default", "db", sets(password=CANARY))
        assert (changed.outcome, changed.secret.version) == (SecretOutcome.CHANGED, 3)
        await until(controller, lambda: first not in agent.tasks and bool(agent.tasks))
        await settled(controller)
        assert [one["db/password"] for one in given(agent)] == [b"one", CANARY.encode()]
        [row] = controller.view.placements_of("default/web").values()
        assert row.value.reason.startswith("secret db/password has changed")


async def test_tasks_that_keep_their_value_are_left_alone_and_the_next_one_has_the_new(keys: Path) -> None:
    agent = FakeAgent("a1")
    async with house(agent, keys).running() as controller:
        secrets = controller.registry.secrets
        await secrets.put("default", "db", sets(password="one"))
        await controller.registry.put(web(on_change=OnChange.KEEP))
        await settled(controller)
        [first] = agent.tasks
        await secrets.put("default", "db", sets(password="two"))
        await controller.registry.scale("default", "web", 2)
        await until(controller, lambda: len(agent.tasks) == 2)
        assert first in agent.tasks
        assert [one["db/password"] for one in given(agent)] == [b"one", b"two"]


@pytest.mark.parametrize("on_change", list(OnChange))
async def test_what_runs_is_left_alone_when_its_secret_goes_and_nothing_is_started_without(
    keys: Path, on_change: OnChange
) -> None:
    agent = FakeAgent("a1")
    async with house(agent, keys).running() as controller:
        registry = controller.registry
        await registry.secrets.put("default", "db", sets(password="one"))
        await registry.put(web(on_change=on_change))
        await settled(controller)
        [first] = agent.tasks
        with pytest.raises(Conflict, match=r"1 job could start no task without secret db \(web\)"):
            await registry.secrets.delete("default", "db")
        await registry.secrets.delete("default", "db", is_forced=True)
        await registry.scale("default", "web", 2)
        await until(controller, lambda: "secret db/password" in "".join(registry.status("default", "web").waiting))
        assert list(agent.tasks) == [first]
        await registry.secrets.put("default", "db", sets(password="two"))
        await until(controller, lambda: len(given(agent)) >= 2 and len(agent.tasks) == 2)
        # One that was made anew is never taken for the one before, though it counts from 1 again.
        await until(controller, lambda: (first in agent.tasks) is (on_change is OnChange.KEEP))


async def test_a_value_that_is_no_text_is_no_variable(keys: Path) -> None:
    agent = FakeAgent("a1")
    async with house(agent, keys).running() as controller:
        status = controller.registry.status
        for value in (b"\xff", b"a\x00b"):
            await controller.registry.secrets.put("default", "db", sets(password=value))
            await controller.registry.put(web())
            await until(controller, lambda: "cannot be a variable" in "".join(status("default", "web").waiting))
        await controller.registry.secrets.put("default", "db", sets(password="text"))
        await settled(controller)


async def test_a_server_without_keys_takes_no_secret_and_starts_nothing_that_needs_one(keys: Path) -> None:
    agent, store = FakeAgent("a1"), MemoryStore()
    async with house(agent, keys, store).running() as controller:
        await controller.registry.secrets.put("default", "db", sets(password=CANARY))
    with structlog.testing.capture_logs() as told:
        async with house(agent, None, store).running() as controller:
            with pytest.raises(NoKeys, match="--secrets-key-file"):
                await controller.registry.secrets.put("default", "db", sets(password="x"))
            await controller.registry.put(web())
            await controller.registry.put(a_manifest("other", scale=1))
            await settled(controller, "other")
            await until(controller, lambda: bool(controller.view.placements_of("default/web")))
            while not (withheld := [one for one in told if one["event"] == "starts_withheld"]):
                await asyncio.sleep(0.01)
            assert "no keys to encrypt secrets with" in withheld[0]["reason"]
            assert not [task for task in agent.tasks if ".web." in task]


async def test_an_agent_that_takes_no_secrets_is_sent_none(keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = FakeAgent("a1")
    monkeypatch.setattr(secret_values, "SECRETS_FACT", "something-else")
    with structlog.testing.capture_logs() as told:
        async with house(agent, keys).running() as controller:
            await controller.registry.secrets.put("default", "db", sets(password=CANARY))
            await controller.registry.put(web())
            await until(controller, lambda: bool(controller.view.placements_of("default/web")))
            while not [one for one in told if one["event"] == "starts_withheld"]:
                await asyncio.sleep(0.01)
    assert not agent.obeyed
    assert CANARY not in repr(told)


async def test_a_record_that_was_moved_is_not_delivered(keys: Path) -> None:
    agent, store = FakeAgent("a1"), MemoryStore()
    async with house(agent, keys, store).running() as controller:
        await controller.registry.secrets.put("default", "admin", sets(password=CANARY))
        entry = await store.get(f"{SECRETS}default/admin")
        stolen = codec.load(Secret, entry.value)
        await store.commit((), (Put(f"{SECRETS}default/db", entry.value.replace(b'"admin"', b'"db"')),))
        await until(controller, lambda: "default/db" in controller.view.secrets.rows)
        start = StartTask(task="default.web.0.1-1", generation="g", template=web().spec.task, reason="")
        sent, withheld = secret_values.deliver(controller.view, Keyring(keys), "a1", (start,))
        assert sent == ()
        assert withheld[0].reason.startswith("secret db/password: it does not open: the record was damaged, or moved")
        assert stolen.keys["password"].key_id == "one"


async def test_rotating_encrypts_all_anew_and_replaces_no_task(keys: Path) -> None:
    agent, store = FakeAgent("a1"), MemoryStore()
    async with house(agent, keys, store).running() as controller:
        secrets = controller.registry.secrets
        await secrets.put("default", "db", sets(password=CANARY))
        await secrets.put("shop", "tls", sets(key="x"))
        await controller.registry.put(web())
        await settled(controller)
        before = dict(agent.tasks)
        keys.write_text(f"{new_key('two')}\n{keys.read_text()}")
        assert (await secrets.rotate())[1:] == ("two", 2)
        assert (await secrets.rotate())[1:] == ("two", 0)
        keys.write_text(keys.read_text().splitlines()[0])
        assert b'"one"' not in await records(store)
        await controller.registry.scale("default", "web", 2)
        await until(controller, lambda: len(agent.tasks) == 2)
        assert before.keys() < agent.tasks.keys()
        assert given(agent)[-1] == {"db/password": CANARY.encode()}


async def test_what_cannot_be_opened_is_named_when_keys_are_rotated_and_can_be_set_anew(keys: Path) -> None:
    async with house(FakeAgent("a1"), keys).running() as controller:
        secrets = controller.registry.secrets
        await secrets.put("default", "lost", sets(a="x"))
        await secrets.put("default", "same", sets(a="x"))
        keys.write_text(new_key("two"))
        with pytest.raises(
            Conflict, match="0 secrets were encrypted anew, 2 could not be: default/lost: it is encrypted"
        ):
            await controller.registry.secrets.rotate()
        assert (await secrets.put("default", "lost", sets(a="x"))).outcome is SecretOutcome.CHANGED


async def test_preconditions_are_held_to(keys: Path) -> None:
    async with house(FakeAgent("a1"), keys).running() as controller:
        secrets = controller.registry.secrets
        with pytest.raises(PreconditionFailed, match="does not exist"):
            await secrets.put("default", "db", sets(a="x"), if_match=5)
        first = await secrets.put("default", "db", sets(a="x"), is_new=True)
        with pytest.raises(PreconditionFailed, match="exists already"):
            await secrets.put("default", "db", sets(a="x"), is_new=True)
        second = await secrets.put("default", "db", sets(a="y"), if_match=first.revision)
        for wrong in (secrets.put("default", "db", sets(a="z"), if_match=first.revision),
                      secrets.delete("default", "db", if_match=first.revision)):  # fmt: skip
            with pytest.raises(PreconditionFailed, match="changed by someone else"):
                await wrong
        await secrets.delete("default", "db", if_match=second.revision)
        with pytest.raises(NotFound, match="there is no secret db"):
            await secrets.delete("default", "db")


async def test_keys_are_kept_removed_or_replaced_as_is_asked(keys: Path) -> None:
    async with house(FakeAgent("a1"), keys).running() as controller:
        secrets = controller.registry.secrets

        async def after(change: SecretChange) -> list[str]:
            return sorted((await secrets.put("default", "db", change)).secret.keys)

        assert await after(sets(a="1", b="2")) == ["a", "b"]
        assert await after(sets(c="3")) == ["a", "b", "c"]
        assert await after(sets(remove=("a",))) == ["b", "c"]
        assert await after(sets(keep_others=False, d="4")) == ["d"]
        with pytest.raises(Invalid, match="would have no key; to be rid of it: harpoon secret delete db"):
            await after(sets(remove=("d",)))
        with pytest.raises(Invalid, match="would have 65 keys; at most 64"):
            await after(sets(**{f"k{n}": "x" for n in range(64)}))


async def test_a_record_that_cannot_be_read_is_neither_overwritten_nor_taken_for_none(keys: Path) -> None:
    agent, store = FakeAgent("a1"), MemoryStore()
    async with house(agent, keys, store).running() as controller:
        await store.commit((), (Put(f"{SECRETS}default/db", b'{"v": "later"}'),))
        with pytest.raises(Unavailable, match="cannot be read by this release"):
            await controller.registry.secrets.put("default", "db", sets(a="x"))
        await controller.registry.put(web())
        status = controller.registry.status
        await until(controller, lambda: "cannot be read" in "".join(status("default", "web").waiting))
        with pytest.raises(Conflict, match="default/db: its record cannot be read"):
            await controller.registry.secrets.rotate()


async def test_a_namespace_has_only_so_many(keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ours, "SECRETS_MAX", 1)
    async with house(FakeAgent("a1"), keys).running() as controller:
        secrets = controller.registry.secrets
        await secrets.put("default", "db", sets(a="x"))
        await secrets.put("default", "db", sets(a="y"))
        await secrets.put("shop", "db", sets(a="x"))
        with pytest.raises(Conflict, match="has 1 secrets, and cannot have more"):
            await secrets.put("default", "other", sets(a="x"))

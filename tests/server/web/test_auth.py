"""Who is calling, and from where."""

import pytest

from server.protocol.errors import WireError
from server.settings import BadSetting
from server.store.memory.store import MemoryStore
from server.store.types import Ticket
from server.web.auth import ANONYMOUS, AccessRules, Authenticator

KEYS = ("ann:secret-a", "bob:secret-b", "secret-c")


def status(auth: AccessRules, authorization: str | None) -> int:
    with pytest.raises(WireError) as caught:
        auth.caller(authorization)
    return caught.value.status


class TestKeys:
    """Named and unnamed."""

    def test_without_keys_everyone_may_call(self) -> None:
        auth = AccessRules((), (), ())
        assert auth.open
        assert auth.caller(None) == auth.caller("Bearer whatever") == ANONYMOUS

    def test_a_key_names_its_caller(self) -> None:
        auth = AccessRules(KEYS, (), ())
        assert not auth.open
        assert [auth.caller(f"Bearer {key}") for key in ("secret-a", "secret-b")] == ["ann", "bob"]

    def test_a_key_without_a_name_gets_one_that_tells_nothing(self) -> None:
        name = AccessRules(KEYS, (), ()).caller("Bearer secret-c")
        assert name.startswith("key-")
        assert "secret" not in name
        assert name == AccessRules(("secret-c",), (), ()).caller("Bearer secret-c")

    def test_a_key_may_hold_colons(self) -> None:
        assert AccessRules(("ann:a:b",), (), ()).caller("Bearer a:b") == "ann"

    def test_one_caller_may_have_two_keys(self) -> None:
        auth = AccessRules(("ann:one", "ann:two"), (), ())
        assert auth.caller("Bearer one") == auth.caller("Bearer two") == "ann"

    @pytest.mark.parametrize("authorization", ["bearer secret-a", "BEARER secret-a", "Bearer  secret-a "])
    def test_the_scheme_is_read_as_the_standard_says(self, authorization: str) -> None:
        assert AccessRules(KEYS, (), ()).caller(authorization) == "ann"

    @pytest.mark.parametrize(
        "authorization",
        [None, "", "Bearer", "Bearer ", "Basic secret-a", "secret-a", "Bearer secret", "Bearer secret-ax", "Bearer ä"],
    )
    def test_everything_else_is_refused(self, authorization: str | None) -> None:
        assert status(AccessRules(KEYS, (), ()), authorization) == 401

    @pytest.mark.parametrize("entry", [":secret", "ann:", ":", "ann:schlüssel", "ann:two words", "ann:a\nb"])
    def test_an_entry_that_is_no_key_names_the_setting_and_not_the_key(self, entry: str) -> None:
        with pytest.raises(BadSetting, match="API_KEYS") as caught:
            AccessRules((entry,), (), ())
        assert "sch" not in str(caught.value)
        assert "secret" not in str(caught.value)

    def test_no_key_can_be_read_off_the_object(self) -> None:
        auth = AccessRules(KEYS, (), ())
        shown = f"{auth!r} {vars(auth)!r}"
        assert not any(key in shown for key in ("secret-a", "secret-b", "secret-c"))


class TestHosts:
    """A web page must not reach this node under a name of its own."""

    @pytest.mark.parametrize(
        "host",
        [
            "localhost",
            "localhost:8000",
            "LOCALHOST:8000",
            "localhost.",
            "chat.localhost:8000",
            "127.0.0.1",
            "127.0.0.1:8000",
            "192.168.1.20:8000",
            "[::1]",
            "[::1]:8000",
            "[fe80::1]:8000",
            "chat.example.com",
            "chat.example.com:443",
            "Chat.Example.COM",
            "chat.example.com.",
        ],
    )
    def test_ours(self, host: str) -> None:
        AccessRules((), ("Chat.example.com",), ()).check_host(host)

    @pytest.mark.parametrize(
        "host",
        [
            "",
            ":8000",
            "evil.tld",
            "evil.tld:8000",
            "localhost.evil.tld",
            "notlocalhost",
            "chat.example.com.evil.tld",
            "xchat.example.com",
            "example.com",
            "127.0.0.1.evil.tld",
            "2130706433",
            "[evil.tld]",
            "::1",
        ],
    )
    def test_foreign(self, host: str) -> None:
        with pytest.raises(WireError) as caught:
            AccessRules((), ("chat.example.com",), ()).check_host(host)
        assert (caught.value.status, caught.value.code) == (403, "host_not_allowed")

    def test_no_host_at_all_is_a_bad_request(self) -> None:
        """Whatever names are allowed: RFC 9112, 3.2."""
        for names in ((), ("*",)):
            with pytest.raises(WireError) as caught:
                AccessRules((), names, ()).check_host(None)
            assert (caught.value.status, caught.value.code) == (400, "invalid_request_error")

    def test_this_machine_s_own_name(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("socket.gethostname", lambda: "Workstation")
        AccessRules((), (), ()).check_host("workstation:8000")

    @pytest.mark.parametrize("entry", ["chat.example.com.", "chat.example.com:8000", "CHAT.example.com"])
    def test_entries_are_read_like_hosts(self, entry: str) -> None:
        AccessRules((), (entry,), ()).check_host("chat.example.com")

    @pytest.mark.parametrize("entry", ["", "::1", "."])
    def test_an_entry_that_is_no_name_opens_nothing(self, entry: str) -> None:
        with pytest.raises(WireError):
            AccessRules((), (entry,), ()).check_host(None)

    def test_all(self) -> None:
        AccessRules((), ("*",), ()).check_host("evil.tld")


def allowed(origin: str | None, host: str | None = "node.example.com", *origins: str) -> bool:
    try:
        AccessRules((), (), origins).check_origin(origin, host)
    except WireError as error:
        return error.code != "origin_not_allowed"
    return True


class TestOrigins:
    """The page that calls is our own, or allowed by name."""

    APP = "https://app.example.com"

    def test_who_is_no_browser_names_none(self) -> None:
        assert allowed(None)

    @pytest.mark.parametrize(
        ("origin", "host"),
        [
            ("http://localhost:8000", "localhost:8000"),
            ("https://node.example.com", "node.example.com"),
            ("https://node.example.com", "node.example.com:443"),
            ("http://node.example.com", "node.example.com:80"),
            ("https://node.example.com:443", "node.example.com"),
            ("https://node.example.com:8443", "node.example.com:8443"),
            ("https://NODE.example.com", "node.EXAMPLE.com"),
            ("http://[::1]:8000", "[::1]:8000"),
        ],
    )
    def test_our_own_pages(self, origin: str, host: str) -> None:
        assert allowed(origin, host)

    @pytest.mark.parametrize(
        "origin",
        ["https://app.example.com", "HTTPS://APP.example.com", "https://app.example.com:8443"],
    )
    def test_pages_allowed_by_name(self, origin: str) -> None:
        assert allowed(origin, "node.example.com", self.APP, "https://app.example.com:8443")

    @pytest.mark.parametrize(
        "origin",
        [
            "null",
            "",
            "*",
            "https://",
            "https://evil.tld",
            "https://app.example.com.evil.tld",
            "https://evil-app.example.com",
            "https://example.com",
            "https://app.example.com:8443",
            "http://app.example.com",
            "https://app.example.com.",
            "https://app.example.com/",
            "https://app.example.com/path",
            "https://app.example.com@evil.tld",
            "https://evil.tld#app.example.com",
            "https://node.example.com.evil.tld",
            "https://node.example.com:8000",
            "https://node.example.com#x",
            "https://node.example.com?x",
            "https://x@node.example.com",
            "https://:x@node.example.com",
            "file://node.example.com",
            "wss://node.example.com",
            "node.example.com",
            "https://[::1",
        ],
    )
    def test_look_alikes(self, origin: str) -> None:
        assert not allowed(origin, "node.example.com", self.APP)

    def test_without_a_host_nothing_is_our_own(self) -> None:
        assert not allowed("https://node.example.com", None)
        assert not allowed("null", None)
        assert not allowed("", "")

    @pytest.mark.parametrize("entry", ["https://App.Example.com/", "https://app.example.com:443"])
    def test_entries_are_read_like_origins(self, entry: str) -> None:
        assert allowed(self.APP, "node.example.com", entry)

    @pytest.mark.parametrize(
        "entry", ["*", "null", "app.example.com", "https://", "https://a.b/path", "https://x@a.b", "ftp://a.b"]
    )
    def test_an_entry_that_is_no_origin_names_the_setting(self, entry: str) -> None:
        with pytest.raises(BadSetting, match="ALLOWED_ORIGINS"):
            AccessRules((), (), (entry,))

    @pytest.mark.parametrize(
        ("entry", "sent"),
        [
            ("https://Example.com/", "https://example.com"),
            ("https://example.com:443", "https://example.com"),
            ("http://example.com:80/", "http://example.com"),
            ("https://example.com:80", "https://example.com:80"),
            ("http://example.com:08080", "http://example.com:8080"),
            ("https://bücher.example", "https://xn--bcher-kva.example"),
            ("http://[0:0:0:0:0:0:0:1]:3000", "http://[::1]:3000"),
            ("http://LOCALHOST:3000", "http://localhost:3000"),
        ],
    )
    def test_an_entry_is_kept_as_browsers_send_it(self, entry: str, sent: str) -> None:
        assert AccessRules((), (), (entry,)).names_origin(sent)

    @pytest.mark.parametrize(
        "entry",
        ["https://*.example.com", "https://example.com:99999", "https://example.com:x", "https://a b", "https://[::1",
         "https://a.b?x", "https://a.b#x", "https://" + "ü" * 70 + ".example", "https://a,b", "https://a/../b"],
    )  # fmt: skip
    def test_an_entry_that_no_browser_can_send_names_the_setting(self, entry: str) -> None:
        with pytest.raises(BadSetting, match="ALLOWED_ORIGINS"):
            AccessRules((), (), (entry,))

    @pytest.mark.parametrize("entry", ["https://example.com", "example.com/", "*.example.com", "a@b", "a b"])
    def test_a_host_that_no_request_can_name_names_the_setting(self, entry: str) -> None:
        with pytest.raises(BadSetting, match="ALLOWED_HOSTS"):
            AccessRules((), (entry,), ())

    def test_a_host_outside_of_ascii(self) -> None:
        AccessRules((), ("bücher.example",), ()).check_host("xn--bcher-kva.example:8000")


async def test_tickets_are_long_and_never_the_same() -> None:
    authenticator = Authenticator(AccessRules((), (), ()), MemoryStore())
    tickets = {str((await authenticator.make_ticket({}))["ticket"]) for _ in range(100)}
    assert len(tickets) == 100
    assert min(map(len, tickets)) == 32


class TestTicketsAndKeys:
    """A ticket is worth no more than the key that it was made with."""

    async def made_and_taken(self, keys: tuple[str, ...], by: str, then: tuple[str, ...]) -> str | int:
        """As `taken`, with a ticket that a node with `keys` made for the key `by`."""
        store = MemoryStore()
        made = await Authenticator(AccessRules(keys, (), ()), store).make_ticket({"authorization": f"Bearer {by}"})
        return await self.taken(store, str(made["ticket"]), then)

    async def taken(self, store: MemoryStore, ticket: str, then: tuple[str, ...]) -> str | int:
        """Who a ticket lets in on a node that has the keys `then`; the status, if nobody."""
        try:
            return await Authenticator(AccessRules(then, (), ()), store).websocket_caller(
                {"host": "a.localhost"}, ticket
            )
        except WireError as error:
            return error.status

    @pytest.mark.parametrize(
        ("then", "caller"),
        [
            (("ann:one",), "ann"),
            (("bob:x", "ann:one"), "ann"),
            (("ann:two",), 401),  # the key was replaced
            (("bob:one",), 401),  # it is somebody else's now
            (("bob:x",), 401),
            (("one",), 401),
        ],
    )
    async def test_after_a_change_of_keys(self, then: tuple[str, ...], caller: str | int) -> None:
        assert await self.made_and_taken(("ann:one", "ann:two"), "one", then) == caller

    async def test_a_ticket_of_an_open_node_opens_none_that_has_keys(self) -> None:
        assert await self.made_and_taken((), "", ("ann:one",)) == 401
        assert await self.made_and_taken((), "", ("anonymous:one",)) == 401

    @pytest.mark.parametrize(("caller", "status"), [("ann", "ann"), ("gone", 401)])
    async def test_a_ticket_of_the_release_before_needs_a_caller_that_is_still_there(
        self, caller: str, status: str | int
    ) -> None:
        store = MemoryStore()
        await store.put_ticket("t", Ticket(caller, ""), 30)
        assert await self.taken(store, "t", ("ann:one",)) == status

    async def test_what_is_stored_names_no_key(self) -> None:
        rules = AccessRules(("ann:one",), (), ())
        first, second = (rules.ticket(id, "Bearer one") for id in "ab")
        assert first.proof != second.proof
        assert "one" not in first.proof
        assert rules.is_current("a", first)
        assert not rules.is_current("b", first)

"""Settings from flags and the environment."""

from pathlib import Path

import pytest

from server.settings import TABLE, BadSetting, Settings, data_home, load, usage

BAD = [
    ("PORT", "0"),
    ("PORT", "65536"),
    ("PORT", "-1"),
    ("PORT", "80.0"),
    ("PORT", "http"),
    ("PORT", "٨٠"),
    ("PORT", "9" * 5000),
    ("TRUSTED_PROXIES", "proxy.example.com"),
    ("TRUSTED_PROXIES", "10.0.0.1,10.0.0.0/33"),
    ("MAX_UNAUTHENTICATED", "0"),
    ("MAX_QUEUE", "many"),
    ("MAX_MESSAGE_BYTES", "1023"),
    ("MAX_HELD_BYTES", "1023"),
    ("SESSION_DAYS", "0"),
    ("LOG_MINUTES", "0"),
    ("SCRIPTED_RATE", "-5"),
    ("ENGINE", "vLLM"),
    ("ROLE", "edge"),
    ("LOG_FORMAT", "xml"),
    ("LOG_LEVEL", "LOUD"),
    ("STORE", "file"),
    ("REDIS_URL", "localhost:6379"),
    ("REDIS_URL", "http://localhost:6379"),
    ("REDIS_URL", "redis://"),
    ("REDIS_URL", "redis+raft://localhost:6379"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4318"),
]


def flag(name: str) -> str:
    return "--" + name.lower().replace("_", "-")


class TestTable:
    """The table is the settings, and the settings are the table."""

    def test_every_row_is_a_field(self) -> None:
        assert [row.name.lower() for row in TABLE] == list(Settings.__struct_fields__[:-1])
        assert Settings.__struct_fields__[-1] == "options"

    def test_names_are_said_once(self) -> None:
        assert len({row.name for row in TABLE}) == len(TABLE)

    @pytest.mark.parametrize("row", TABLE)
    def test_help_is_a_sentence(self, row: object) -> None:
        assert getattr(row, "help", "").endswith(".")

    def test_usage_lists_them_all(self) -> None:
        text = usage()
        assert all(flag(row.name) in text and row.help in text for row in TABLE)

    def test_defaults_are_good_values(self) -> None:
        settings = load([], {})
        assert (settings.host, settings.port, settings.engine, settings.max_queue) == ("127.0.0.1", 8000, "vllm", 256)

    @pytest.mark.parametrize("row", TABLE)
    def test_types_are_what_the_fields_say(self, row: object) -> None:
        name = getattr(row, "name", "").lower()
        assert Settings.__annotations__[name].__name__ == type(getattr(load([], {}), name)).__name__


class TestSources:
    """Flags over the environment over defaults."""

    def test_the_environment(self) -> None:
        assert load([], {"PORT": "9000"}).port == 9000

    def test_flags_win(self) -> None:
        assert load(["--port", "9001"], {"PORT": "9000"}).port == 9001

    def test_flags_in_one_word(self) -> None:
        assert load(["--port=9001"], {}).port == 9001

    def test_the_last_flag_wins(self) -> None:
        assert load(["--port=1", "--port=2"], {}).port == 2

    def test_a_value_may_hold_an_equals_sign(self) -> None:
        assert load(["--redis-url=redis://h/0?a=b"], {}).redis_url == "redis://h/0?a=b"

    @pytest.mark.parametrize("name", [row.name for row in TABLE])
    def test_an_empty_variable_is_none(self, name: str) -> None:
        assert load([], {name: ""}) == load([], {})

    def test_spaces_around_a_value_do_not_count(self) -> None:
        assert load([], {"PORT": " 9000\n"}).port == 9000

    def test_lists(self) -> None:
        assert load(["--api-keys", "ann:a1, bob:b2 ,,"], {}).api_keys == ("ann:a1", "bob:b2")

    def test_networks(self) -> None:
        given = "10.0.0.1, 10.0.0.7/8,fd00::/8"
        assert load(["--trusted-proxies", given], {}).trusted_proxies == ("10.0.0.1", "10.0.0.7/8", "fd00::/8")

    def test_what_stands_after_two_dashes_is_vllm_s(self) -> None:
        settings = load(["--port=1", "--", "--max-model-len", "4096", "--", "--port=2"], {})
        assert (settings.port, settings.options) == (1, ("--max-model-len", "4096", "--", "--port=2"))

    def test_the_real_environment_is_read_where_none_is_given(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PORT", "9002")
        assert load([]).port == 9002

    def test_other_variables_do_not_matter(self) -> None:
        assert load([], {"HOSTNAME": "x", "PATH": "y"}) == load([], {})


class TestBad:
    """Every bad value names its setting."""

    @pytest.mark.parametrize(("name", "value"), BAD)
    def test_in_the_environment(self, name: str, value: str) -> None:
        with pytest.raises(BadSetting, match=name):
            load([], {name: value})

    @pytest.mark.parametrize(("name", "value"), BAD)
    def test_as_a_flag(self, name: str, value: str) -> None:
        with pytest.raises(BadSetting, match=name):
            load([f"{flag(name)}={value}"], {})

    def test_memory_beside_a_redis(self) -> None:
        with pytest.raises(BadSetting, match="STORE"):
            load(["--store", "memory"], {"REDIS_URL": "redis://localhost"})

    @pytest.mark.parametrize("name", [row.name for row in TABLE if row.kind.startswith("number")])
    def test_no_number(self, name: str) -> None:
        with pytest.raises(BadSetting, match=f"^{name}: 'x' is not a whole number from"):
            load([], {name: "x"})

    @pytest.mark.parametrize("name", ["HOST", "MODEL", "ENGINE", "PORT"])
    def test_an_empty_flag(self, name: str) -> None:
        with pytest.raises(BadSetting, match=name):
            load([f"{flag(name)}="], {})

    @pytest.mark.parametrize("flags", [["--port"], ["--port", "--host", "x"], ["--port", "--"]])
    def test_a_flag_without_its_value(self, flags: list[str]) -> None:
        with pytest.raises(BadSetting, match="PORT: a value is missing"):
            load(flags, {})

    @pytest.mark.parametrize("word", ["--prot=1", "port", "-p", "--max_queue=1", ""])
    def test_no_such_flag(self, word: str) -> None:
        with pytest.raises(BadSetting, match="there is no such setting"):
            load([word], {})

    def test_a_misspelt_flag_does_not_tell_its_value(self) -> None:
        with pytest.raises(BadSetting) as caught:
            load(["--api-key=ann:secret"], {})
        assert "secret" not in str(caught.value)

    def test_a_bad_address_does_not_tell_its_password(self) -> None:
        with pytest.raises(BadSetting) as caught:
            load([], {"REDIS_URL": "http://:secret@host"})
        assert "secret" not in str(caught.value)


class TestDerived:
    """What follows from the settings."""

    @pytest.mark.parametrize(
        ("flags", "name"),
        [
            ([], "throughline-demo"),
            (["--engine", "scripted"], "scripted"),
            (["--model", "Qwen/Qwen3-4B"], "Qwen3-4B"),
            (["--model", "/models/mine/"], "mine"),
            (["--model", "/models/mine", "--model-name", "ours"], "ours"),
        ],
    )
    def test_the_name_that_clients_use(self, flags: list[str], name: str) -> None:
        assert load(flags, {}).served_name == name

    def test_the_folder(self) -> None:
        assert load(["--data-dir", "/srv/x"], {}).folder == Path("/srv/x")
        assert load([], {}).folder == data_home() / "throughline"

    def test_the_user_s_data_folder(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XDG_DATA_HOME", "/home/ann/data")
        assert data_home() == Path("/home/ann/data")
        monkeypatch.setenv("XDG_DATA_HOME", "")
        assert data_home() == Path.home() / ".local/share"

    def test_an_address_loses_its_last_slash(self) -> None:
        settings = load(["--otel-exporter-otlp-endpoint", "http://127.0.0.1:4318/"], {})
        assert settings.otel_exporter_otlp_endpoint == "http://127.0.0.1:4318"

    def test_printed_settings_hold_no_secret(self) -> None:
        settings = load(["--api-keys=ann:secret", "--redis-url=redis://:hidden@h"], {})
        shown = f"{settings!r} {settings} {dict(settings.__rich_repr__())}"
        assert "port=8000" in shown
        assert "secret" not in shown
        assert "hidden" not in shown

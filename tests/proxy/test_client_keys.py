"""The file of client keys with names: what it says, and what is refused without showing a key."""

import hashlib
import os
from pathlib import Path

import pytest

from cachemw import ConfigurationError
from cachemw.proxy.client_keys import LARGEST_FILE, read_client_keys

ALICE, BOB = "sk-of-alice", "sk-of-bob"


def digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def read(text: str | bytes, directory: Path, mode: int = 0o600) -> dict[bytes, str]:
    path = directory / "keys.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return read_client_keys(str(path))


READ = {
    f'alice = "{ALICE}"': {ALICE: "alice"},
    f'alice = "{ALICE}"\nbob = "{BOB}"  # of the other team': {ALICE: "alice", BOB: "bob"},
    f'alice = "sha256:{digest(ALICE).hex()}"': {ALICE: "alice"},
    f'alice = "SHA256:{digest(ALICE).hex().upper()}"': {ALICE: "alice"},
    f'alice = ["{ALICE}", "sk-new"]': {ALICE: "alice", "sk-new": "alice"},
    f'alice = ["{ALICE}", "sha256:{digest(ALICE).hex()}"]': {ALICE: "alice"},
    f'"alice@example.com" = "{ALICE}"': {ALICE: "alice@example.com"},
    f'"J\u00fcrgen.M" = "{ALICE}"\r\n"7" = "{BOB}"': {ALICE: "J\u00fcrgen.M", BOB: "7"},
    f"'ci-1_a+b' = '{ALICE}'": {ALICE: "ci-1_a+b"},
}


@pytest.mark.parametrize("text", READ)
def test_every_key_has_the_name_of_its_client(text: str, tmp_path: Path) -> None:
    """F21: several keys of one name are one client, so that one can be replaced while both are in use."""
    assert read(text, tmp_path) == {digest(key): name for key, name in READ[text].items()}


REFUSED: dict[str | bytes, str] = {
    "": "FILE names no client",
    "# nobody yet": "FILE names no client",
    f"alice = {ALICE}": "FILE is not TOML",
    f'alice: "{ALICE}"': "FILE is not TOML",
    f'alice = "{ALICE}': "FILE is not TOML",
    "alice = " + "[" * 100_000: "FILE is not TOML",
    f'alice = "{ALICE}"\nalice = "{BOB}"': 'two keys of one client are a list, ["KEY", "KEY"]',
    f'alice = "{ALICE}"\nbob = "{ALICE}"': "FILE: alice and bob have the same key",
    f'alice = "{ALICE}"\nbob = "sha256:{digest(ALICE).hex()}"': "FILE: alice and bob have the same key",
    f'{ALICE} = "alice"': "what stands on the left in entry 1 is no name of a client",
    f'bob = "{BOB}"\n"{digest(ALICE).hex()}" = "alice"': "what stands on the left in entry 2 is no name of a client",
    f'"alice in wonderland" = "{ALICE}"': "entry 1 is no name",
    f'"alice\\n" = "{ALICE}"': "entry 1 is no name",
    f'"" = "{ALICE}"': "entry 1 is no name",
    f'{"a" * 65} = "{ALICE}"': "entry 1 is no name",
    'alice = ""': "FILE: alice: a client key has at least one character",
    'alice = "sk-of alice"': "FILE: alice: a client key has at least one character",
    'alice = "sk-\u00e9-alice"': "FILE: alice: a client key has at least one character",
    'alice = "cachemw"': 'FILE: alice: "cachemw" is what clients without a key send',
    'alice = "sha256:"': "FILE: alice: behind sha256: stand 64 hexadecimal digits",
    f'alice = "sha256:{digest(ALICE).hex()[1:]}"': "FILE: alice: behind sha256: stand 64 hexadecimal digits",
    "alice = []": "FILE: alice has an empty list of keys",
    "alice = 5": "FILE: alice: an integer is no key",
    f'alice = ["{ALICE}", 5]': "FILE: alice: an integer is no key",
    f'[alice]\nkey = "{ALICE}"': "FILE: alice: a table is no key",
    f'alice.key = "{ALICE}"': "FILE: alice: a table is no key",
    f"alice = '{ALICE}\xff'".encode("latin-1"): "FILE is not UTF-8",
    b"#" * (LARGEST_FILE + 1): "FILE has more than 4,194,304 bytes",
}


@pytest.mark.parametrize(("text", "told"), REFUSED.items(), ids=[ascii(text)[:50] for text in REFUSED])
def test_what_is_wrong_is_said_and_no_key_is_shown(text: str | bytes, told: str, tmp_path: Path) -> None:
    """E7, F21, I4: nor one that stands where a name should."""
    with pytest.raises(ConfigurationError) as refused:
        read(text, tmp_path)

    said = str(refused.value)
    assert told in said.replace(f"{tmp_path}/keys.toml", "FILE")
    assert not any(key in said for key in ("sk-", digest(ALICE).hex()[:32]))


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o620, 0o604, 0o601, 0o660, 0o777])
def test_a_file_that_others_may_read_or_change_is_refused(mode: int, tmp_path: Path) -> None:
    """F21, I7."""
    with pytest.raises(ConfigurationError, match=rf"its mode is {mode:04o}\): chmod 600 {tmp_path}/keys.toml$"):
        read(f'alice = "{ALICE}"', tmp_path, mode)


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_a_file_that_is_its_owners_alone_is_read(mode: int, tmp_path: Path) -> None:
    assert read(f'alice = "{ALICE}"', tmp_path, mode)


def test_somebody_elses_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """I7"""
    monkeypatch.setattr("os.geteuid", lambda: 65534)
    owner = tmp_path.stat().st_uid
    if not owner:
        os.chown(tmp_path, 0, 0)
        (tmp_path / "keys.toml").touch(0o600)
        os.chown(tmp_path / "keys.toml", 1234, -1)
        with pytest.raises(ConfigurationError, match="belongs to the user 1234: chown it to 65534"):
            read_client_keys(str(tmp_path / "keys.toml"))
        return
    with pytest.raises(ConfigurationError, match=f"belongs to the user {owner}"):
        read(f'alice = "{ALICE}"', tmp_path)


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)

    for name, told in {
        "pipe": "is not a file",
        "": "is not a file",
        "none": "No such file or directory",
        "a\0b": "null",
    }.items():
        with pytest.raises(ConfigurationError, match=told):
            read_client_keys(f"{tmp_path}/{name}")


def test_a_link_to_it_is_followed_as_secrets_are_mounted(tmp_path: Path) -> None:
    read(f'alice = "{ALICE}"', tmp_path)
    (tmp_path / "link").symlink_to("keys.toml")

    assert read_client_keys(str(tmp_path / "link")) == {digest(ALICE): "alice"}
